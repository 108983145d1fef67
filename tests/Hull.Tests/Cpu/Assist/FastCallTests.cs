using System;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>SYSCALL, SYSENTER and their returns.</summary>
public sealed unsafe class FastCallTests : IDisposable
{
    private const ulong Target = 0x1_4000;
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void Syscall_And_Sysret_GoThereAndBack()
    {
        _guest.Long(3);
        Cpu->Star = ((ulong)AssistGuest.Code64 << 32) | (0x20UL << 48);
        Cpu->Lstar = 0xFFFF_8000_0000_0000;
        Cpu->Sfmask = Rflags.If | Rflags.Tf | Rflags.Ac;
        Cpu->Rflags = Rflags.If | Rflags.Cf | 2;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x05));
        Assert.Equal(0xFFFF_8000_0000_0000UL, Cpu->Rip);
        Assert.Equal(AssistGuest.CodeAt + 2, Cpu->Gpr[Gpr.Rcx]);
        Assert.Equal(Rflags.If | Rflags.Cf | 2, Cpu->Gpr[Gpr.R11]);
        Assert.Equal(Rflags.Cf | 2, Cpu->Rflags);
        Assert.Equal(0, Cpu->Cpl);
        Assert.True(CpuMode.Is64Bit(Cpu));
        Assert.Equal((ulong)AssistGuest.Data0, Cpu->Segments[Seg.Ss].Selector);

        Assert.Equal(AssistResult.Jump, _guest.Execute(0x48, 0x0F, 0x07));
        Assert.Equal(AssistGuest.CodeAt + 2, Cpu->Rip);
        Assert.Equal((ulong)AssistGuest.UserCode64, Cpu->Segments[Seg.Cs].Selector);
        Assert.Equal(0x2BUL, Cpu->Segments[Seg.Ss].Selector);
        Assert.Equal(3, Cpu->Cpl);
        Assert.Equal(Rflags.If | Rflags.Cf | 2, Cpu->Rflags);
        Assert.Equal(0xA0FBu, Cpu->Segments[Seg.Cs].Attributes);
    }

    [Fact]
    public void Syscall_WithoutSce_IsUndefined()
    {
        _guest.Long(3);
        Cpu->Efer &= ~Efer.Sce;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x05));
        Assert.Equal((byte)6, _guest.Fault.Vector);
    }

    [Fact]
    public void Sysenter_And_Sysexit_In32Bits()
    {
        _guest.Protected(3);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x34));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Cpu->SysenterCs = AssistGuest.Code32;
        Cpu->SysenterEip = Target;
        Cpu->SysenterEsp = AssistGuest.InnerStackAt;
        Cpu->Rflags = Rflags.If | 2;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x34));
        Assert.Equal(Target, Cpu->Rip);
        Assert.Equal(0, Cpu->Cpl);
        Assert.Equal(2UL, Cpu->Rflags);
        Cpu->Gpr[Gpr.Rdx] = 0x5000;
        Cpu->Gpr[Gpr.Rcx] = 0x6000;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x35));
        Assert.Equal(0x5000UL, Cpu->Rip);
        Assert.Equal(0x6000UL, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(0x2BUL, Cpu->Segments[Seg.Cs].Selector);
        Assert.Equal(0x33UL, Cpu->Segments[Seg.Ss].Selector);
    }
}
