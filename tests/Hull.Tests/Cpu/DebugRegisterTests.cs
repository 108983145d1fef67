using System;
using Hull.Memory;
using Hull.Tests.Cpu.Translate;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu;

/// <summary>
/// Breakpoints, single steps and INT1, each result from the SDM: vol. 3B, "Debug, Branch Profile, TSC". The guest's
/// handlers halt, so a test sees the first event and its frame.
/// </summary>
public sealed class DebugRegisterTests : IDisposable
{
    private const ulong Tf = 1 << 8;
    private const ulong Rf = 1 << 16;
    private const ulong StatusDefault = 0xFFFF_0FF0;
    private const ulong SingleStep = 1 << 14;
    private const ulong Code = FlatGuest.CodeAt;
    private const ulong Data = FlatGuest.DataAt;
    private const int WriteOnly = 1;
    private const int Port = 2;
    private const int ReadWrite = 3;
    private readonly FlatGuest _guest = new();

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void Execution_FaultsBeforeTheInstruction_WithoutRf()
    {
        Arm(0, Code + 3, 0, 1);
        _guest.Run([0x48, 0xFF, 0xC0, 0x48, 0xFF, 0xC0, 0xF4]); // inc rax; inc rax; hlt
        AssertTrap(Code + 3, 1);
        Assert.Equal(1UL, _guest.State.Gpr[0]);
        Assert.Equal(0UL, _guest.Stack(2) & Rf);
    }

    [Fact]
    public void Execution_IsHeldOffByRf_ForOneInstruction()
    {
        Arm(2, Code, 0, 1);
        _guest.State.Rflags |= Rf;
        _guest.Run([0x48, 0xFF, 0xC0, 0xEB, 0xFB]); // inc rax; jmp back
        AssertTrap(Code, 4);
        Assert.Equal(1UL, _guest.State.Gpr[0]);
    }

    [Fact]
    public void Execution_ArmedAfterTheLoopWasLinked_Hits()
    {
        _guest.Run(static a =>
        {
            Label loop = a.CreateLabel();
            Label tail = a.CreateLabel();
            a.mov(ecx, 100);
            a.Label(ref loop);
            a.jmp(tail);
            a.nop();
            a.Label(ref tail);
            a.inc(rbx);
            a.dec(ecx);
            a.jne(loop);
            a.lea(rax, __[tail]);
            a.mov(dr0, rax);
            a.mov(eax, 2);
            a.mov(dr7, rax);
            a.mov(ecx, 100);
            a.jmp(loop);
            a.hlt();
        });
        Assert.Equal(1, _guest.Vector);
        Assert.Equal(StatusDefault | 1, _guest.State.DebugRegisters[6]);
        Assert.Equal(100UL, _guest.State.Gpr[3]);
    }

    [Theory]
    [InlineData(WriteOnly, 1, 0UL, true, true)]
    [InlineData(WriteOnly, 1, 0UL, false, false)]
    [InlineData(ReadWrite, 1, 0UL, false, true)]
    [InlineData(ReadWrite, 8, 0UL, false, true)]
    [InlineData(WriteOnly, 4, 8UL, true, false)]
    [InlineData(WriteOnly, 4, 4UL, true, true)]
    [InlineData(WriteOnly, 2, 7UL, true, true)]
    [InlineData(WriteOnly, 1, 0xFFFUL, true, false)]
    public void Data_TrapsBehindTheInstruction(int kind, int length, ulong offset, bool store, bool hits)
    {
        Arm(1, Data + offset, kind, length);
        _guest.State.Gpr[1] = Data;
        _guest.Run(store ? [0x48, 0x89, 0x01, 0x90, 0xF4] : [0x48, 0x8B, 0x01, 0x90, 0xF4]);
        if (hits)
        {
            AssertTrap(Code + 3, 2);
        }
        else
        {
            Assert.Equal(-1, _guest.Vector);
            Assert.Equal(StatusDefault, _guest.State.DebugRegisters[6]);
        }
    }

    [Fact]
    public void Data_AfterTheLineWasInTheTlb_Hits()
    {
        _guest.Run(static a =>
        {
            Label loop = a.CreateLabel();
            a.mov(rcx, Data);
            a.mov(dr1, rcx);
            a.mov(edx, 5);
            a.Label(ref loop);
            a.mov(__[rcx], edx);
            a.dec(edx);
            a.jne(loop);
            a.mov(eax, (1 << 2) | (0xD << 20));
            a.mov(dr7, rax);
            a.mov(edx, 5);
            a.jmp(loop);
        });
        Assert.Equal(1, _guest.Vector);
        Assert.Equal(StatusDefault | 2, _guest.State.DebugRegisters[6]);
        Assert.Equal(5UL, _guest.State.Gpr[2]);
        Assert.Equal(5u, _guest.Memory.Read<uint>(new GuestPhysical(Data)));
    }

