using System;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Smp;

/// <summary>Storms on the code cache: pages that are translated while they are written, and floods that empty it.</summary>
public sealed class CodeStormTests
{
    private const uint Stale = (uint)SmpGuest.DataAt + 128;
    private const uint Ready = (uint)SmpGuest.DataAt + 0x1000;

    [Fact]
    public void PagesThatAreWrittenWhileTheyAreTranslated_RunWhatTheFlagPromised()
    {
        ulong met = 0;
        for (int attempt = 0; attempt < 20 && met == 0; attempt++)
        {
            met = WriteAndTranslate();
        }

        Assert.True(met > 0 || Environment.ProcessorCount == 1, "no translation met a writer");
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

    // vCPU 0 writes routines slot by slot over 64 pages and raises each one's number; vCPU 1 follows on its heels, so that
    // pages become code while they are in the writer's store TLB and its stores are under way. Returns how often.
    private static ulong WriteAndTranslate()
    {
        const int Pages = 64;
        const int Slots = 16;
        const int Passes = 40;
        const ulong pagesAt = SmpGuest.SpareAt;
        using SmpGuest guest = new(2);
        guest.Code(0, c => ForEachSlot(c, Pages, Slots, Passes, pagesAt, () =>
        {
            c.mov(__byte_ptr[rdi], 0xB8);
            c.mov(__dword_ptr[rdi + 1], r15d);
            c.mov(__byte_ptr[rdi + 5], 0xC3);
            c.mov(__dword_ptr[rsi], r15d);
        })).Code(1, c =>
        {
            c.mov(rbp, (ulong)Stale);
            ForEachSlot(c, Pages, Slots, Passes, pagesAt, () =>
            {
                // The writer may be passes ahead: then the routine is newer than the number that was seen, never older.
                Label good = c.CreateLabel();
                Rounds.WaitUntil(c, seen =>
                {
                    c.mov(r12d, __dword_ptr[rsi]);
                    c.cmp(r12d, r15d);
                    c.jae(seen);
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
        }).Run();
        Assert.Equal(0UL, guest[Stale]);
        return guest.Engine.Guard.Doubts;
    }

    // Walks all slots of all pages, pass after pass: the slot in RDI, its number's place in RSI, the pass from 1 in R15.
    private static void ForEachSlot(Assembler c, int pages, int slots, int passes, ulong at, Action body)
    {
        Label pass = c.CreateLabel();
        Label slot = c.CreateLabel();
        c.mov(r15d, 1);
        c.Label(ref pass);
        c.mov(rdi, at);
        c.mov(rsi, (ulong)Ready);
        c.mov(r14d, pages * slots);
        c.Label(ref slot);
        c.nop();
        body();
        c.add(rdi, 4096 / slots);
        c.add(rsi, 4);
        c.dec(r14d);
        c.jne(slot);
        c.inc(r15d);
        c.cmp(r15d, passes);
        c.jbe(pass);
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
