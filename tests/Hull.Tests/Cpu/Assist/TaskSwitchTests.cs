using System;
using Hull.Cpu;
using Hull.Cpu.Assist;
using Hull.Cpu.Exceptions;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>Hardware task switches: what is saved, loaded, linked and checked.</summary>
public sealed unsafe class TaskSwitchTests : IDisposable
{
    private const ulong NewTss = 0x9000;
    private const ushort NewTask = AssistGuest.Free;
    private const ushort Gate = AssistGuest.Free + 8;
    private readonly AssistGuest _guest = new();

    public TaskSwitchTests()
    {
        _guest.Protected();
        _guest.Describe(AssistGuest.Tss, AssistGuest.Segment((uint)AssistGuest.TssAt, 0x67, 0x8B));
        _guest.Describe(NewTask, AssistGuest.Segment((uint)NewTss, 0x67, 0x89));
        _guest.Describe(Gate, AssistGuest.Gate(NewTask, 0, 0xE5));
        uint[] image =
        [
            0, 0, 0, 0, 0, 0, 0, 0, 0x4444, 0x0246, 1, 2, 3, 4, 0x2_C000, 6, 7, 8,
            AssistGuest.Data0, AssistGuest.Code32, AssistGuest.Data0, AssistGuest.Data0, AssistGuest.Data16, 0, 0, 0,
        ];
        for (uint index = 0; index < image.Length; index++)
        {
            _guest.Write(NewTss + (index * 4), image[index]);
        }
    }

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void Jmp_SavesTheOldTask_AndLoadsTheNew()
    {
        Cpu->Gpr[Gpr.Rbx] = 0x1234;
        Cpu->Rflags = Rflags.If | 2;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xEA, 0, 0, 0, 0, 0x60, 0));
        Assert.Equal(0x4444UL, Cpu->Rip);
        Assert.Equal(0x246UL, Cpu->Rflags);
        Assert.Equal(4UL, Cpu->Gpr[Gpr.Rbx]);
        Assert.Equal(0x2_C000UL, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal((ulong)AssistGuest.Data16, Cpu->Segments[Seg.Fs].Selector);
        Assert.Equal((ulong)NewTask, Cpu->Tr.Selector);
        Assert.NotEqual(0UL, Cpu->Cr0 & Cr0.Ts);
        Assert.Equal(AssistGuest.CodeAt + 7, _guest.Read<uint>(AssistGuest.TssAt + 32));
        Assert.Equal(Rflags.If | 2, _guest.Read<uint>(AssistGuest.TssAt + 36));
        Assert.Equal(0x1234u, _guest.Read<uint>(AssistGuest.TssAt + 52));
        Assert.Equal(AssistGuest.Code32, _guest.Read<uint>(AssistGuest.TssAt + 76));
        Assert.Equal(0x89, _guest.Read<byte>(AssistGuest.GdtAt + AssistGuest.Tss + 5));
        Assert.Equal(0x8B, _guest.Read<byte>(AssistGuest.GdtAt + NewTask + 5));
    }

    [Fact]
    public void CallThroughAGate_Nests_AndIretReturns()
    {
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x9A, 0, 0, 0, 0, 0x68, 0));
        Assert.Equal(AssistGuest.Tss, _guest.Read<ushort>(NewTss));
        Assert.NotEqual(0UL, Cpu->SystemFlags & Rflags.Nt);
        Assert.Equal(0x8B, _guest.Read<byte>(AssistGuest.GdtAt + AssistGuest.Tss + 5));
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xCF));
        Assert.Equal(AssistGuest.CodeAt + 7, Cpu->Rip);
        Assert.Equal((ulong)AssistGuest.Tss, Cpu->Tr.Selector);
        Assert.Equal(0UL, Cpu->SystemFlags & Rflags.Nt);
        Assert.Equal(0x89, _guest.Read<byte>(AssistGuest.GdtAt + NewTask + 5));
        Assert.Equal(0x4445u, _guest.Read<uint>(NewTss + 32));
        Assert.Equal(0u, _guest.Read<uint>(NewTss + 36) & (uint)Rflags.Nt);
    }

    [Fact]
    public void TaskGateOfTheIdt_GetsTheErrorCode()
    {
        _guest.Write(AssistGuest.IdtAt + (8 * 8), AssistGuest.Gate(NewTask, 0, 0x85));
        Assert.True(ExceptionDelivery.Deliver(_guest.Vcpu, new PendingFault(8, true, 0), EventKind.Exception));
        Assert.Equal(0x4444UL, Cpu->Rip);
        Assert.Equal(0x2_BFFCUL, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(0UL, _guest.Stack(0, 4));
    }

    [Fact]
    public void BusyTss_IsProtection_ShortTss_IsInvalid()
    {
        _guest.Describe(NewTask, AssistGuest.Segment((uint)NewTss, 0x67, 0x8B));
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xEA, 0, 0, 0, 0, 0x68, 0));
        Assert.Equal(((byte)13, (uint)NewTask), _guest.Fault);
        _guest.Describe(NewTask, AssistGuest.Segment((uint)NewTss, 0x66, 0x89));
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xEA, 0, 0, 0, 0, 0x60, 0));
        Assert.Equal(((byte)10, (uint)NewTask), _guest.Fault);
        Assert.Equal(AssistGuest.CodeAt, Cpu->Rip);
    }

    [Fact]
    public void BadStackOfTheNewTask_FaultsInTheNewTask()
    {
        _guest.Write(NewTss + 80, (uint)AssistGuest.UserData);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xEA, 0, 0, 0, 0, 0x60, 0));
        Assert.Equal(((byte)10, AssistGuest.UserData & 0xFFFCu), _guest.Fault);
        Assert.Equal(0x4444UL, Cpu->Rip);
    }

    [Fact]
    public void Virtual8086Task_Starts()
    {
        _guest.Write(NewTss + 36, (uint)Rflags.Vm | 2);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xEA, 0, 0, 0, 0, 0x60, 0));
        Assert.Equal(3, Cpu->Cpl);
        Assert.Equal((ulong)AssistGuest.Code32 << 4, Cpu->Segments[Seg.Cs].Base);
    }
}