    [Fact]
    public void Data_OfAnAccessAcrossPages_Hits()
    {
        Arm(3, Data + 0x1000, WriteOnly, 1);
        _guest.State.Gpr[1] = Data + 0xFFC;
        _guest.Run([0x48, 0x89, 0x01, 0x90, 0xF4]);
        AssertTrap(Code + 3, 8);
    }

    [Theory]
    [InlineData(new byte[] { 0x50, 0x90, 0xF4 }, 1)] // push
    [InlineData(new byte[] { 0xE8, 0, 0, 0, 0, 0x90, 0xF4 }, 5)] // call
    [InlineData(new byte[] { 0xC8, 0, 0, 0, 0x90, 0xF4 }, 4)] // enter
    [InlineData(new byte[] { 0x9C, 0x90, 0xF4 }, 1)] // pushfq
    public void Data_OfTheStack_Hits(byte[] code, int length)
    {
        Arm(0, FlatGuest.StackAt - 8, WriteOnly, 8);
        AssertTrapAfter(code, length);
    }

    [Fact]
    public void RepMovs_TrapsAfterTheIterationThatHits_WithRf()
    {
        Arm(0, Data + 0x103, WriteOnly, 1);
        _guest.State.Gpr[6] = Data;
        _guest.State.Gpr[7] = Data + 0x100;
        _guest.State.Gpr[1] = 16;
        _guest.Run([0xF3, 0xA4, 0x90, 0xF4]);
        AssertTrap(Code, 1);
        Assert.Equal(12UL, _guest.State.Gpr[1]);
        Assert.Equal(Data + 0x104, _guest.State.Gpr[7]);
        Assert.NotEqual(0UL, _guest.Stack(2) & Rf);
    }

    [Fact]
    public void Port_TrapsBehindOut_WithDebuggingExtensionsOnly()
    {
        byte[] code = [0xE6, 0x80, 0x90, 0xF4]; // out 0x80, al
        Arm(0, 0x80, Port, 1);
        Assert.Equal(-1, _guest.Run(code).Vector);
        using FlatGuest other = new();
        other.State.Cr4 |= 8;
        other.State.DebugRegisters[0] = 0x80;
        other.State.DebugRegisters[7] = 0x402 | (Port << 16);
        other.Run(code);
        Assert.Equal(1, other.Vector);
        Assert.Equal(Code + 2, other.Stack(0));
    }

    [Fact]
    public void MovSs_HoldsItsDataBreakpoint_ForOneInstruction()
    {
        Arm(0, Data, ReadWrite, 2);
        _guest.Memory.Write<ushort>(new GuestPhysical(Data), 0x18);
        _guest.State.Gpr[1] = Data;
        _guest.Run([0x8E, 0x11, 0x48, 0xFF, 0xC0, 0x48, 0xFF, 0xC0, 0xF4]); // mov ss, [rcx]; inc rax; inc rax
        AssertTrap(Code + 5, 1);
        Assert.Equal(1UL, _guest.State.Gpr[0]);
    }

    [Fact]
    public void MovSs_ThenInt_ReportsAtTheHandlersFirstInstruction()
    {
        Arm(0, Data, ReadWrite, 2);
        _guest.Memory.Write<ushort>(new GuestPhysical(Data), 0x18);
        _guest.State.Gpr[1] = Data;
        _guest.Run([0x8E, 0x11, 0xCD, 0x20, 0xF4]);
        AssertTrap(0x8000 + (16 * 0x20), 1);
    }

    [Fact]
    public void MovSs_ThenInt1_IsOneException()
    {
        Arm(0, Data, ReadWrite, 2);
        _guest.Memory.Write<ushort>(new GuestPhysical(Data), 0x18);
        _guest.State.Gpr[1] = Data;
        _guest.Run([0x8E, 0x11, 0xF1, 0xF4]);
        AssertTrap(Code + 3, 1);
    }

    [Fact]
    public void Step_TrapsBehindEachInstruction()
    {
        _guest.State.Rflags |= Tf;
        _guest.Run([0x48, 0xFF, 0xC0, 0x48, 0xFF, 0xC0, 0xF4]);
        AssertTrap(Code + 3, SingleStep);
        Assert.NotEqual(0UL, _guest.Stack(2) & Tf);
        Assert.Equal(0UL, _guest.State.Rflags & Tf);
    }

    [Fact]
    public void Step_OfMovSs_IsLost()
    {
        _guest.State.Rflags |= Tf;
        _guest.State.Gpr[0] = 0x18;
        _guest.Run([0x8E, 0xD0, 0x90, 0x90, 0xF4]);
        AssertTrap(Code + 3, SingleStep);
    }

