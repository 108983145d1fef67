using System;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Smp;

/// <summary>Storms on the code cache: pages that are translated while they are written, and floods that empty it.</summary>
public sealed class CodeStormTests
{
    private const uint Stale = (uint)SmpGuest.DataAt + 128;
    private const int Versions = 60;
    private const uint Ready = (uint)SmpGuest.DataAt + 0x1000;

    [Fact]
    public void PagesThatAreWrittenWhileTheyAreTranslated_RunWhatTheFlagPromised()
    {
        // In each round, vCPU 0 writes 16 routines on a new page, 60 times over, and raises each one's number. vCPU 1 runs
        // them from the first number on: the page becomes code while it is in the writer's store TLB and slots.
        const int Count = 2_000;
        using SmpGuest guest = new(2);
        guest.Code(0, static c => Rounds.Emit(c, 2, Count, () =>
        {
            Label version = c.CreateLabel();
            Page(c);
            c.mov(r13d, Versions);
            c.Label(ref version);
            c.inc(r12d);
            ForEachSlot(c, () =>
            {
                c.mov(__byte_ptr[rdi], 0xB8);
                c.mov(__dword_ptr[rdi + 1], r12d);
                c.mov(__byte_ptr[rdi + 5], 0xC3);
                c.mov(__dword_ptr[rsi], r12d);
            });
            c.dec(r13d);
            c.jne(version);
        })).Code(1, static c => Rounds.Emit(c, 2, Count, () =>
        {
            c.mov(rbp, (ulong)Stale);
            Page(c);
            c.mov(r13d, r12d);
            ForEachSlot(c, () =>
            {
                // The writer may be ahead: then the routine is newer than the number that was seen, never older.
                Label good = c.CreateLabel();
                Rounds.WaitUntil(c, seen =>
                {
                    c.mov(r12d, __dword_ptr[rsi]);
                    c.cmp(r12d, r13d);
                    c.ja(seen);
                });
                c.xor(eax, eax);
                c.cpuid();
                c.call(rdi);
                c.cmp(eax, r12d);
                c.jae(good);
                c.inc(__qword_ptr[rbp]);
                c.Label(ref good);
                c.nop();
            });
        })).Run();
        Assert.Equal(0UL, guest[Stale]);
    }

    [Fact]
    public void FourFloods_EmptyASmallCacheAgainAndAgain_AndAllRunRight()
    {
        // Each vCPU writes new routines over its own pages and calls them; the cache holds a fraction of them.
        const int Vcpus = 4;
        const uint Rounds = 60;
        using SmpGuest guest = new(Vcpus, 512 << 10);
        for (int i = 0; i < Vcpus; i++)
        {
            ulong pages = SmpGuest.SpareAt + ((ulong)i << 20);
            ulong result = SmpGuest.DataAt + (64 * (ulong)i);
            guest.Code(i, c => Flood(c, pages, result, Rounds));
        }

        guest.Run();
        for (int i = 0; i < Vcpus; i++)
        {
            Assert.Equal(0UL, guest[SmpGuest.DataAt + (64 * (ulong)i)]);
        }

        Assert.True(guest.Engine.CacheFlushes >= 3, $"{guest.Engine.CacheFlushes} flushes");
    }

    // The round's page in RDI, and the number before its first in R12.
    private static void Page(Assembler c)
    {
        c.mov(rdi, r15);
        c.shl(rdi, 12);
        c.add(rdi, (int)SmpGuest.SpareAt);
        c.imul(r12d, r15d, Versions);
    }

    // Walks the slots of a page: the slot in RDI, its number's place in RSI. RDI is back at the page afterwards.
    private static void ForEachSlot(Assembler c, Action body)
    {
        const int Slots = 16;
        Label slot = c.CreateLabel();
        c.mov(rsi, (ulong)Ready);
        c.Label(ref slot);
        c.nop();
        body();
        c.add(rdi, 4096 / Slots);
        c.add(rsi, 4);
        c.cmp(rsi, (int)Ready + (4 * Slots));
        c.jb(slot);
        c.sub(rdi, 4096);
    }

    private static void Flood(Assembler c, ulong pages, ulong wrong, uint rounds)
    {
        Label round = c.CreateLabel();
        Label write = c.CreateLabel();
        Label run = c.CreateLabel();
        Label good = c.CreateLabel();
        c.mov(rbp, wrong);
        c.mov(r15d, 1);
        c.Label(ref round);
        c.mov(rdi, pages);
        c.mov(ecx, 512);
        c.Label(ref write);
        c.lea(eax, __qword_ptr[r15 + rcx]);
        c.mov(__byte_ptr[rdi], 0xB8);
        c.mov(__dword_ptr[rdi + 1], eax);
        c.mov(__byte_ptr[rdi + 5], 0xC3);
        c.add(rdi, 128);
        c.dec(ecx);
        c.jne(write);
        c.mov(rdi, pages);
        c.mov(r14d, 512);
        c.Label(ref run);
        c.call(rdi);
        c.lea(edx, __qword_ptr[r15 + r14]);
        c.cmp(eax, edx);
        c.je(good);
        c.inc(__qword_ptr[rbp]);
        c.Label(ref good);
        c.add(rdi, 128);
        c.dec(r14d);
        c.jne(run);
        c.inc(r15d);
        c.cmp(r15d, rounds);
        c.jbe(round);
    }
}
