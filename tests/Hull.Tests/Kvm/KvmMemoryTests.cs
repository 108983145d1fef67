using System;
using System.Collections.Generic;
using Hull.Engine;
using Hull.Host;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>The log of written pages, against hashes of RAM.</summary>
public sealed class KvmMemoryTests
{
    private const int Pages = 64 << 20 >> 12;

    [KvmTheory]
    [InlineData(0)]
    [InlineData(1024)]
    public void DirtyLog_HasEachPageThatTheGuestChanged(int ringEntries)
    {
        using KvmGuest guest = new(1, ringEntries);
        ArchState state = guest.Long(c => StoreEvery(c, 37));
        guest.Engine.LogDirty(true);
        ulong[] before = Hashes(guest);
        guest.Run(state);
        ulong[] dirty = new ulong[Pages / 64];
        guest.Engine.CollectDirty(dirty);
        ulong[] after = Hashes(guest);
        int changed = 0;
        for (int page = 0; page < Pages; page++)
        {
            if (before[page] != after[page])
            {
                changed++;
                Assert.True((dirty[page / 64] >> (page % 64) & 1) != 0, $"page 0x{page:x} changed and is not in the log");
            }
        }

        Assert.InRange(changed, 300, 500);
        Assert.InRange(Count(dirty), changed, changed + 16); // page tables and the stack come on top
    }

    [KvmTheory]
    [InlineData(0)]
    [InlineData(1024)]
    public void DirtyLog_IsEmptyAfterItWasFetched_AndFillsAgain(int ringEntries)
    {
        using KvmGuest guest = new(1, ringEntries);
        ArchState state = guest.Long(c => StoreEvery(c, 37));
        guest.Engine.LogDirty(true);
        guest.Run(state);
        ulong[] dirty = new ulong[Pages / 64];
        guest.Engine.CollectDirty(dirty);
        int first = Count(dirty);
        Array.Clear(dirty);
        guest.Engine.CollectDirty(dirty);
        Assert.Equal(0, Count(dirty));
        guest.Run(state);
        guest.Engine.CollectDirty(dirty);
        Assert.InRange(Count(dirty), 300, first);
    }

    [KvmTheory]
    [InlineData(0)]
    [InlineData(1024)]
    public void DirtyLog_HasWhatDevicesWrote(int ringEntries)
    {
        using KvmGuest guest = new(1, ringEntries);
        guest.Engine.LogDirty(true);
        guest.Memory.Write(new GuestPhysical(0x123_4560), 1UL);
        guest.Memory.TryWrite(new GuestPhysical(0x1FF_FFF8), new byte[16]);
        guest.Memory.CompareExchange(new GuestPhysical(0x300_0000), 1, 0);
        Assert.True(guest.Memory.TryRange(new GuestPhysical(0x3FF_F000), 4096, out HostRange range));
        range.Bytes.Fill(7);
        guest.Memory.RangeWritten(new GuestPhysical(0x3FF_F000), 4096);
        ulong[] dirty = new ulong[Pages / 64];
        guest.Engine.CollectDirty(dirty);
        Assert.Equal([0x1234, 0x1FFF, 0x2000, 0x3000, 0x3FFF], Numbers(dirty));
        Array.Clear(dirty);
        guest.Engine.CollectDirty(dirty);
        Assert.Empty(Numbers(dirty));
        guest.Engine.LogDirty(false);
        guest.Memory.Write(new GuestPhysical(0x123_4560), 2UL);
        guest.Engine.LogDirty(true);
        guest.Engine.CollectDirty(dirty);
        Assert.Empty(Numbers(dirty));
    }

    [KvmFact]
    public void FullRing_IsEmptiedWhileTheGuestRuns()
    {
        using KvmGuest guest = new(1, 1024);

        // A KVM that emulates kernel code looks at the ring every few milliseconds only: it must not run over until then.
        ArchState state = guest.Long(c => StoreEvery(c, 5, loops: 200));
        guest.Engine.LogDirty(true);
        guest.Run(state);
        ulong[] dirty = new ulong[Pages / 64];
        guest.Engine.CollectDirty(dirty);
        Assert.InRange(Count(dirty), 3000, 3100);
        Assert.InRange(guest.Vcpus[0].Counters.RingExits, 2u, 100u);
    }

    // One store into every nth page from 4 MiB on.
    private static void StoreEvery(Assembler c, int pages, int loops = 1)
    {
        Label again = c.CreateLabel();
        Label wait = c.CreateLabel();
        c.mov(rbx, 0x40_0000UL);
        c.Label(ref again);
        c.mov(__qword_ptr[rbx + 8], rbx);
        c.mov(ecx, loops);
        c.Label(ref wait);
        c.dec(ecx);
        c.jne(wait);
        c.add(rbx, pages * 4096);
        c.cmp(rbx, 63 << 20);
        c.jb(again);
        KvmGuest.End(c);
    }

    private static ulong[] Hashes(KvmGuest guest)
    {
        ulong[] hashes = new ulong[Pages];
        byte[] page = new byte[4096];
        for (int i = 0; i < Pages; i++)
        {
            guest.Memory.TryRead(new GuestPhysical((ulong)i * 4096), page);
            hashes[i] = StateHash.Of(page, (ulong)i);
        }

        return hashes;
    }

    private static int[] Numbers(ulong[] dirty) =>
        Array.FindAll([.. System.Linq.Enumerable.Range(0, Pages)], page => (dirty[page / 64] >> (page % 64) & 1) != 0);

    private static int Count(IEnumerable<ulong> bits)
    {
        int count = 0;
        foreach (ulong word in bits)
        {
            count += System.Numerics.BitOperations.PopCount(word);
        }

        return count;
    }
}
