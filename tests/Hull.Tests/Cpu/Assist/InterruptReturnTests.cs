using System;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>IRET in every mode.</summary>
public sealed unsafe class InterruptReturnTests : IDisposable
{
    private const ulong Target = 0x1_4000;
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void Iretq_ToUser_RestoresEverything()
    {
        _guest.Long();
        _guest.Push<ulong>(0x7FFF_0000, AssistGuest.UserCode64, 0x20_0246 | Rflags.Iopl, 0x7FFE_0000, AssistGuest.UserData);
        Cpu->NmiBlocked = 1;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x48, 0xCF));
        Assert.Equal(0x7FFF_0000UL, Cpu->Rip);
        Assert.Equal(3, Cpu->Cpl);
        Assert.Equal(0x7FFE_0000UL, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal((0x20_0246 | Rflags.Iopl), Cpu->Rflags);
        Assert.Equal((ulong)AssistGuest.UserData, Cpu->Segments[Seg.Ss].Selector);
        Assert.Equal(0UL, Cpu->NmiBlocked);

        // DS held a level-0 segment, which level 3 may not keep.
        Assert.NotEqual(0u, Cpu->Segments[Seg.Ds].Attributes & SegmentAttributes.Unusable);
    }

    [Fact]
    public void Iretq_ToUser_ClearsThePrivilegeOfNullSelectors_AndKeepsTheBase()
    {
        _guest.Long();
        _guest.Push<ulong>(Target, AssistGuest.UserCode64, 2, AssistGuest.StackAt, AssistGuest.UserData);
        Cpu->Segments[Seg.Es] = Descriptor.Null(3);
        Cpu->Segments[Seg.Fs] = Descriptor.Null(2);
        Cpu->Segments[Seg.Fs].Base = 0x1234_5000;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x48, 0xCF));
        Assert.Equal(0UL, Cpu->Segments[Seg.Es].Selector);
        Assert.Equal(0UL, Cpu->Segments[Seg.Fs].Selector);
        Assert.Equal(0x1234_5000UL, Cpu->Segments[Seg.Fs].Base);
    }

    [Fact]
    public void Iretq_ToSelf_TakesNullSsAtLevel0()
    {
        _guest.Long();
        _guest.Push<ulong>(Target, AssistGuest.Code64, 2, AssistGuest.StackAt, 0);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x48, 0xCF));
        Assert.Equal(Target, Cpu->Rip);
        Assert.Equal(AssistGuest.StackAt, Cpu->Gpr[Gpr.Rsp]);
    }

    [Theory]
    [InlineData(0, 13, 0)] // null code
    [InlineData(AssistGuest.Data0, 13, AssistGuest.Data0)]
    [InlineData(AssistGuest.UserCode64 & 0xFFFC, 13, AssistGuest.UserCode64 & 0xFFFC)] // RPL 0, DPL 3
    [InlineData(0x300, 13, 0x300)]
    public void Iretq_BadCode_Faults_AndKeepsTheState(ushort selector, byte vector, uint code)
    {
        _guest.Long();
        _guest.Push<ulong>(Target, selector, 2, AssistGuest.StackAt, AssistGuest.Data0);
        ulong rsp = Cpu->Gpr[Gpr.Rsp];
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x48, 0xCF));
        Assert.Equal((vector, code), _guest.Fault);
        Assert.Equal(rsp, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(AssistGuest.CodeAt, Cpu->Rip);
    }

    [Fact]
    public void Iretq_NotCanonical_OrNested_IsProtection()
    {
        _guest.Long();
        _guest.Push<ulong>(0x8000_0000_0000, AssistGuest.UserCode64, 2, AssistGuest.StackAt, AssistGuest.UserData);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x48, 0xCF));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Assert.Equal(0, Cpu->Cpl);
        Cpu->Rflags |= Rflags.Nt;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x48, 0xCF));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
    }

    [Fact]
    public void Iret_AtLevel3_CannotRaiseIopl()
    {
        _guest.Long(3);
        _guest.Push<ulong>(Target, AssistGuest.UserCode64, 0x3202 | Rflags.Ac, AssistGuest.StackAt, AssistGuest.UserData);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x48, 0xCF));
        Assert.Equal(2 | Rflags.Ac, Cpu->Rflags);
    }

    [Fact]
    public void Iretd_ToCompatibilityMode()
    {
        _guest.Long();
        _guest.Push<ulong>(0xF_FFFF_0000, AssistGuest.UserCode32, 2, AssistGuest.StackAt, AssistGuest.UserData);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x48, 0xCF));
        Assert.Equal(0xFFFF_0000UL, Cpu->Rip);
        Assert.Equal(32, CpuMode.CodeBits(Cpu));
    }

    [Fact]
    public void Iretd_SameLevel_PopsThree()
    {
        _guest.Protected();
        _guest.Push<uint>((uint)Target, AssistGuest.Code32, 0x246);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCF));
        Assert.Equal(AssistGuest.StackAt, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(0x246UL, Cpu->Rflags);
    }

    [Fact]
    public void Iretd_ToVirtual8086_LoadsAllSegments()
    {
        _guest.Protected();
        _guest.Push<uint>(0x100, 0x1234, 0x2_3202, 0xFFF0, 0x2000, 1, 2, 3, 4);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCF));
        Assert.Equal(3, Cpu->Cpl);
        Assert.True(CpuMode.IsVirtual8086(Cpu));
        Assert.Equal(0x12340UL, Cpu->Segments[Seg.Cs].Base);
        Assert.Equal(0x10UL, Cpu->Segments[Seg.Es].Base);
        Assert.Equal(0x40UL, Cpu->Segments[Seg.Gs].Base);
        Assert.Equal(0xFFF0UL, Cpu->Gpr[Gpr.Rsp]);
    }

    [Fact]
    public void Iret_InRealMode_PopsWords()
    {
        _guest.Real();
        Cpu->Gpr[Gpr.Rsp] = 0xFFFE;
        _guest.Write<ushort>(AssistGuest.StackAt + 0xFFFE, 0x1111);
        _guest.Write<ushort>(AssistGuest.StackAt, 0xF000);
        _guest.Write<ushort>(AssistGuest.StackAt + 2, 0x0246);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCF));
        Assert.Equal(0x1111UL, Cpu->Rip);
        Assert.Equal(0xF0000UL, Cpu->Segments[Seg.Cs].Base);
        Assert.Equal(4UL, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(0x246UL, Cpu->Rflags);
    }

    [Fact]
    public void Iret_InVirtual8086_NeedsIopl3()
    {
        _guest.Virtual8086(0);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xCF));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
    }
}
