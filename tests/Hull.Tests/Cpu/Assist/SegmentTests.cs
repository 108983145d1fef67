using System;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>Loads, pushes and bases of segment registers.</summary>
public sealed unsafe class SegmentTests : IDisposable
{
    private const ulong Target = 0x1_4000;
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

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
}
