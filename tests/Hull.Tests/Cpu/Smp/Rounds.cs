using System;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Smp;

/// <summary>Emits loops in which vCPUs meet before each round, so that what they do then happens at the same time.</summary>
internal static class Rounds
{
    private const ulong MeetingAt = SmpGuest.DataAt - 0x1_0000;

    /// <summary>
    /// <paramref name="count"/> rounds of <paramref name="body"/>, the number of the round (from 0) in R15. All
    /// <paramref name="vcpus"/> wait for each other before each. Uses RAX, R8, R14 and flags between rounds.
    /// </summary>
    internal static void Emit(Assembler c, int vcpus, int count, Action body)
    {
        Label again = c.CreateLabel();
        c.xor(r15d, r15d);
        c.Label(ref again);
        c.mov(r14d, (uint)MeetingAt);
        c.@lock.inc(__qword_ptr[r14]);
        c.imul(rax, r15, vcpus);
        c.add(rax, vcpus);
        WaitUntil(c, met =>
        {
            c.cmp(__qword_ptr[r14], rax);
            c.jae(met);
        });
        body();
        c.inc(r15);
        c.cmp(r15, count);
        c.jb(again);
    }

    /// <summary>
    /// Loops until <paramref name="look"/> jumps to the label it is given; lets other host threads run now and then.
    /// Uses R8.
    /// </summary>
    internal static void WaitUntil(Assembler c, Action<Label> look)
    {
        Label wait = c.CreateLabel();
        Label spin = c.CreateLabel();
        Label seen = c.CreateLabel();
        c.Label(ref wait);
        c.mov(r8d, 1_000);
        c.Label(ref spin);
        look(seen);
        c.dec(r8d);
        c.jne(spin);
        c.@out(SmpGuest.YieldPort, al);
        c.jmp(wait);
        c.Label(ref seen);
        c.nop();
    }
}
