using System;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>Far JMP, CALL and RET, call gates.</summary>
public sealed unsafe class FarTransferTests : IDisposable
{
    private const ulong Target = 0x1_4000;
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

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
        _guest.Push<uint>(111, 222);
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
}
