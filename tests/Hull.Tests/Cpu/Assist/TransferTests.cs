using System;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>Far transfers, IRET, fast system calls, software interrupts, segment loads.</summary>
public sealed unsafe class TransferTests : IDisposable
{
    private const ulong Target = 0x1_4000;
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void Iretq_ToUser_RestoresEverything()
    {
        _guest.Long();
        Push(0x7FFF_0000, AssistGuest.UserCode64, 0x20_0246 | Rflags.Iopl, 0x7FFE_0000, AssistGuest.UserData);
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
        Push(Target, AssistGuest.UserCode64, 2, AssistGuest.StackAt, AssistGuest.UserData);
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
        Push(Target, AssistGuest.Code64, 2, AssistGuest.StackAt, 0);
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
        Push(Target, selector, 2, AssistGuest.StackAt, AssistGuest.Data0);
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
        Push(0x8000_0000_0000, AssistGuest.UserCode64, 2, AssistGuest.StackAt, AssistGuest.UserData);
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
        Push(Target, AssistGuest.UserCode64, 0x3202 | Rflags.Ac, AssistGuest.StackAt, AssistGuest.UserData);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x48, 0xCF));
        Assert.Equal(2 | Rflags.Ac, Cpu->Rflags);
    }

    [Fact]
    public void Iretd_ToCompatibilityMode()
    {
        _guest.Long();
        Push(0xF_FFFF_0000, AssistGuest.UserCode32, 2, AssistGuest.StackAt, AssistGuest.UserData);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x48, 0xCF));
        Assert.Equal(0xFFFF_0000UL, Cpu->Rip);
        Assert.Equal(32, CpuMode.CodeBits(Cpu));
    }

    [Fact]
    public void Iretd_SameLevel_PopsThree()
    {
        _guest.Protected();
        Push32((uint)Target, AssistGuest.Code32, 0x246);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCF));
        Assert.Equal(AssistGuest.StackAt, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(0x246UL, Cpu->Rflags);
    }

    [Fact]
    public void Iretd_ToVirtual8086_LoadsAllSegments()
    {
        _guest.Protected();
        Push32(0x100, 0x1234, 0x2_3202, 0xFFF0, 0x2000, 1, 2, 3, 4);
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

    [Fact]
    public void JmpFar_ToA64BitSegment_EntersLongMode()
    {
        _guest.Protected();
        Cpu->Cr3 = 0x1000;
        Cpu->Cr4 = Cr4.Pae;
        Cpu->Efer = Efer.Lme | Efer.Lma;
        Cpu->Cr0 |= Cr0.Pg;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xEA, 0, 0x40, 1, 0, 0x08, 0));
        Assert.Equal(Target, Cpu->Rip);
        Assert.True(CpuMode.Is64Bit(Cpu));
    }

    [Fact]
    public void JmpFar_ChecksRightsPresenceAndLimit()
    {
        _guest.Protected();
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xEA, 0, 0, 0, 0, 0, 0));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xEA, 0, 0, 0, 0, 0x28, 0)); // DPL 3
        Assert.Equal(((byte)13, 0x28u), _guest.Fault);
        _guest.Describe(AssistGuest.Free, AssistGuest.Segment(0, 0xFFF, 0x401B));
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xEA, 0, 0, 0, 0, 0x60, 0));
        Assert.Equal(((byte)11, 0x60u), _guest.Fault);
        _guest.Describe(AssistGuest.Free, AssistGuest.Segment(0, 0xFFF, 0x409A));
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xEA, 0, 0x10, 0, 0, 0x60, 0));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xEA, 0xFF, 0x0F, 0, 0, 0x60, 0));
        Assert.Equal(0x9B, _guest.Read<byte>(AssistGuest.GdtAt + 0x65)); // accessed
    }

    [Fact]
    public void CallFar_And_Retf_SameLevel()
    {
        _guest.Protected();
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x9A, 0, 0x40, 1, 0, 0x18, 0));
        Assert.Equal(AssistGuest.CodeAt + 7, _guest.Stack(0, 4));
        Assert.Equal((ulong)AssistGuest.Code32, _guest.Stack(1, 4));
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCA, 8, 0));
        Assert.Equal(AssistGuest.CodeAt + 7, Cpu->Rip);
        Assert.Equal(AssistGuest.StackAt + 8, Cpu->Gpr[Gpr.Rsp]);
    }

    [Fact]
    public void CallGate_ToInnerLevel_CopiesParameters()
    {
        _guest.Protected(3).ProtectedTss();
        _guest.Describe(AssistGuest.Free, AssistGuest.Gate(AssistGuest.Code32, Target, 0xEC, 2));
        Push32(111, 222);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x9A, 0, 0, 0, 0, 0x63, 0));
        Assert.Equal(Target, Cpu->Rip);
        Assert.Equal(0, Cpu->Cpl);
        Assert.Equal(AssistGuest.InnerStackAt - 24, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(AssistGuest.CodeAt + 7, _guest.Stack(0, 4));
        Assert.Equal((ulong)AssistGuest.UserCode32, _guest.Stack(1, 4));
        Assert.Equal(111UL, _guest.Stack(2, 4));
        Assert.Equal(222UL, _guest.Stack(3, 4));
        Assert.Equal(AssistGuest.StackAt - 8, _guest.Stack(4, 4));
        Assert.Equal((ulong)AssistGuest.UserData, _guest.Stack(5, 4));

        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCA, 8, 0));
        Assert.Equal(3, Cpu->Cpl);
        Assert.Equal(AssistGuest.StackAt, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal((ulong)AssistGuest.UserData, Cpu->Segments[Seg.Ss].Selector);
    }

    [Fact]
    public void CallGate_InLongMode_PushesQuadwords()
    {
        _guest.Long(3).LongTss();
        _guest.Describe(AssistGuest.Free, AssistGuest.Gate(AssistGuest.Code64, Target, 0xEC), 0xFFFF_8000, true);
        _guest.Write(AssistGuest.DataAt, 0u);
        _guest.Write(AssistGuest.DataAt + 4, (ushort)(AssistGuest.Free | 3));
        Cpu->Gpr[Gpr.Rbx] = AssistGuest.DataAt;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xFF, 0x1B));
        Assert.Equal(0xFFFF_8000_0001_4000UL, Cpu->Rip);
        Assert.Equal(AssistGuest.InnerStackAt - 32, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal((ulong)AssistGuest.UserData, _guest.Stack(3));
        Assert.Equal(0UL, Cpu->Segments[Seg.Ss].Selector);
    }

    [Fact]
    public void RealMode_FarCallAndReturn()
    {
        _guest.Real();
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x9A, 0x34, 0x12, 0, 0xF0));
        Assert.Equal(0xF0000UL, Cpu->Segments[Seg.Cs].Base);
        Assert.Equal(5UL, _guest.Stack(0, 2));
        Assert.Equal(0x1000UL, _guest.Stack(1, 2));
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCB));
        Assert.Equal(AssistGuest.CodeAt, Cpu->Segments[Seg.Cs].Base);
        Assert.Equal(5UL, Cpu->Rip);
        Assert.Equal(0x1000UL, Cpu->Gpr[Gpr.Rsp]);
    }

    [Fact]
    public void RealMode_ProtectedEntry_KeepsLimits()
    {
        _guest.Real();
        Cpu->Segments[Seg.Ds].Limit = uint.MaxValue; // unreal mode
        Cpu->Gpr[Gpr.Rax] = 0x4000;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x8E, 0xD8));
        Assert.Equal(0x40000UL, Cpu->Segments[Seg.Ds].Base);
        Assert.Equal(uint.MaxValue, Cpu->Segments[Seg.Ds].Limit);
    }

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

    [Fact]
    public void MovSs_MakesAShadow_AndChecksPrivilege()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rax] = AssistGuest.Data0;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x8E, 0xD0));
        Assert.Equal(Hull.Cpu.DebugUnit.StackSegmentShadow, Cpu->InterruptShadow);
        Cpu->Gpr[Gpr.Rax] = AssistGuest.UserData;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x8E, 0xD0));
        Assert.Equal(((byte)13, AssistGuest.UserData & 0xFFFCu), _guest.Fault);
        Cpu->Gpr[Gpr.Rax] = 0;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x8E, 0xD0));
        _guest.Long(3);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x8E, 0xD0));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
    }

    [Fact]
    public void MovDs_NotPresent_IsSegmentNotPresent_SsIsStackFault()
    {
        _guest.Protected();
        _guest.Describe(AssistGuest.Free, AssistGuest.Segment(0, 0xFFFF, 0x13));
        Cpu->Gpr[Gpr.Rax] = AssistGuest.Free;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x8E, 0xD8));
        Assert.Equal(((byte)11, (uint)AssistGuest.Free), _guest.Fault);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x8E, 0xD0));
        Assert.Equal(((byte)12, (uint)AssistGuest.Free), _guest.Fault);
    }

    [Fact]
    public void NullFs_ClearsTheBase()
    {
        _guest.Long();
        Cpu->Segments[Seg.Fs].Base = 0x1234;
        Cpu->Gpr[Gpr.Rax] = 0;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x8E, 0xE0));
        Assert.Equal(0UL, Cpu->Segments[Seg.Fs].Base);
    }

    [Fact]
    public void Swapgs_And_FsGsBase()
    {
        _guest.Long();
        Cpu->KernelGsBase = 0x1111;
        Cpu->Segments[Seg.Gs].Base = 0x2222;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0x01, 0xF8));
        Assert.Equal(0x1111UL, Cpu->Segments[Seg.Gs].Base);
        Assert.Equal(0x2222UL, Cpu->KernelGsBase);
        Cpu->Cr4 |= Cr4.Fsgsbase;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xF3, 0x48, 0x0F, 0xAE, 0xCB)); // rdgsbase rbx
        Assert.Equal(0x1111UL, Cpu->Gpr[Gpr.Rbx]);
        Cpu->Gpr[Gpr.Rbx] = 0x9000_0000_0000;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xF3, 0x48, 0x0F, 0xAE, 0xD3)); // wrfsbase rbx
    }

    [Fact]
    public void Les_LoadsBoth()
    {
        _guest.Protected();
        _guest.Write(AssistGuest.DataAt, 0x1234_5678u);
        _guest.Write<ushort>(AssistGuest.DataAt + 4, AssistGuest.Data16);
        Cpu->Gpr[Gpr.Rbx] = AssistGuest.DataAt;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xC4, 0x0B));
        Assert.Equal(0x1234_5678UL, Cpu->Gpr[Gpr.Rcx]);
        Assert.Equal((ulong)AssistGuest.Data16, Cpu->Segments[Seg.Es].Selector);
    }

    [Fact]
    public void PushPopSegment_HaveTheOperandSize()
    {
        _guest.Long();
        Cpu->Segments[Seg.Fs].Selector = 0x53;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xA0));
        Assert.Equal(0x53UL, _guest.Stack(0));
        _guest.Write<ulong>(Cpu->Gpr[Gpr.Rsp], AssistGuest.Data0);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xA9)); // pop gs
        Assert.Equal((ulong)AssistGuest.Data0, Cpu->Segments[Seg.Gs].Selector);
        Assert.Equal(AssistGuest.StackAt, Cpu->Gpr[Gpr.Rsp]);
    }

    private void Push(params ulong[] values)
    {
        for (int index = values.Length - 1; index >= 0; index--)
        {
            Cpu->Gpr[Gpr.Rsp] -= 8;
            _guest.Write(Cpu->Gpr[Gpr.Rsp], values[index]);
        }
    }

    private void Push32(params uint[] values)
    {
        for (int index = values.Length - 1; index >= 0; index--)
        {
            Cpu->Gpr[Gpr.Rsp] -= 4;
            _guest.Write(Cpu->Gpr[Gpr.Rsp], values[index]);
        }
    }
}
