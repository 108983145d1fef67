using System;
using System.Numerics;
using System.Runtime.CompilerServices;
using Hull.Cpu.State;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// The inline TLBs that generated code looks into: four tables of two ways, for user and supervisor, loads and stores. They live
/// behind <see cref="CpuState"/>. A line holds a translation whose rights were checked for the table's kind of access.
/// </summary>
internal readonly unsafe struct TlbLines
{
    private const int LineWords = StateLayout.TlbEntries / 64;

    private readonly CpuState* _cpu;
    private readonly ulong[] _notGlobal;
    private readonly StoreHomes _homes;

    internal TlbLines(CpuState* cpu, GuestMemory memory)
    {
        _cpu = cpu;
        _notGlobal = new ulong[4 * LineWords];
        _homes = new StoreHomes(memory);
    }

    /// <summary>The host page of a linear address; null when the table has none, whatever the reason.</summary>
    internal byte* Find(ulong linear, bool user, bool store)
    {
        ulong tag = linear & ~0xFFFUL;
        TlbEntry* way = Table(user, store) + (2 * StateLayout.TlbSet(linear));
        way += way->Tag == tag ? 0 : 1;
        return way->Tag == tag ? (byte*)(tag + way->Addend) : null;
    }

    /// <summary>Enters a translation for accesses of one kind.</summary>
    internal void Fill(ulong linear, in PageTranslation page, bool user, bool store)
    {
        ulong tag = linear & ~0xFFFUL;
        int set = StateLayout.TlbSet(linear);
        int first = set * 2;
        int table = (user ? 2 : 0) + (store ? 1 : 0);
        TlbEntry* ways = Table(user, store) + first;
        if (store)
        {
            _homes.Note(page.Host, (table << 10) | set);
        }

        if (ways[0].Tag != tag)
        {
            // The younger way is the first.
            ways[1] = ways[0];
            MarkNotGlobal(table, first + 1, IsNotGlobal(table, first));
        }

        ways[0] = new TlbEntry { Tag = tag, Addend = (ulong)page.Host - tag };
        MarkNotGlobal(table, first, !page.Global);
    }

    /// <summary>Empties all tables.</summary>
    internal void Empty()
    {
        byte* tables = (byte*)_cpu + StateLayout.TlbBase;
        Unsafe.InitBlock(tables, 0, 4 * StateLayout.TlbBytes);
        for (int table = 0; table < 4; table++)
        {
            TlbEntry* ways = (TlbEntry*)(tables + (table * StateLayout.TlbBytes));
            ways[0].Tag = TlbEntry.EmptyTag(0);
            ways[1].Tag = TlbEntry.EmptyTag(0);
        }

        Array.Clear(_notGlobal);
    }

    /// <summary>
    /// Empties the lines that are not global. Between two writes to CR3 few lines are filled, so only those are visited; the
    /// kernel's own pages stay.
    /// </summary>
    internal void EmptyLocal()
    {
        for (int i = 0; i < _notGlobal.Length; i++)
        {
            ulong word = _notGlobal[i];
            _notGlobal[i] = 0;
            TlbEntry* entries = (TlbEntry*)((byte*)_cpu + StateLayout.TlbBase) + (i * 64);
            for (; word != 0; word &= word - 1)
            {
                int at = BitOperations.TrailingZeroCount(word);
                entries[at].Tag = TlbEntry.EmptyTag((((i % LineWords) * 64) + at) / 2);
            }
        }
    }

    /// <summary>Takes one linear page out of all tables.</summary>
    internal void Drop(ulong linear)
    {
        for (int table = 0; table < 4; table++)
        {
            Drop(linear, (table & 2) != 0, (table & 1) != 0);
        }
    }

    /// <summary>Takes one linear page out of one table.</summary>
    internal void Drop(ulong linear, bool user, bool store)
    {
        int set = StateLayout.TlbSet(linear);
        ulong tag = linear & ~0xFFFUL;
        TlbEntry* ways = Table(user, store) + (2 * set);
        for (int way = 0; way < 2; way++)
        {
            if (ways[way].Tag == tag)
            {
                ways[way].Tag = TlbEntry.EmptyTag(set);
            }
        }
    }

    /// <summary>False when no store line was filled for a host page since <see cref="ForgetHome"/>. Any thread.</summary>
    internal bool MayStore(byte* hostPage) => !_homes.IsEmpty(hostPage);

    /// <summary>Takes a host page out of the store tables. Any thread.</summary>
    /// <returns>True when it was there.</returns>
    internal bool DropStores(byte* hostPage)
    {
        if (_homes.TryGet(hostPage, out int home))
        {
            int set = home & (StateLayout.TlbSets - 1);
            return DropStores(hostPage, Table(home >> 10 >= 2, true) + (2 * set), set, 1);
        }

        return DropStores(hostPage, Table(false, true), 0, StateLayout.TlbSets)
            | DropStores(hostPage, Table(true, true), 0, StateLayout.TlbSets);
    }

    /// <summary>A host page has left the store tables. The vCPU's own thread.</summary>
    internal void ForgetHome(byte* hostPage) => _homes.Clear(hostPage);

    /// <summary>Takes all pages with translated code out of the store tables. The vCPU's own thread.</summary>
    internal void DropCodePages(GuestMemory memory)
    {
        for (int table = 0; table < 2; table++)
        {
            TlbEntry* entries = Table(table != 0, true);
            for (int i = 0; i < StateLayout.TlbEntries; i++)
            {
                ulong tag = entries[i].Tag;
                if (tag != TlbEntry.EmptyTag(i / 2)
                    && memory.Pages.CodeGrains((tag + entries[i].Addend - (ulong)memory.Base) / GuestMemory.PageSize) != 0)
                {
                    entries[i].Tag = TlbEntry.EmptyTag(i / 2);
                }
            }
        }
    }

    private static bool DropStores(byte* hostPage, TlbEntry* ways, int set, int sets)
    {
        bool found = false;
        for (int i = 0; i < 2 * sets; i++)
        {
            ulong tag = ways[i].Tag;
            ulong empty = TlbEntry.EmptyTag(set + (i / 2));
            if (tag + ways[i].Addend == (ulong)hostPage && tag != empty)
            {
                found = true;
                ways[i].Tag = empty;
            }
        }

        return found;
    }

    private bool IsNotGlobal(int table, int entry) =>
        (_notGlobal[(table * LineWords) + (entry >> 6)] >> (entry & 63) & 1) != 0;

    private void MarkNotGlobal(int table, int entry, bool value)
    {
        ulong bit = 1UL << (entry & 63);
        ref ulong word = ref _notGlobal[(table * LineWords) + (entry >> 6)];
        word = value ? word | bit : word & ~bit;
    }

    private TlbEntry* Table(bool user, bool store) => (TlbEntry*)((byte*)_cpu + StateLayout.Tlb(user, store));
}
