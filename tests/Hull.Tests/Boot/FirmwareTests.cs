using System;
using System.IO;
using System.Text;
using Hull.Boot;
using Hull.Host;
using Hull.Tests.TestKernels;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Boot;

/// <summary>A ROM of the test's own on a whole machine: it starts at the reset vector and ends at the exit port.</summary>
public sealed class FirmwareTests
{
    private const int RomSize = 0x1_0000;
    private const int Code = 0x8000;
    private const int Marked = 0x10;
    private const byte Mark = 0x5A;

    [Fact]
    public void FirstProcessor_StartsInTheRomBelow4GiB() => Assert.Equal(0x1234u, Run(asm => asm.mov(ax, 0x1234)));

    [Fact]
    public void LegacyArea_ShowsTheRom() => Assert.Equal((uint)Mark, Run(asm => asm.mov(al, __byte_ptr.es[Marked])));

    [Fact]
    public void StoreToTheRom_IsLost_AndSoIsAnIncrement() => Assert.Equal((uint)Mark, Run(asm =>
    {
        asm.mov(__byte_ptr.cs[Marked], 1);
        asm.inc(__byte_ptr.cs[Marked]);
        asm.mov(al, __byte_ptr.cs[Marked]);
    }));

    [Fact]
    public void ProtectedShadow_DropsStores() => Assert.Equal((uint)Mark, Run(asm =>
    {
        asm.mov(__byte_ptr.es[Marked], 1);
        asm.mov(al, __byte_ptr.es[Marked]);
    }));

    [Fact]
    public void ShadowOpenForWritesOnly_KeepsShowingTheRom_AndThenShowsWhatWasWritten() =>
        Assert.Equal(((uint)Mark << 8) | 7, Run(asm =>
        {
            SetPam0(asm, 0x20);
            asm.mov(__byte_ptr.es[Marked], 7);
            asm.mov(bh, __byte_ptr.es[Marked]);
            SetPam0(asm, 0x10);
            asm.mov(bl, __byte_ptr.es[Marked]);
            asm.mov(ax, bx);
        }));

    [Fact]
    public void ShadowThatIsProtectedAgain_DropsStores_ThoughItTookThemBefore() => Assert.Equal(7u, Run(asm =>
    {
        SetPam0(asm, 0x30);
        asm.mov(__byte_ptr.es[Marked], 7);
        SetPam0(asm, 0x10);
        asm.mov(__byte_ptr.es[Marked], 8);
        asm.mov(al, __byte_ptr.es[Marked]);
    }));

    [Fact]
    public void FirmwareLog_GetsWhatThePortGets()
    {
        StringBuilder log = new();
        Run(
            asm =>
            {
                asm.mov(dx, 0x402);
                asm.@in(al, dx);
                asm.@out(dx, al);
            },
            log);

        Assert.Equal("\u00E9", log.ToString());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1000)]
    [InlineData(17 << 20)]
    public void FileThatIsNoRom_IsRefused(int bytes)
    {
        HullException refusal = Assert.Throws<HullException>(
            () => Machine.Start(new MachineSpec { Firmware = BootBlob.FromBytes("rom", new byte[bytes]) }));

        Assert.Contains("is no firmware", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MachineWithNeitherKernelNorFirmware_IsRefused() =>
        Assert.Throws<HullException>(() => new MachineSpec().Validate());

    private static void SetPam0(Assembler asm, byte value)
    {
        asm.mov(eax, unchecked((int)0x8000_0090));
        asm.mov(dx, 0xCF8);
        asm.@out(dx, eax);
        asm.mov(dx, 0xCFC);
        asm.mov(al, value);
        asm.@out(dx, al);
    }

    // The body runs in real mode with ES at 0xF0000; what it leaves in AX is the result.
    private static uint? Run(Action<Assembler> body, StringBuilder? log = null)
    {
        Assembler asm = new(16);
        asm.mov(ax, 0xF000);
        asm.mov(es, ax);
        asm.xor(eax, eax);
        body(asm);
        asm.movzx(eax, ax);
        asm.mov(dx, TestKernel.ExitPort);
        asm.@out(dx, eax);
        byte[] rom = new byte[RomSize];
        rom[Marked] = Mark;
        using (MemoryStream code = new(rom, Code, RomSize - 16 - Code))
        {
            asm.Assemble(new StreamCodeWriter(code), Code);
        }

        // At the reset vector: JMP rel16.
        int distance = Code - 0xFFF3;
        rom[0xFFF0] = 0xE9;
        rom[0xFFF1] = (byte)distance;
        rom[0xFFF2] = (byte)(distance >> 8);
        Machine machine = Machine.Start(new MachineSpec
        {
            MemoryBytes = 16 << 20,
            Firmware = BootBlob.FromBytes("rom", rom),
            FirmwareLog = log is null ? null : bytes => log.Append((char)bytes[0]),
            ExitPort = (ushort)TestKernel.ExitPort,
            RestartOnReset = false,
        });
        MachineEnd end = machine.WaitAsync().WaitAsync(TimeSpan.FromSeconds(60)).GetAwaiter().GetResult();
        machine.DisposeAsync().AsTask().GetAwaiter().GetResult();
        Assert.True(end.Reason == MachineEndReason.Exited, end.ToString());
        return end.ExitValue;
    }
}
