using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Smp;

/// <summary>
/// INIT, SIPI and other messages between processors. SDM vol. 3A, "Multiple-Processor (MP) Initialization" and "Issuing
/// Interprocessor Interrupts".
/// </summary>
public sealed class StartupTests
{
    private const ulong Seen = SmpGuest.DataAt;
    private const uint ApicPage = 0xFEE0_0000;
    private const uint Init = 0x4500;
    private const uint Startup = 0x4600;
    private const uint AllButSelf = 0xC_0000;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void InitAndSipi_StartProcessorsInRealMode(bool x2Apic)
    {
        using SmpGuest guest = new(4);
        MapApic(guest);
        WriteTrampoline(guest, 0x9000);
        guest.Code(0, c =>
        {
            Prepare(c, x2Apic);
            for (uint id = 1; id < 4; id++)
            {
                Command(c, x2Apic, id, Init);
                Command(c, x2Apic, id, Startup | 9);
            }

            WaitFor(c, 3);
        }).Run(1);

        // CS is the vector's page, and each has its own APIC id.
        for (ulong id = 1; id < 4; id++)
        {
            Assert.Equal(0x900UL, guest[Seen + (8 * id)]);
        }

        Assert.Equal(3UL, guest[Seen]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void InitAndSipiToAllButSelf_StartEveryoneOnce(bool x2Apic)
    {
        using SmpGuest guest = new(8);
        MapApic(guest);
        WriteTrampoline(guest, 0xA000);
        guest.Code(0, c =>
        {
            Prepare(c, x2Apic);
            Command(c, x2Apic, 0, Init | AllButSelf);
            Command(c, x2Apic, 0, Startup | AllButSelf | 10);
            Command(c, x2Apic, 0, Startup | AllButSelf | 10);
            WaitFor(c, 7);
        }).Run(1);
        Assert.Equal(7UL, guest[Seen]);
        Assert.Equal(0UL, guest[Seen + 64]); // nobody above id 7
        for (ulong id = 1; id < 8; id++)
        {
            Assert.Equal(0xA00UL, guest[Seen + (8 * id)]);
        }
    }

    [Fact]
    public void SipiToAProcessorThatRuns_IsLost_AndInitWaitsForTheNext()
    {
        using SmpGuest guest = new(2);
        WriteTrampoline(guest, 0x9000);
        WriteTrampoline(guest, 0xA000);
        guest.Code(0, c =>
        {
            Prepare(c, true);
            Command(c, true, 1, Init);
            Command(c, true, 1, Startup | 9);
            WaitFor(c, 1);

            // It is in HLT, not waiting for a start-up message: this one must be gone when INIT comes.
            Command(c, true, 1, Startup | 10);
            Spin(c);
            Command(c, true, 1, Init);
            Spin(c);
            c.movzx(eax, __word_ptr[0x4_0000]);
            c.mov(__qword_ptr[Seen + 0x100], rax);
            Command(c, true, 1, Startup | 10);
            WaitFor(c, 2);
        }).Run(1);
        Assert.Equal(1UL, guest[Seen + 0x100]);
        Assert.Equal(0xA00UL, guest[Seen + 8]);
    }

    [Theory]
    [InlineData(0x0000u, 1u)] // fixed, physical, one
    [InlineData(0x0800u, 2u)] // fixed, logical: bit 1 is processor 1 in x2APIC's cluster 0
    [InlineData(0xC_0000u, 0u)] // all but self
    [InlineData(0x0000u, uint.MaxValue)] // broadcast, sender too, which has interrupts off
    public void Interrupt_ReachesAHaltedProcessor(uint mode, uint destination)
    {
        using SmpGuest guest = new(2);
        const byte vector = 0x50;
        const ulong handler = 0x7000;
        guest.Memory.TryWrite(new GuestPhysical(handler), SmpGuest.Assemble(handler, static c =>
        {
            c.@lock.inc(__qword_ptr[Seen + 0x200]);
            SmpGuest.Finish(c);
        }));
        WriteGate(guest, vector, handler);
        guest.Code(0, c =>
        {
            Prepare(c, true);
            Rounds.WaitUntil(c, seen =>
            {
                c.cmp(__dword_ptr[Seen], 1);
                c.je(seen);
            });
            Command(c, true, destination, 0x4000 | mode | vector);
        }).Code(1, c =>
        {
            Prepare(c, true);
            EnableApic(c);
            c.mov(__dword_ptr[Seen], 1);
            c.sti();
            c.hlt();
        }).Run(2);
        Assert.Equal(1UL, guest[Seen + 0x200]);
    }

    [Fact]
    public void Nmi_ReachesAHaltedProcessorWithInterruptsOff()
    {
        using SmpGuest guest = new(2);
        const ulong handler = 0x7000;
        guest.Memory.TryWrite(new GuestPhysical(handler), SmpGuest.Assemble(handler, static c =>
        {
            c.@lock.inc(__qword_ptr[Seen + 0x200]);
            SmpGuest.Finish(c);
        }));
        WriteGate(guest, 2, handler);
        guest.Code(0, c =>
        {
            Prepare(c, true);
            Rounds.WaitUntil(c, seen =>
            {
                c.cmp(__dword_ptr[Seen], 1);
                c.je(seen);
            });
            Command(c, true, 1, 0x4400);
        }).Code(1, c =>
        {
            c.mov(__dword_ptr[Seen], 1);
            c.hlt();
        }).Run(2);
        Assert.Equal(1UL, guest[Seen + 0x200]);
    }

    // 16-bit code: counts itself by a locked increment through a segment that is not flat, notes CS at its id's place.
    private static void WriteTrampoline(SmpGuest guest, ulong at)
    {
        const ushort dataSegment = (ushort)(0x4_0000 >> 4);
        byte[] code = SmpGuest.Assemble(0, static c =>
        {
            c.mov(eax, 1);
            c.cpuid();
            c.shr(ebx, 24);
            c.mov(ax, dataSegment);
            c.mov(ds, ax);
            c.mov(ax, cs);
            c.mov(si, bx);
            c.shl(si, 3);
            c.mov(__word_ptr[si], ax);
            c.@lock.inc(__word_ptr[0]);
            c.cli();
            c.hlt();
        }, 16);
        guest.Memory.TryWrite(new GuestPhysical(at), code);
    }

    private static void WriteGate(SmpGuest guest, byte vector, ulong handler)
    {
        ulong gate = 0x6000 + (16UL * vector);
        guest[gate] = (handler & 0xFFFF) | (0x10UL << 16) | (0x8EUL << 40) | ((handler >> 16) << 48);
    }

    // The APIC's page at 1 GiB.
    private static void MapApic(SmpGuest guest)
    {
        guest[0x2008] = 0x60_0003;
        guest[0x60_0000] = 0x60_1003;
        guest[0x60_1000] = ApicPage | 0x13UL;
    }

    // The registers of the APIC through a page of its own, or as MSRs.
    private static void Prepare(Assembler c, bool x2Apic)
    {
        c.mov(ecx, 0x1B);
        c.rdmsr();
        c.or(eax, x2Apic ? 0xC00 : 0x800);
        c.wrmsr();
    }

    private static void EnableApic(Assembler c)
    {
        c.mov(ecx, 0x80F);
        c.mov(eax, 0x1FF);
        c.xor(edx, edx);
        c.wrmsr();
    }

    private static void Command(Assembler c, bool x2Apic, uint destination, uint low)
    {
        if (x2Apic)
        {
            c.mov(ecx, 0x830);
            c.mov(eax, low);
            c.mov(edx, destination);
            c.wrmsr();
            return;
        }

        c.mov(rbx, 0x4000_0000UL);
        c.mov(__dword_ptr[rbx + 0x310], destination << 24);
        c.mov(__dword_ptr[rbx + 0x300], low);
    }

    private static void WaitFor(Assembler c, int count)
    {
        c.mov(ebx, 0x4_0000);
        Rounds.WaitUntil(c, seen =>
        {
            c.cmp(__word_ptr[rbx], count);
            c.je(seen);
        });
        c.mov(rsi, 0x4_0000UL);
        c.mov(rdi, Seen);
        c.mov(ecx, 32);
        c.rep.movsq();
    }

    private static void Spin(Assembler c)
    {
        Label again = c.CreateLabel();
        c.mov(r9d, 200);
        c.Label(ref again);
        c.@out(SmpGuest.YieldPort, al);
        c.dec(r9d);
        c.jne(again);
    }
}
