using System;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>INT n, INT1, INTO.</summary>
public sealed unsafe class SoftwareInterruptTests : IDisposable
{
    private const ulong Target = 0x1_4000;
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void Int_ChecksTheGate_AndReturnsBehind()
    {
        _guest.Long(3).LongTss();
        _guest.Gate64(0x80, AssistGuest.Code64, Target, 0x8E);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xCD, 0x80));
        Assert.Equal(((byte)13, (0x80u * 8) + 2), _guest.Fault);
        Assert.Equal(AssistGuest.CodeAt, Cpu->Rip);
        _guest.Gate64(0x80, AssistGuest.Code64, Target, 0xEE);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCD, 0x80));
        Assert.Equal(AssistGuest.CodeAt + 2, _guest.Stack(0));
    }

    [Fact]
    public void Int1_IgnoresTheGatesPrivilege()
    {
        _guest.Long(3).LongTss();
        _guest.Gate64(1, AssistGuest.Code64, Target, 0x8E);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xF1));
        Assert.Equal(AssistGuest.CodeAt + 1, _guest.Stack(0));
    }

    [Fact]
    public void Into_NeedsOverflow()
    {
        _guest.Protected();
        _guest.Gate32(4, AssistGuest.Code32, (uint)Target, 0x8E);
        Assert.Equal(AssistResult.Next, _guest.Execute(0xCE));
        Cpu->ArithmeticFlags = Rflags.Of;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCE));
        Assert.Equal(Target, Cpu->Rip);
    }

    [Fact]
    public void Int_InVirtual8086_NeedsIopl3_OrRedirection()
    {
        _guest.Virtual8086(0).ProtectedTss();
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xCD, 0x21));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Cpu->Cr4 |= Cr4.Vme;
        Cpu->Tr.Limit = 0xFF;
        _guest.Write<ushort>(AssistGuest.TssAt + 102, 104 + 32);
        _guest.Write(0x21 * 4, 0x5000_1234u);
        Cpu->Rflags |= Rflags.Vif;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCD, 0x21));
        Assert.Equal(0x50000UL, Cpu->Segments[Seg.Cs].Base);
        Assert.Equal(Rflags.If | Rflags.Iopl, _guest.Stack(2, 2) & (Rflags.If | Rflags.Iopl));
        Assert.Equal(0UL, Cpu->SystemFlags & Rflags.Vif);
    }
}
