using System;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Smp;

/// <summary>
/// Read-modify-writes of two vCPUs on one place, wherever it lies: in a line, across two lines, across two pages, beside
/// translated code. SDM vol. 3A, "Locked Atomic Operations".
/// </summary>
public sealed class AtomicTests
{
    private const uint Count = 200_000;
    private const uint InALine = (uint)SmpGuest.DataAt;
    private const uint AcrossLines = (uint)SmpGuest.DataAt + 60;
    private const uint AcrossPages = (uint)SmpGuest.DataAt + 0xFFD;

    [Fact]
    public void PlainIncrements_LoseCounts()
    {
        // The control of what follows: without LOCK the two are in each other's way, so they do run at the same time.
        bool lost = false;
        long end = Environment.TickCount64 + 30_000;
        while (!lost && Environment.ProcessorCount > 1 && Environment.TickCount64 < end)
        {
            lost = Increment(InALine, Count, c => c.inc(__qword_ptr[rdi])) != 2 * Count;
        }

        Assert.True(lost || !HostThreads.AreSeenAtOnce(), "no count was lost");
    }

    [Fact]
    public void LockedIncrements_AreExact() =>
        Assert.Equal(2UL * Count, Increment(InALine, Count, c => c.@lock.inc(__qword_ptr[rdi])));

    [Fact]
    public void LockedIncrementsOfPrograms_AreExact()
    {
        // One vCPU alone runs a program's LOCK instructions without LOCK; two do not.
        using SmpGuest guest = new(2);
        Action<Assembler> side = static c =>
        {
            c.mov(edi, InALine);
            Rounds.Emit(c, 2, 100, () => Repeat(c, Count / 100, () => c.@lock.inc(__qword_ptr[rdi])));
            SmpGuest.FinishAsUser(c);
        };
        guest.Code(0, side).Code(1, side).AsUser().Run();
        Assert.Equal(2UL * Count, guest[InALine]);
    }

    [Fact]
    public void LockedExchangeAdds_AreExact() =>
        Assert.Equal(2UL * Count, Increment(InALine, Count, c =>
        {
            c.mov(eax, 1);
            c.@lock.xadd(__qword_ptr[rdi], rax);
        }));

    [Fact]
    public void LockedIncrementsAcrossTwoLines_AreExact() =>
        Assert.Equal(2UL * 4_000, Increment(AcrossLines, 4_000, c => c.@lock.inc(__qword_ptr[rdi])));

    [Fact]
    public void LockedIncrementsAcrossTwoPages_AreExact() =>
        Assert.Equal(2UL * 3_000, Increment(AcrossPages, 3_000, c => c.@lock.inc(__qword_ptr[rdi])));

    [Fact]
    public void CompareExchange8BytesAcrossTwoPages_IsExact() =>
        Assert.Equal(2UL * 3_000, Increment(AcrossPages, 3_000, c =>
        {
            Label again = c.CreateLabel();
            c.mov(eax, __dword_ptr[rdi]);
            c.mov(edx, __dword_ptr[rdi + 4]);
            c.Label(ref again);
            c.mov(ebx, eax);
            c.mov(ecx, edx);
            c.add(ebx, 1);
            c.adc(ecx, 0);
            c.@lock.cmpxchg8b(__qword_ptr[rdi]);
            c.jne(again);
        }));

    [Fact]
    public void SwapsOfALockAcrossTwoPages_KeepTheOtherOut() =>
        Assert.Equal(2UL * 2_000, Increment(AcrossPages, 2_000, c =>
        {
            // XCHG locks by itself. The counter it guards is a plain one.
            Label take = c.CreateLabel();
            c.mov(ecx, (uint)SmpGuest.DataAt + 0x3000);
            c.Label(ref take);
            c.mov(eax, 1);
            c.xchg(__dword_ptr[rdi], eax);
            c.test(eax, eax);
            c.jne(take);
            c.inc(__qword_ptr[rcx]);
            c.mov(__dword_ptr[rdi], eax);
        }, (uint)SmpGuest.DataAt + 0x3000));

    [Fact]
    public void CompareExchange16Bytes_IsExact()
    {
        using SmpGuest guest = new(2);
        Action<Assembler> side = c =>
        {
            c.mov(edi, InALine);
            Rounds.Emit(c, 2, 100, () => Repeat(c, 1_000, () =>
            {
                // The halves go up together, the upper one by three.
                Label again = c.CreateLabel();
                c.mov(rax, __qword_ptr[rdi]);
                c.mov(rdx, __qword_ptr[rdi + 8]);
                c.Label(ref again);
                c.lea(rbx, __qword_ptr[rax + 1]);
                c.lea(rcx, __qword_ptr[rdx + 3]);
                c.@lock.cmpxchg16b(__xmmword_ptr[rdi]);
                c.jne(again);
            }));
        };
        guest.Code(0, side).Code(1, side).Run();
        Assert.Equal(200_000UL, guest[InALine]);
        Assert.Equal(600_000UL, guest[InALine + 8]);
    }

    [Fact]
    public void LockedIncrementsBesideCode_AreExact()
    {
        // The counter lies in the same 64 bytes as a routine that both call: each access asks C#, and runs natively then.
        using SmpGuest guest = new(2);
        ulong routine = SmpGuest.SpareAt;
        guest.Memory.TryWrite(new GuestPhysical(routine), [0xC3]);
        Action<Assembler> side = c =>
        {
            c.mov(edi, (uint)routine + 16);
            Rounds.Emit(c, 2, 100, () => Repeat(c, 30, () =>
            {
                c.call(routine);
                c.@lock.inc(__qword_ptr[rdi]);
            }));
        };
        guest.Code(0, side).Code(1, side).Run();
        Assert.Equal(6_000UL, guest[routine + 16]);
        Assert.True(guest.Engine.Exclusive.Stops == 0, "an access beside code stopped the other vCPU");
    }

    // Both vCPUs run a step many times; the value of the counter at the end.
    private static ulong Increment(uint at, uint count, Action<Assembler> step, uint counter = 0)
    {
        using SmpGuest guest = new(2);
        Action<Assembler> side = c =>
        {
            c.mov(edi, at);
            Rounds.Emit(c, 2, 100, () => Repeat(c, count / 100, () => step(c)));
        };
        guest.Code(0, side).Code(1, side).Run();
        return guest[counter == 0 ? at : counter];
    }

    private static void Repeat(Assembler c, uint count, Action body)
    {
        Label again = c.CreateLabel();
        c.mov(r13d, count);
        c.Label(ref again);
        body();
        c.dec(r13d);
        c.jne(again);
    }
}