    [Fact]
    public void Step_SetByPopf_StartsOneInstructionLater()
    {
        _guest.Run([0x68, 0x02, 0x01, 0x00, 0x00, 0x9D, 0x90, 0x90, 0xF4]); // push 0x102; popfq; nop; nop
        AssertTrap(Code + 7, SingleStep);
    }

    [Fact]
    public void Step_ClearedByPopf_TrapsOnceMore()
    {
        _guest.State.Rflags |= Tf;
        _guest.State.Gpr[4] -= 8;
        _guest.Memory.Write<ulong>(new GuestPhysical(FlatGuest.StackAt - 8), 2);
        _guest.Run([0x9D, 0x90, 0x90, 0xF4]);
        AssertTrap(Code + 1, SingleStep);
        Assert.Equal(0UL, _guest.Stack(2) & Tf);
    }

    [Theory]
    [InlineData(new byte[] { 0xCD, 0x20, 0xF4 }, 0x20)]
    [InlineData(new byte[] { 0xCC, 0xF4 }, 3)]
    public void Step_DoesNotTrapInAHandler_OfASoftwareInterrupt(byte[] code, int vector)
    {
        _guest.State.Rflags |= Tf;
        Assert.Equal(vector, _guest.Run(code).Vector);
        Assert.NotEqual(0UL, _guest.Stack(2) & Tf);
        Assert.Equal(StatusDefault, _guest.State.DebugRegisters[6]);
    }

    [Fact]
    public void Step_OfSyscallThatMasksTf_DoesNotTrap()
    {
        _guest.State.Rflags |= Tf;
        _guest.State.Msrs[0xC000_0082] = Code + 0x10;
        _guest.State.Msrs[0xC000_0081] = 0x0010_0010_0000_0000;
        _guest.State.Msrs[0xC000_0084] = Tf;
        byte[] code = new byte[0x20];
        code.AsSpan().Fill(0xF4);
        code[0] = 0x0F;
        code[1] = 0x05;
        Assert.Equal(-1, _guest.Run(code).Vector);
        Assert.Equal(Code + 0x11, _guest.State.Rip);
    }

    [Fact]
    public void Step_OfRep_TrapsAfterEachIteration()
    {
        _guest.State.Rflags |= Tf;
        _guest.State.Gpr[7] = Data;
        _guest.State.Gpr[1] = 5;
        _guest.Run([0xF3, 0xAA, 0x90, 0xF4]);
        AssertTrap(Code, SingleStep);
        Assert.Equal(4UL, _guest.State.Gpr[1]);
        Assert.NotEqual(0UL, _guest.Stack(2) & Rf);
    }

    [Fact]
    public void StepAndBreakpoint_AreOneException()
    {
        Arm(0, Data, WriteOnly, 8);
        _guest.State.Rflags |= Tf;
        _guest.State.Gpr[1] = Data;
        _guest.Run([0x48, 0x89, 0x01, 0x90, 0xF4]);
        AssertTrap(Code + 3, SingleStep | 1);
    }

    [Fact]
    public void Int1_LeavesTheStatusAlone()
    {
        _guest.Run([0xF1, 0xF4]);
        Assert.Equal(1, _guest.Vector);
        Assert.Equal(Code + 1, _guest.Stack(0));
        Assert.Equal(StatusDefault, _guest.State.DebugRegisters[6]);
    }

    [Fact]
    public void GeneralDetect_FaultsAtMovDr_AndIsClearedForTheHandler()
    {
        _guest.State.DebugRegisters[7] = 0x2400;
        _guest.Run([0x0F, 0x21, 0xC0, 0xF4]); // mov rax, dr0
        AssertTrap(Code, 1 << 13);
        Assert.NotEqual(0UL, _guest.Stack(2) & Rf);
        Assert.Equal(0x400UL, _guest.State.DebugRegisters[7]);
    }

    [Fact]
    public void AFault_SavesRf()
    {
        _guest.Run([0x0F, 0x0B]);
        Assert.Equal(6, _guest.Vector);
        Assert.NotEqual(0UL, _guest.Stack(2) & Rf);
    }

    private void Arm(int index, ulong address, int kind, int length)
    {
        int code = length switch { 1 => 0, 2 => 1, 8 => 2, _ => 3 };
        _guest.State.DebugRegisters[index] = address;
        _guest.State.DebugRegisters[7] |= 0x400UL | (2UL << (2 * index)) | ((ulong)(kind | (code << 2)) << (16 + (4 * index)));
    }

    private void AssertTrapAfter(byte[] code, int length)
    {
        _guest.Run(code);
        AssertTrap(Code + (ulong)length, 1);
    }

    private void AssertTrap(ulong rip, ulong status)
    {
        Assert.Equal(1, _guest.Vector);
        Assert.Equal(rip, _guest.Stack(0));
        Assert.Equal(StatusDefault | status, _guest.State.DebugRegisters[6]);
    }
}
