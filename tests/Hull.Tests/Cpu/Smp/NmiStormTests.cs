using System;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Smp;

/// <summary>NMIs of several senders at once. SDM vol. 3A, "Handling Multiple NMIs".</summary>
public sealed class NmiStormTests
{
    private const ulong Seen = SmpGuest.DataAt;
    private const ulong Flushed = SmpGuest.DataAt + 0x100;
    private const ulong NmiHandler = 0x7000;
    private const ulong FlushHandler = 0x7800;
    private const byte FlushVector = 0x44;
    private const uint ToFirst = 0x4000;
    private const uint Nmi = 0x400;

    /// <summary>Two processors send one each to the first at the same time. It takes both, in whatever order they come.</summary>
    [Fact]
    public void TwoSenders_AreTwoNmis()
    {
        const int rounds = 20_000;
        using SmpGuest guest = new(2);
        Handle(guest, 2, NmiHandler, static c =>
        {
            c.inc(__qword_ptr[Seen]);
            c.iretq();
        });
        Handle(guest, FlushVector, FlushHandler, static c =>
        {
            c.push(rax);
            c.push(rcx);
            c.push(rdx);
            c.inc(__qword_ptr[Flushed]);
            Write(c, 0x80B, 0, 0); // EOI
            c.pop(rdx);
            c.pop(rcx);
            c.pop(rax);
            c.iretq();
        });
        guest.Code(0, static c =>
        {
            EnableApic(c);
            c.sti();
            Rounds.Emit(c, 2, rounds, () =>
            {
                Command(c, ToFirst | Nmi);
                Rounds.WaitUntil(c, flushed =>
                {
                    c.cmp(__qword_ptr[Flushed], r15);
                    c.ja(flushed);
                });
                Label good = c.CreateLabel();
                c.xor(eax, eax);
                c.xchg(__qword_ptr[Seen], rax);
                c.cmp(rax, 2);
                c.je(good);
                c.inc(__qword_ptr[Seen + 8]);
                c.Label(ref good);
                c.nop();
            });
        });

        // The interrupt behind the NMI says that the NMI has come.
        guest.Code(1, static c =>
        {
            EnableApic(c);
            Rounds.Emit(c, 2, rounds, () =>
            {
                Command(c, ToFirst | Nmi);
                Command(c, ToFirst | FlushVector);
            });
        }).Run();
        Assert.Equal((ulong)rounds, guest[Flushed]);
        Assert.Equal(0UL, guest[Seen + 8]);
    }

    /// <summary>Ten more in the handler of the first are one: a processor keeps one while it is in a handler.</summary>
    [Fact]
    public void TenInTheHandler_AreOne()
    {
        const int rounds = 2_000;
        using SmpGuest guest = new(1);
        Handle(guest, 2, NmiHandler, static c =>
        {
            Label second = c.CreateLabel();
            c.inc(__qword_ptr[Seen]);
            c.test(__byte_ptr[Seen], 1);
            c.je(second);
            c.push(rax);
            c.push(rcx);
            c.push(rdx);
            for (int i = 0; i < 10; i++)
            {
                Command(c, ToFirst | Nmi);
            }

            c.pop(rdx);
            c.pop(rcx);
            c.pop(rax);
            c.Label(ref second);
            c.iretq();
        });
        guest.Code(0, static c =>
        {
            EnableApic(c);
            Rounds.Emit(c, 1, rounds, () =>
            {
                Command(c, ToFirst | Nmi);
                c.lea(rbx, __qword_ptr[(r15 * 2) + 2]);
                Rounds.WaitUntil(c, seen =>
                {
                    c.cmp(__qword_ptr[Seen], rbx);
                    c.jae(seen);
                });
            });
        }).Run();
        Assert.Equal(2UL * rounds, guest[Seen]);
    }

    /// <summary>
    /// An NMI between STI and the next instruction waits: SDM vol. 2, "STI", leaves it to the CPU, and operating systems count
    /// on it for STI; HLT. The instruction behind reads a page each time that no slot has.
    /// </summary>
    [Fact]
    public void Nmi_IsNeverTakenRightBehindSti()
    {
        const int count = 3_000;
        using SmpGuest guest = new(2);
        Handle(guest, 2, NmiHandler, static c =>
        {
            Label other = c.CreateLabel();
            c.inc(__qword_ptr[Seen]);
            c.cmp(__qword_ptr[rsp], r12);
            c.jne(other);
            c.inc(__qword_ptr[Seen + 8]);
            c.Label(ref other);
            c.iretq();
        });
        guest.Code(0, static c =>
        {
            Label again = c.CreateLabel();
            Label behind = c.CreateLabel();
            EnableApic(c);
            c.lea(r12, __[behind]);
            c.xor(ebx, ebx);
            c.Label(ref again);
            c.sti();
            c.Label(ref behind);
            c.test(__byte_ptr[rbx + (int)SmpGuest.SpareAt], 0);
            c.nop();
            c.cli();
            c.add(ebx, 0x1000);
            c.and(ebx, 0x1F_F000);
            c.cmp(__qword_ptr[Seen], count);
            c.jb(again);
        });
        guest.Code(1, static c =>
        {
            Label send = c.CreateLabel();
            c.xor(r13d, r13d);
            EnableApic(c);
            c.Label(ref send);
            Command(c, ToFirst | Nmi);
            Rounds.WaitUntil(c, seen =>
            {
                c.cmp(__qword_ptr[Seen], r13);
                c.ja(seen);
            });
            c.inc(r13);
            c.cmp(r13, count);
            c.jb(send);
        }).Run();
        Assert.Equal((ulong)count, guest[Seen]);
        Assert.Equal(0UL, guest[Seen + 8]);
    }

    private static void Handle(SmpGuest guest, byte vector, ulong at, Action<Assembler> write)
    {
        guest.Memory.TryWrite(new GuestPhysical(at), SmpGuest.Assemble(at, write));
        guest[0x6000 + (16UL * vector)] = (at & 0xFFFF) | (0x10UL << 16) | (0x8EUL << 40);
    }

    // x2APIC mode, enabled by software.
    private static void EnableApic(Assembler c)
    {
        c.mov(ecx, 0x1B);
        c.rdmsr();
        c.or(eax, 0xC00);
        c.wrmsr();
        Write(c, 0x80F, 0x1FF, 0);
    }

    private static void Command(Assembler c, uint low) => Write(c, 0x830, low, 0);

    private static void Write(Assembler c, uint msr, uint low, uint high)
    {
        c.mov(ecx, msr);
        c.mov(eax, low);
        c.mov(edx, high);
        c.wrmsr();
    }
}
