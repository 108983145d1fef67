using System;
using Hull.Bus;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>What the translator must keep straight beyond single instructions: flags, links, its own code changing.</summary>
public sealed class TranslatorTests
{
    [Fact]
    public void LoopWithCallsAndMemory_ComputesTheSum()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            Label loop = a.CreateLabel();
            Label function = a.CreateLabel();
            a.mov(r9, FlatGuest.DataAt);
            a.xor(eax, eax);
            a.mov(ecx, 1000);
            a.Label(ref loop);
            a.mov(__[r9 + 8], rax);
            a.call(function);
            a.add(rax, __[r9 + 8]);
            a.dec(ecx);
            a.jne(loop);
            a.hlt();
            a.Label(ref function);
            a.push(rbx);
            a.mov(rax, 3);
            a.pop(rbx);
            a.ret();
        });
        Assert.Equal(3000UL, guest.State.Gpr[0]);
        Assert.Equal(FlatGuest.StackAt, guest.State.Gpr[4]);
    }

    [Fact]
    public void MaskedLoadAfterVzeroupper_LeavesOtherUpperHalvesZero()
    {
        using FlatGuest guest = new(avx: true);
        guest.State.Cr4 |= 1 << 18; // OSXSAVE
        guest.State.Xcr0 = 7;
        guest.State.YmmHigh.AsSpan().Fill(0x5A);
        guest.Run(static a =>
        {
            a.mov(rsi, FlatGuest.DataAt);
            a.vzeroupper();
            a.vpmaskmovd(ymm1, ymm2, __[rsi]);
            a.hlt();
        });
        Assert.False(guest.State.YmmHigh.AsSpan().ContainsAnyExcept((byte)0));
    }

    [Fact]
    public void FlagsLiveAcrossALoad_AreKept()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            a.mov(rsi, FlatGuest.DataAt);
            a.mov(al, 0x7F);
            a.add(al, 1);          // OF, SF, AF set
            a.mov(rbx, __[rsi]);
            a.seto(cl);
            a.sets(ch);
            a.mov(rbx, __[rsi + 8]);
            a.setc(dl);
            a.hlt();
        });
        Assert.Equal(0x0101UL, guest.State.Gpr[1] & 0xFFFF);
        Assert.Equal(0UL, guest.State.Gpr[2] & 0xFF);
    }

    [Fact]
    public void StoreIntoTheRunningBlock_TakesEffectAtTheNextInstruction()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            Label patched = a.CreateLabel();
            a.lea(rdi, __[patched]);
            a.mov(__byte_ptr[rdi + 1], 42);
            a.Label(ref patched);
            a.mov(al, 1);
            a.hlt();
        });
        Assert.Equal(42UL, guest.State.Gpr[0] & 0xFF);
    }

    [Fact]
    public void CodeRewrittenInALoop_RunsEachVersion()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            Label loop = a.CreateLabel();
            Label function = a.CreateLabel();
            Label over = a.CreateLabel();
            a.lea(rdi, __[function]);
            a.xor(ebx, ebx);
            a.mov(ecx, 200);
            a.Label(ref loop);
            a.mov(__byte_ptr[rdi + 1], cl);
            a.call(function);
            a.add(rbx, rax);
            a.dec(ecx);
            a.jne(loop);
            a.jmp(over);
            a.Label(ref function);
            a.db(0xB8, 0, 0, 0, 0);  // mov eax, imm32
            a.ret();
            a.Label(ref over);
            a.hlt();
        });
        Assert.Equal(200UL * 201 / 2, guest.State.Gpr[3]);
    }

    [Fact]
    public void InstructionAcrossTwoPages_Runs()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            Label far = a.CreateLabel();
            a.jmp(far);
            for (int i = 0; i < 4096 - 5 - 3; i++)
            {
                a.db(0x90);
            }

            a.Label(ref far);
            a.mov(rax, 0x1122_3344_5566_7788);
            a.hlt();
        });
        Assert.Equal(0x1122_3344_5566_7788UL, guest.State.Gpr[0]);
    }

    [Fact]
    public void AccessAcrossTwoPages_ReadsAndWritesBoth()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            a.mov(rdi, FlatGuest.DataAt + 4093);
            a.mov(rax, 0x0102_0304_0506_0708);
            a.mov(__[rdi], rax);
            a.add(__qword_ptr[rdi], 1);
            a.mov(rbx, __[rdi]);
            a.hlt();
        });
        Assert.Equal(0x0102_0304_0506_0709UL, guest.State.Gpr[3]);
    }

    [Fact]
    public void DivisionByZero_RaisesDeAtTheInstruction()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            a.mov(eax, 7);
            a.xor(edx, edx);
            a.xor(ecx, ecx);
            a.div(ecx);
            a.hlt();
        });
        Assert.Equal(0, guest.Vector);
        Assert.Equal(FlatGuest.CodeAt + 9, guest.Stack(0));
        Assert.Equal(0x46UL, guest.Stack(2) & 0x8D5 | 2);
    }

    [Fact]
    public void MisalignedSseOperand_RaisesGp()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            a.mov(rsi, FlatGuest.DataAt + 8);
            a.movaps(xmm0, __xmmword_ptr[rsi]);
            a.hlt();
        });
        Assert.Equal(13, guest.Vector);
    }

    [Fact]
    public void MisalignedCmpxchg16b_RaisesGp()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            a.mov(rsi, FlatGuest.DataAt + 8);
            a.@lock.cmpxchg16b(__[rsi]);
            a.hlt();
        });
        Assert.Equal(13, guest.Vector);
    }

    [Fact]
    public void MulxOfThreeSpilledRegisters_WritesBothHalves()
    {
        if (!System.Runtime.Intrinsics.X86.Bmi2.X64.IsSupported)
        {
            return;
        }

        using FlatGuest guest = new(avx: true);
        guest.Run(static a =>
        {
            a.mov(rdx, 0x1_0000_0001);
            a.mov(r9d, 9);
            a.mov(r10d, 10);
            a.mov(r11, 0x7_0000_0003);
            a.mulx(r9, r10, r11);
            a.hlt();
        });
        Assert.Equal(7UL, guest.State.Gpr[9]);
        Assert.Equal(0xA_0000_0003UL, guest.State.Gpr[10]);
        Assert.Equal(0x7_0000_0003UL, guest.State.Gpr[11]);
    }

    [Fact]
    public void UnmappedAddress_RaisesPfWithAddressAndFlags()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            a.mov(rsi, 0x1234_5678);
            a.mov(eax, 5);
            a.cmp(eax, 5);
            a.mov(rbx, __[rsi]);
            a.hlt();
        });
        Assert.Equal(14, guest.Vector);
        Assert.Equal(0x1234_5678UL, guest.State.Cr2);
        Assert.Equal(0x46UL, guest.Stack(3) & 0x8D5 | 2);
    }

    [Fact]
    public void HighByteRegisterWithMemory_IsNotSpl()
    {
        using FlatGuest guest = new();
        guest.Memory.Write<ulong>(new GuestPhysical(FlatGuest.DataAt), 0xAB);
        guest.Run(static a =>
        {
            a.mov(rsi, FlatGuest.DataAt);
            a.xor(eax, eax);
            a.mov(ah, __[rsi]);
            a.add(__[rsi], ah);
            a.mov(bl, __[rsi]);
            a.hlt();
        });
        Assert.Equal(0xAB00UL, guest.State.Gpr[0]);
        Assert.Equal(0x56UL, guest.State.Gpr[3] & 0xFF);
    }

    [Fact]
    public void BitTestWithRegisterIndex_ReachesBeyondTheOperand()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            a.mov(rdi, FlatGuest.DataAt + 64);
            a.mov(r9, -129);
            a.bts(__qword_ptr[rdi], r9);
            a.setc(al);
            a.bt(__qword_ptr[rdi], r9);
            a.setc(bl);
            a.hlt();
        });
        Assert.Equal(0UL, guest.State.Gpr[0] & 0xFF);
        Assert.Equal(1UL, guest.State.Gpr[3] & 0xFF);
        Assert.Equal(1UL << 63, guest.Memory.Read<ulong>(new GuestPhysical(FlatGuest.DataAt + 64 - 24)));
    }

    [Fact]
    public void PushAndPopOfMemoryAndStackPointer_FollowTheManual()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            a.mov(rax, 0x1111);
            a.push(rsp);
            a.pop(rbx);
            a.push(rax);
            a.push(__qword_ptr[rsp]);
            a.pop(__qword_ptr[rsp + 8]);
            a.pop(rcx);
            a.pop(rdx);
            a.hlt();
        });
        Assert.Equal(FlatGuest.StackAt, guest.State.Gpr[3]);
        Assert.Equal(0x1111UL, guest.State.Gpr[1]);
        Assert.Equal(0x1111UL, guest.State.Gpr[2]);
    }

    [Fact]
    public void PortWriteThatRaisesAnInterrupt_EndsTheBlock()
    {
        using FlatGuest guest = new();
        guest.Bus.MapPorts(0x80, 1, new InterruptingPort(() => guest.Vcpu.InterruptChanged()));
        byte[] code = [0xE6, 0x80, 0xFF, 0xC3, 0xF4]; // out 0x80, al; inc ebx; hlt
        guest.Memory.TryWrite(new GuestPhysical(FlatGuest.CodeAt), code);
        guest.Vcpu.SetState(guest.State);

        Assert.True(guest.Vcpu.StepLinked());

        Assert.Equal(FlatGuest.CodeAt + 2, guest.Vcpu.GetState().Rip);
    }

    [Theory]
    [InlineData(14, -1)]
    [InlineData(15, 13)]
    [InlineData(30, 13)]
    public void InstructionOfMoreThanFifteenBytes_IsAProtectionFault(int prefixes, int vector)
    {
        byte[] code = new byte[prefixes + 2];
        code.AsSpan(0, prefixes).Fill(0x66);
        code[prefixes] = 0x90;
        code[prefixes + 1] = 0xF4;
        using FlatGuest guest = new();

        Assert.Equal(vector, guest.Run(code).Vector);
    }

    private sealed class InterruptingPort(Action raise) : IPortDevice
    {
        public uint ReadPort(ushort offset, int size) => 0;

        public void WritePort(ushort offset, int size, uint value) => raise();
    }
}
