using System;
using System.Threading;
using Hull.Bus;
using Hull.Host;
using Hull.Tests.Cpu.Translate;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Exceptions;

/// <summary>
/// NMIs and their blocking, from the delivery of one to the next IRET. SDM vol. 3A, "Nonmaskable Interrupt (NMI)". The
/// guest's writes to a port raise them.
/// </summary>
public sealed class NmiTests : IDisposable
{
    private const byte NmiPort = 0x60;
    private const byte EndPort = 0x61;
    private readonly FlatGuest _guest = new();

    public NmiTests() => _guest.Bus.MapPorts(NmiPort, 2, new Ports(_guest));

    public void Dispose() => _guest.Dispose();

    // RBX counts NMIs, RCX is the count that the first handler saw at its end.
    [Fact]
    public void NmisInTheHandler_WaitForIret_AndOnlyOneIsKept()
    {
        _guest.Handle(2, a => NmiHandler(a, static b =>
        {
            b.@out(NmiPort, al);
            b.@out(NmiPort, al);
            b.nop();
        }));
        _guest.RunUntilKicked(OneNmi);
        Assert.Equal(2UL, _guest.State.Gpr[3]);
        Assert.Equal(1UL, _guest.State.Gpr[1]);
    }

    [Fact]
    public void IretOfAnExceptionInTheHandler_LetsNmisInAgain()
    {
        _guest.Handle(0x40, static a => a.iretq());
        _guest.Handle(2, a => NmiHandler(a, static b =>
        {
            b.@out(NmiPort, al);
            b.@int(0x40);
        }));
        _guest.RunUntilKicked(OneNmi);
        Assert.Equal(2UL, _guest.State.Gpr[3]);
        Assert.Equal(2UL, _guest.State.Gpr[1]);
    }

    [Fact]
    public void IretThatFaults_LetsNmisInAgain()
    {
        // #GP lets the handler go on behind its bad IRET, by a jump: no IRET has succeeded when the count is taken.
        _guest.Handle(13, static a =>
        {
            a.mov(rsp, r15);
            a.jmp(r14);
        });
        _guest.Handle(2, a => NmiHandler(a, static b =>
        {
            Label behind = b.CreateLabel();
            b.@out(NmiPort, al);
            b.mov(r15, rsp);
            b.lea(r14, __[behind]);
            b.push(0);
            b.push(0);
            b.push(2);
            b.push(0); // CS
            b.push(0);
            b.iretq();
            b.Label(ref behind);
            b.nop();
        }));
        _guest.RunUntilKicked(OneNmi);
        Assert.Equal(2UL, _guest.State.Gpr[3]);
        Assert.Equal(2UL, _guest.State.Gpr[1]);
    }

    [Fact]
    public void HltInTheHandler_IsNotWokenByABlockedNmi()
    {
        _guest.Handle(2, static a =>
        {
            a.@out(NmiPort, al);
            a.mov(rax, cr0);
            a.mov(cr0, rax); // the run loop has seen the NMI
            a.hlt();
            a.inc(rbx); // never
            a.@out(EndPort, al);
        });
        using JoinedTimer kicker = new(_guest.Vcpu.Kick, 10, 10);
        _guest.RunUntilKicked(OneNmi);
        for (int i = 0; i < 10 || !_guest.State.Halted; i++)
        {
            _guest.Continue();
        }

        Assert.True(_guest.State.NmiBlocked);
        Assert.Equal(0UL, _guest.State.Gpr[3]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void NmiWakesHlt_WhateverIfSays(bool enabled)
    {
        _guest.Handle(2, static a =>
        {
            a.inc(rbx);
            a.iretq();
        });
        _guest.State.Rflags |= enabled ? 0x200u : 0;
        using Timer waker = new(_ => _guest.Vcpu.Nmi(), null, 1, Timeout.Infinite);
        _guest.RunUntilKicked(static a =>
        {
            a.hlt();
            a.@out(EndPort, al);
        });
        Assert.Equal(1UL, _guest.State.Gpr[3]);
    }

    [Fact]
    public void MovSs_HoldsAnNmiOffForOneInstruction()
    {
        // The instruction in the shadow asks for the NMI; the next one has not run when it comes.
        _guest.Handle(2, static a =>
        {
            a.inc(rbx);
            a.mov(rcx, __qword_ptr[rsp]);
            a.iretq();
        });
        _guest.RunUntilKicked(static a =>
        {
            Label next = a.CreateLabel();
            a.lea(rdx, __[next]);
            a.mov(eax, ss);
            a.mov(ss, eax);
            a.@out(NmiPort, al);
            a.Label(ref next);
            a.nop();
            a.@out(EndPort, al);
        });
        Assert.Equal(1UL, _guest.State.Gpr[3]);
        Assert.Equal(_guest.State.Gpr[2], _guest.State.Gpr[1]);
    }

    // The first NMI runs the body and notes the count; the others only count.
    private static void NmiHandler(Assembler a, Action<Assembler> body)
    {
        Label again = a.CreateLabel();
        a.inc(rbx);
        a.cmp(rbx, 1);
        a.jne(again);
        body(a);
        a.mov(rcx, rbx);
        a.Label(ref again);
        a.iretq();
    }

    private static void OneNmi(Assembler a)
    {
        a.xor(ebx, ebx);
        a.@out(NmiPort, al);
        a.nop();
        a.@out(EndPort, al);
        a.hlt();
    }

    private sealed class Ports(FlatGuest guest) : IPortDevice
    {
        public uint ReadPort(ushort offset, int size) => 0;

        public void WritePort(ushort offset, int size, uint value)
        {
            if (offset == 0)
            {
                guest.Vcpu.Nmi();
            }
            else
            {
                guest.Vcpu.Kick();
            }
        }
    }
}
