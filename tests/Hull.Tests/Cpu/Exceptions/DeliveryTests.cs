using System;
using Hull.Cpu;
using Hull.Cpu.Exceptions;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Exceptions;

/// <summary>Frames on stacks, checks of gates, and what a fault during delivery becomes.</summary>
public sealed unsafe class DeliveryTests : IDisposable
{
    private const ulong Handler = 0x1_2340;
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void Long_SameLevel_PushesAnAlignedFrame()
    {
        _guest.Long().LongTss();
        _guest.Gate64(14, AssistGuest.Code64, Handler, 0x8E);
        Cpu->Gpr[Gpr.Rsp] = AssistGuest.StackAt - 8 + 3;
        Cpu->Rflags = Rflags.If | Rflags.Tf | Rflags.Nt | 2;
        Assert.True(Deliver(14, 5));
        Assert.Equal(Handler, Cpu->Rip);
        Assert.Equal(AssistGuest.StackAt - 16 - 48, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(5UL, _guest.Stack(0));
        Assert.Equal(AssistGuest.CodeAt, _guest.Stack(1));
        Assert.Equal((ulong)AssistGuest.Code64, _guest.Stack(2));
        Assert.Equal(Rflags.If | Rflags.Tf | Rflags.Nt | Rflags.Rf | 2, _guest.Stack(3));
        Assert.Equal(AssistGuest.StackAt - 8 + 3, _guest.Stack(4));
        Assert.Equal((ulong)AssistGuest.Data0, _guest.Stack(5));
        Assert.Equal(2UL, Cpu->Rflags);
        Assert.Equal((ulong)AssistGuest.Data0, Cpu->Segments[Seg.Ss].Selector);
    }

    [Fact]
    public void Long_FromUser_TakesRsp0_AndNullSs()
    {
        _guest.Long(3).LongTss();
        _guest.Gate64(0x80, AssistGuest.Code64, 0xFFFF_8000_0000_1000, 0x8F);
        Cpu->Rflags = Rflags.If | 2;
        Assert.True(Deliver(0x80, kind: EventKind.External));
        Assert.Equal(0xFFFF_8000_0000_1000UL, Cpu->Rip);
        Assert.Equal(0, Cpu->Cpl);
        Assert.Equal(AssistGuest.InnerStackAt - 40, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(0UL, Cpu->Segments[Seg.Ss].Selector);
        Assert.Equal((ulong)AssistGuest.Code64, Cpu->Segments[Seg.Cs].Selector);
        Assert.Equal((ulong)AssistGuest.UserCode64, _guest.Stack(1));
        Assert.Equal(Rflags.If | 2, _guest.Stack(2)); // no RF: not a fault
        Assert.Equal(AssistGuest.StackAt, _guest.Stack(3));
        Assert.Equal((ulong)AssistGuest.UserData, _guest.Stack(4));
        Assert.Equal(1, Cpu->InterruptFlag); // a trap gate
    }

    [Fact]
    public void Long_Ist_SwitchesStacksAtTheSameLevel()
    {
        _guest.Long().LongTss();
        _guest.Gate64(2, AssistGuest.Code64, Handler, 0x8E, ist: 1);
        Assert.True(Deliver(2, kind: EventKind.Nmi));
        Assert.Equal(AssistGuest.InterruptStackAt - 40, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(1UL, Cpu->NmiBlocked);
    }

    [Theory]
    [InlineData(0x0E, 11, (0x21 * 8) + 2 + 1)] // not present
    [InlineData(0x85, 13, (0x21 * 8) + 2 + 1)] // task gate
    public void Long_BadGates_NameTheEntry(byte access, byte vector, uint code)
    {
        _guest.Long();
        _guest.Gate64(0x21, AssistGuest.Code64, Handler, access);
        Assert.False(TryDeliver(0x21, EventKind.External));
        Assert.Equal((vector, code), _guest.Fault);
        Assert.Equal(AssistGuest.CodeAt, Cpu->Rip);
    }

    [Theory]
    [InlineData(0, 13, 1)] // null
    [InlineData(AssistGuest.Data0, 13, 0x11)] // no code
    [InlineData(AssistGuest.Code32, 13, 0x19)] // not 64-bit
    [InlineData(0x200, 13, 0x201)] // outside the table
    public void Long_BadHandlerSegments_NameTheSelector(ushort selector, byte vector, uint code)
    {
        _guest.Long();
        _guest.Gate64(0x21, selector, Handler, 0x8E);
        Assert.False(TryDeliver(0x21, EventKind.External));
        Assert.Equal((vector, code), _guest.Fault);
    }

    [Fact]
    public void Long_BeyondTheTable_IsProtection()
    {
        _guest.Long();
        Cpu->Idtr.Limit = (0x21 * 16) + 14;
        Assert.False(TryDeliver(0x21, EventKind.SoftwareInterrupt));
        Assert.Equal(((byte)13, (0x21u * 8) + 2), _guest.Fault);
    }

    [Fact]
    public void Long_NotCanonicalStack_IsStackFault()
    {
        _guest.Long(3);
        _guest.Write(AssistGuest.TssAt + 4, 0x9000_0000_0000UL);
        _guest.Gate64(0x21, AssistGuest.Code64, Handler, 0x8E);
        Assert.False(TryDeliver(0x21, EventKind.External));
        Assert.Equal(((byte)12, 1u), _guest.Fault);
    }

    [Fact]
    public void Long_ShortTss_IsInvalidTss()
    {
        _guest.Long(3).LongTss();
        Cpu->Tr.Limit = 0xA;
        _guest.Gate64(0x21, AssistGuest.Code64, Handler, 0x8E);
        Assert.False(TryDeliver(0x21, EventKind.SoftwareInterrupt));
        Assert.Equal(((byte)13, (0x21u * 8) + 2), _guest.Fault); // the gate's DPL comes first
        Assert.False(TryDeliver(0x21, EventKind.External));
        Assert.Equal(((byte)10, AssistGuest.Tss | 1u), _guest.Fault);
    }

    [Fact]
    public void PageFaultInPageFault_IsDoubleFault_ThenShutdown()
    {
        _guest.Long().LongTss();
        _guest.Gate64(8, AssistGuest.Code64, Handler, 0x8E, ist: 1);
        Cpu->Gpr[Gpr.Rsp] = 0x4000_0000; // not mapped
        _guest.Gate64(14, AssistGuest.Code64, Handler, 0x8E);
        Assert.True(Deliver(14, 0));
        Assert.Equal(Handler, Cpu->Rip);
        Assert.Equal(AssistGuest.InterruptStackAt - 48, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(0UL, _guest.Stack(0));
        Assert.Equal(0x4000_0000UL - 8, Cpu->Cr2 | 0xFF0 | 8); // the push that failed

        Cpu->Gpr[Gpr.Rsp] = 0x4000_0000;
        Cpu->Idtr.Limit = 7 * 16;
        Assert.False(Deliver(14, 0));
    }

    [Fact]
    public void ProtectionInPageFault_IsDoubleFault_PageInProtection_IsNot()
    {
        _guest.Long().LongTss();
        _guest.Gate64(8, AssistGuest.Code64, 0x8000, 0x8E, ist: 1);
        _guest.Gate64(13, 0, Handler, 0x8E);
        _guest.Gate64(14, AssistGuest.Code64, 0xE000, 0x8E, ist: 1);
        Assert.True(Deliver(13, 0)); // null handler: #GP in #GP
        Assert.Equal(0x8000UL, Cpu->Rip);

        _guest.Gate64(13, AssistGuest.Code64, Handler, 0x8E);
        Cpu->Gpr[Gpr.Rsp] = 0x4000_0000;
        Assert.True(Deliver(13, 0)); // #PF in #GP is served as #PF
        Assert.Equal(0xE000UL, Cpu->Rip);
        Assert.Equal(2UL, _guest.Stack(0));
    }

    [Fact]
    public void FaultInExternalInterrupt_IsServedAlone()
    {
        _guest.Long().LongTss();
        _guest.Gate64(0x30, 0, Handler, 0x8E);
        _guest.Gate64(13, AssistGuest.Code64, Handler, 0x8E);
        Assert.True(Deliver(0x30, kind: EventKind.External));
        Assert.Equal(1UL, _guest.Stack(0));
        Assert.Equal(Handler, Cpu->Rip);
    }

    [Fact]
    public void Protected_SameLevel_PushesDwords()
    {
        _guest.Protected();
        _guest.Gate32(13, AssistGuest.Code32, (uint)Handler, 0x8E);
        Cpu->Rflags = Rflags.If | 2;
        Assert.True(Deliver(13, 0x18));
        Assert.Equal(Handler, Cpu->Rip);
        Assert.Equal(0x18UL, _guest.Stack(0, 4));
        Assert.Equal(AssistGuest.CodeAt, _guest.Stack(1, 4));
        Assert.Equal((ulong)AssistGuest.Code32, _guest.Stack(2, 4));
        Assert.Equal(Rflags.If | Rflags.Rf | 2, _guest.Stack(3, 4));
        Assert.Equal(0, Cpu->InterruptFlag);
    }

    [Fact]
    public void Protected_FromUser_TakesStackOfTss()
    {
        _guest.Protected(3).ProtectedTss();
        _guest.Gate32(0x80, AssistGuest.Code32, (uint)Handler, 0xEF);
        Assert.True(Deliver(0x80, kind: EventKind.SoftwareInterrupt));
        Assert.Equal(0, Cpu->Cpl);
        Assert.Equal((ulong)AssistGuest.Data0, Cpu->Segments[Seg.Ss].Selector);
        Assert.Equal(AssistGuest.InnerStackAt - 20, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(AssistGuest.StackAt, _guest.Stack(3, 4));
        Assert.Equal((ulong)AssistGuest.UserData, _guest.Stack(4, 4));
    }

    [Fact]
    public void Protected_BadInnerStack_IsInvalidTss_WithItsSelector()
    {
        _guest.Protected(3).ProtectedTss();
        _guest.Write(AssistGuest.TssAt + 8, (uint)AssistGuest.UserData);
        _guest.Gate32(0x80, AssistGuest.Code32, (uint)Handler, 0xEF);
        Assert.False(TryDeliver(0x80, EventKind.SoftwareInterrupt));
        Assert.Equal(((byte)10, AssistGuest.UserData & 0xFFFCu), _guest.Fault);
        Assert.False(TryDeliver(0x80, EventKind.External));
        Assert.Equal(((byte)10, (AssistGuest.UserData & 0xFFFCu) | 1), _guest.Fault);
    }

    [Fact]
    public void Protected_16BitGate_PushesWords()
    {
        _guest.Protected();
        _guest.Gate32(0x40, AssistGuest.Code32, 0xFFFF_1234, 0x86);
        Assert.True(Deliver(0x40, kind: EventKind.External));
        Assert.Equal(0x1234UL, Cpu->Rip);
        Assert.Equal(AssistGuest.StackAt - 6, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(AssistGuest.CodeAt & 0xFFFF, _guest.Stack(0, 2));
    }

    [Fact]
    public void Virtual8086_LeavesWithAllSegments()
    {
        _guest.Virtual8086().ProtectedTss();
        _guest.Gate32(13, AssistGuest.Code32, (uint)Handler, 0x8E);
        Assert.True(Deliver(13, 0));
        Assert.Equal(0, Cpu->Cpl);
        Assert.Equal(0UL, Cpu->SystemFlags & Rflags.Vm);
        ulong[] frame = new ulong[10];
        for (int index = 0; index < frame.Length; index++)
        {
            frame[index] = _guest.Stack(index, 4);
        }

        Assert.Equal(
            [0, 0, 0x1000, Rflags.Vm | Rflags.Iopl | Rflags.Rf | 2, 0x1000, 0x2000, 0x3000, 0x3000, 0x3100, 0x3100], frame);
        Assert.Equal(SegmentAttributes.Unusable, Cpu->Segments[Seg.Ds].Attributes & SegmentAttributes.Unusable);
    }

    [Theory]
    [InlineData(17)]
    [InlineData(13)]
    public void AlignmentCheckOfItsOwnFrame_ShutsDown_AndDoesNotHang(byte vector)
    {
        _guest.Protected(3);
        _guest.Describe(AssistGuest.Free, AssistGuest.Segment(0, 0xF_FFFF, 0xC09F)); // conforming: stays at level 3
        _guest.Gate32(17, vector == 17 ? AssistGuest.Free : (ushort)0, (uint)Handler, 0x8E);
        _guest.Gate32(13, AssistGuest.Free, (uint)Handler, 0x8E);
        Cpu->Cr0 |= Cr0.Am;
        Cpu->Rflags = Rflags.Ac | 2;
        Cpu->Gpr[Gpr.Rsp] = AssistGuest.StackAt - 1;
        Assert.False(Deliver(vector, 0));
    }

    [Fact]
    public void Real_UsesTheVectorTable()
    {
        _guest.Real();
        _guest.Write(0x21 * 4, 0xF000_1234u);
        Cpu->Rflags = Rflags.If | Rflags.Tf | 2;
        Assert.True(Deliver(0x21, kind: EventKind.External));
        Assert.Equal(0x1234UL, Cpu->Rip);
        Assert.Equal(0xF0000UL, Cpu->Segments[Seg.Cs].Base);
        Assert.Equal(0xFFAUL, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(0UL, _guest.Stack(0, 2));
        Assert.Equal(0x1000UL, _guest.Stack(1, 2));
        Assert.Equal(Rflags.If | Rflags.Tf | 2, _guest.Stack(2, 2));
        Assert.Equal(2UL, Cpu->Rflags);
    }

    [Fact]
    public void Real_StackWraps()
    {
        _guest.Real();
        _guest.Write(0x21 * 4, 0xF000_1234u);
        Cpu->Gpr[Gpr.Rsp] = 2;
        Assert.True(Deliver(0x21, kind: EventKind.External));
        Assert.Equal(0xFFFCUL, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(0x1000UL, _guest.Read<ushort>(AssistGuest.StackAt + 0xFFFE));
        Assert.Equal(2UL, _guest.Read<ushort>(AssistGuest.StackAt));
    }

    private bool Deliver(byte vector, uint? code = null, EventKind kind = EventKind.Exception) =>
        ExceptionDelivery.Deliver(_guest.Vcpu, new PendingFault(vector, code.HasValue, code ?? 0), kind);

    private bool TryDeliver(byte vector, EventKind kind) =>
        ExceptionDelivery.TryDeliver(_guest.Vcpu, new PendingFault(vector, false, 0), kind, Cpu->Rip);
}
