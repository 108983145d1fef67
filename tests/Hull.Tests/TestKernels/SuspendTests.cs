using Hull.Platform;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.TestKernels;

/// <summary>Suspension to RAM (S3) as a bare-metal kernel sees it. ACPI 6.4, "S3 State".</summary>
public sealed class SuspendTests
{
    // The FACS is the table behind the root pointer; its waking vector is at 12.
    private const int Facs = (int)PlatformMap.AcpiTablesBase + 64;
    private const int Resumed = 0x1_2340;
    private const int Pm1Enable = 0x602;
    private const int Pm1Control = 0x604;
    private const int Marker = 0x5000;

    [Fact]
    public void AlarmResumesAtTheWakingVector_AndNothingRunsBehindTheSleep()
    {
        TestKernelResult result = TestKernel.Run(EngineKind.Soft, static a =>
        {
            CheckFacs(a);

            // mov eax, [Marker]; mov dx, F4h; out dx, eax; jmp here
            WriteCode(a, [0x66, 0xA1, 0x00, 0x50, 0xBA, 0xF4, 0x00, 0x66, 0xEF, 0xEB, 0xFE]);
            Out(a, Pm1Enable, 0x400);
            SetAlarmEachSecond(a);
            a.mov(__dword_ptr[Marker], 0x33);
            Sleep(a);
            a.mov(__dword_ptr[Marker], 0x44);
            a.mov(eax, 0x55);
        });

        Assert.Equal(0x33u, result.Value);
    }

    [Fact]
    public void SegmentAndOffset_AreThoseOfTheVector_AndTheProcessorIsAsAfterInit()
    {
        TestKernelResult result = TestKernel.Run(EngineKind.Soft, static a =>
        {
            CheckFacs(a);
            a.mov(__dword_ptr[Facs + 12], Resumed + 5);

            // mov ax, cs; shl eax, 16; call +0; pop ax (IP); out
            WriteCode(a, [0, 0, 0, 0, 0, 0x8C, 0xC8, 0x66, 0xC1, 0xE0, 0x10, 0xBC, 0x00, 0x70,
                0xE8, 0x00, 0x00, 0x58, 0xBA, 0xF4, 0x00, 0x66, 0xEF, 0xEB, 0xFE]);
            Out(a, Pm1Enable, 0x400);
            SetAlarmEachSecond(a);
            Sleep(a);
            a.mov(eax, 0x55);
        });

        Assert.Equal(((uint)Resumed >> 4 << 16) | 0x11, result.Value);
    }

    [Fact]
    public void OtherProcessors_WaitForAStart()
    {
        TestKernelResult result = TestKernel.Run(EngineKind.Soft, static a =>
        {
            CheckFacs(a);

            // The second processor counts at Marker + 4 for ever, also behind the sleep unless it stops.
            int counter = 0x8000;
            int at = counter;
            foreach (byte code in (byte[])[0x66, 0xFF, 0x06, 0x04, 0x50, 0xEB, 0xF9]) // inc dword [5004h]; jmp back
            {
                a.mov(__byte_ptr[at++], code);
            }

            a.mov(__dword_ptr[TestKernel.LocalApic + 0x310], 1 << 24);
            a.mov(__dword_ptr[TestKernel.LocalApic + 0x300], 0x4500);
            a.mov(__dword_ptr[TestKernel.LocalApic + 0x310], 1 << 24);
            a.mov(__dword_ptr[TestKernel.LocalApic + 0x300], 0x4600 | (counter >> 12));
            Label wait = a.CreateLabel();
            a.Label(ref wait);
            a.cmp(__dword_ptr[Marker + 4], 0);
            a.je(wait);

            // mov eax, [Marker + 4]; mov ecx, 1000000; loop; sub eax, [Marker + 4]; out
            WriteCode(a, [0x66, 0xA1, 0x04, 0x50, 0x66, 0xB9, 0x40, 0x42, 0x0F, 0x00, 0x67, 0xE2, 0xFD,
                0x66, 0x2B, 0x06, 0x04, 0x50, 0xBA, 0xF4, 0x00, 0x66, 0xEF, 0xEB, 0xFE]);
            Out(a, Pm1Enable, 0x400);
            SetAlarmEachSecond(a);
            Sleep(a);
            a.mov(eax, 0x55);
        }, 2);

        Assert.Equal(0u, result.Value);
    }

    private static void CheckFacs(Assembler a)
    {
        Label good = a.CreateLabel();
        a.cmp(__dword_ptr[Facs], 0x5343_4146);
        a.je(good);
        a.mov(eax, 0x77);
        a.mov(dx, TestKernel.ExitPort);
        a.@out(dx, eax);
        a.hlt();
        a.Label(ref good);
        a.mov(__dword_ptr[Facs + 12], Resumed);
    }

    private static void WriteCode(Assembler a, byte[] code)
    {
        for (int i = 0; i < code.Length; i++)
        {
            a.mov(__byte_ptr[Resumed + i], code[i]);
        }
    }

    private static void SetAlarmEachSecond(Assembler a)
    {
        foreach (int register in (int[])[1, 3, 5])
        {
            WriteCmos(a, register, 0xC0);
        }

        WriteCmos(a, 0x0B, 0x22);
    }

    private static void WriteCmos(Assembler a, int register, int value)
    {
        a.mov(al, (sbyte)register);
        a.@out(0x70, al);
        a.mov(al, unchecked((sbyte)value));
        a.@out(0x71, al);
    }

    private static void Sleep(Assembler a) => Out(a, Pm1Control, (1 << 10) | (1 << 13));

    private static void Out(Assembler a, int port, int value)
    {
        a.mov(dx, (short)port);
        a.mov(ax, (short)value);
        a.@out(dx, ax);
    }
}
