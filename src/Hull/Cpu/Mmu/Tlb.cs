using System.Runtime.CompilerServices;
using Hull.Cpu.State;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// The page slots, inline TLBs and jump caches that generated code looks into: filling and emptying them. They live
/// behind <see cref="CpuState"/>. Lines of a TLB hold translations whose rights were checked for the table's kind of access.
/// </summary>
internal sealed unsafe class Tlb
{
    private const ulong NotCanonical = 1UL << 63;
    private const int SmapRoom = 64;
    private const int LineWords = StateLayout.TlbEntries / 64;
    private readonly CpuState* _cpu;
    private readonly int[] _smapSets = new int[SmapRoom];
    private readonly ulong[] _notGlobal = new ulong[4 * LineWords];
    private readonly VictimJumps _jumps = new();
    private readonly StoreHomes _homes;
    private ulong _generation;
    private bool _supervisorJumpsNotGlobal;

    internal Tlb(CpuState* cpu, GuestMemory memory)
    {
        _cpu = cpu;
        _homes = new StoreHomes(memory);
        FlushAll();
    }

    /// <summary>The second level, looked up by C#.</summary>
    internal VictimTlb Victims { get; } = new();

    /// <summary>Times that both jump caches were emptied.</summary>
    internal ulong JumpFlushes { get; private set; }

    /// <summary>Times that what is not global was emptied.</summary>
    internal ulong Flushes { get; private set; }

    /// <summary>Times that everything was emptied.</summary>
    internal ulong FullFlushes { get; private set; }

    /// <summary>
    /// Enters a translation for accesses of one kind. With <paramref name="smap"/> it is a user page that supervisor code
    /// may reach only while AC is set.
    /// </summary>
    /// <returns>False when the line was not kept.</returns>
    internal bool Fill(ulong linear, in PageTranslation page, bool user, bool store, bool smap)
    {
        ulong tag = linear & ~0xFFFUL;
        int set = StateLayout.TlbSet(linear);
        int first = set * 2;
        int table = (user ? 2 : 0) + (store ? 1 : 0);
        TlbEntry* ways = Table(user, store) + first;
        if (smap && _cpu->SmapCount == SmapRoom)
        {
            Drop(ways, set, tag);
            return false;
        }

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
        if (smap)
        {
            _smapSets[_cpu->SmapCount++] = (set << 1) | (store ? 1 : 0);
        }

        return true;
    }

    /// <summary>Takes one line out of a store table.</summary>
    internal void DropStore(ulong linear, bool user)
    {
        int set = StateLayout.TlbSet(linear);
        Drop(Table(user, true) + (2 * set), set, linear & ~0xFFFUL);
    }

    /// <summary>
    /// Takes all pages with translated code out of the store tables and slots. While <see cref="Fill"/> moved a line to the
    /// other way, another vCPU may have looked at the wrong one. The vCPU's own thread.
    /// </summary>
    internal void ProtectCodePages(GuestMemory memory)
    {
        for (int table = 0; table < 2; table++)
        {
            TlbEntry* entries = Table(table != 0, true);
            for (int i = 0; i < StateLayout.TlbEntries; i++)
            {
                ulong tag = entries[i].Tag;
                if (tag != Empty(i / 2)
                    && memory.Pages.CodeGrains((tag + entries[i].Addend - (ulong)memory.Base) / GuestMemory.PageSize) != 0)
                {
                    entries[i].Tag = Empty(i / 2);
                }
            }
        }

        EmptySlots();
    }

    /// <summary>The host page of a linear address; null when the table has none, whatever the reason.</summary>
    internal byte* Find(ulong linear, bool user, bool store)
    {
        ulong tag = linear & ~0xFFFUL;
        TlbEntry* way = Table(user, store) + (2 * StateLayout.TlbSet(linear));
        way += way->Tag == tag ? 0 : 1;
        return way->Tag == tag ? (byte*)(tag + way->Addend) : null;
    }

    /// <summary>Copies a page that the table has to a page slot.</summary>
    internal void FillSlot(ulong linear, bool user, bool store, int slot)
    {
        byte* page = Find(linear, user, store);
        if (page != null)
        {
            ulong tag = linear & ~0xFFFUL;
            *(TlbEntry*)((byte*)_cpu + StateLayout.Slot(user, store, slot)) =
                new TlbEntry { Tag = tag, Addend = (ulong)page - tag };
        }
    }

    /// <summary>AC was cleared: user pages leave the supervisor's tables.</summary>
    internal void DropSmap()
    {
        for (uint i = 0; i < _cpu->SmapCount; i++)
        {
            // The page may have moved to the second way since.
            int set = _smapSets[i] >> 1;
            TlbEntry* ways = Table(false, (_smapSets[i] & 1) != 0) + (2 * set);
            ways[0].Tag = Empty(set);
            ways[1].Tag = Empty(set);
        }

        _cpu->SmapCount = 0;
        EmptySlots();
    }

    /// <summary>Empties all tables and the jump caches.</summary>
    internal void FlushAll()
    {
        FullFlushes++;
        Victims.FlushAll();
        byte* tables = (byte*)_cpu + StateLayout.TlbBase;
        Unsafe.InitBlock(tables, 0, 4 * StateLayout.TlbBytes);
        for (int table = 0; table < 4; table++)
        {
            TlbEntry* ways = (TlbEntry*)(tables + (table * StateLayout.TlbBytes));
            ways[0].Tag = Empty(0);
            ways[1].Tag = Empty(0);
        }

        System.Array.Clear(_notGlobal);
        _cpu->SmapCount = 0;
        EmptySlots();
        FlushJumps();
    }

    /// <summary>
    /// Empties what is not global, as a write to CR3 does. Between two of them few lines are filled, so only those are
    /// visited; the kernel's own pages and jumps stay.
    /// </summary>
    internal void FlushNonGlobal()
    {
        Flushes++;
        Victims.FlushNonGlobal();
        for (int i = 0; i < _notGlobal.Length; i++)
        {
            ulong word = _notGlobal[i];
            _notGlobal[i] = 0;
            TlbEntry* entries = (TlbEntry*)((byte*)_cpu + StateLayout.TlbBase) + (i * 64);
            for (; word != 0; word &= word - 1)
            {
                int at = System.Numerics.BitOperations.TrailingZeroCount(word);
                entries[at].Tag = Empty((((i % LineWords) * 64) + at) / 2);
            }
        }

        DropSmap();                                             // empties the slots too
        if (_supervisorJumpsNotGlobal)
        {
            FlushJumps();
        }
        else
        {
            NewKey(ref _cpu->UserJumpCacheKey);
        }
    }

    /// <summary>Forgets one linear page.</summary>
    internal void FlushPage(ulong linear)
    {
        int set = StateLayout.TlbSet(linear);
        Victims.FlushPage(linear);
        for (int table = 0; table < 4; table++)
        {
            Drop(Table((table & 2) != 0, (table & 1) != 0) + (2 * set), set, linear & ~0xFFFUL);
        }

        EmptySlots();
        FlushJumps();
    }

    /// <summary>Takes a host page out of the store tables and slots: code is translated from it. The vCPU's own thread.</summary>
    internal void ProtectPage(byte* hostPage)
    {
        if (_homes.IsEmpty(hostPage))
        {
            return;
        }

        DropStoreLines(hostPage);
        _homes.Clear(hostPage);
        for (int user = 0; user < 2; user++)
        {
            TlbEntry* slots = StoreSlots(user);
            for (int i = 0; i < StateLayout.SlotEntries; i++)
            {
                if (slots[i].Tag + slots[i].Addend == (ulong)hostPage)
                {
                    slots[i].Tag = NotCanonical;
                }
            }
        }
    }

    /// <summary>
    /// The same for another vCPU's thread, as far as it may: lines go, slots stay, because generated code may have
    /// compared a slot's tag and not yet added its addend. Their owner calls <see cref="EmptySlots"/> when it is out of
    /// generated code. It may fill a line at the same time, which then may be lost; it looks at the page's marks after that.
    /// </summary>
    /// <returns>True when the vCPU may be storing to the page.</returns>
    internal bool TakeStoreLines(byte* hostPage)
    {
        // The owner notes a page's home before it fills a line, and looks at the page's marks after that.
        if (_homes.IsEmpty(hostPage))
        {
            return false;
        }

        // Lines before slots: whoever fills a slot has read a line, and keeps it until the slot is whole.
        bool found = DropStoreLines(hostPage);
        System.Threading.Interlocked.MemoryBarrier();
        for (int user = 0; user < 2; user++)
        {
            TlbEntry* slots = StoreSlots(user);
            for (int i = 0; i < StateLayout.SlotEntries; i++)
            {
                found |= slots[i].Tag + slots[i].Addend == (ulong)hostPage;
            }
        }

        return found;
    }

    /// <summary>Enters a block into a jump cache. Under the code lock, by the vCPU itself.</summary>
    internal void FillJump(ulong rip, bool user, bool global, byte* entry)
    {
        JumpEntry* line = Jump(rip, user);
        line->Tag = rip ^ Key(user);
        line->Host = (ulong)entry;
        _jumps.Fill(rip, user, line->Tag, line->Host);
        _supervisorJumpsNotGlobal |= !user && !global;
    }

    /// <summary>Looks a block up in a jump cache; null when it is not there. By the vCPU itself.</summary>
    internal byte* FindJump(ulong rip, bool user)
    {
        JumpEntry* line = Jump(rip, user);
        return line->Tag == (rip ^ Key(user)) ? (byte*)line->Host : null;
    }

    /// <summary>
    /// Looks a block up that lost its line in the jump cache, and gives it back; null when it is not known. Under the code
    /// lock, so that nobody forgets the block meanwhile.
    /// </summary>
    internal byte* RecallJump(ulong rip, bool user)
    {
        ulong tag = rip ^ Key(user);
        ulong host = _jumps.Find(rip, user, tag);
        if (host != 0)
        {
            JumpEntry* line = Jump(rip, user);
            line->Tag = tag;
            line->Host = host;
        }

        return (byte*)host;
    }

    /// <summary>
    /// Forgets a block that is going away. Any thread, under the code lock, as filling is: generated code may have
    /// compared the tag already, so the code's address stays.
    /// </summary>
    internal void DropJump(ulong rip, bool user, byte* entry)
    {
        JumpEntry* line = Jump(rip, user);
        if (line->Host == (ulong)entry)
        {
            line->Tag = 0;
        }

        _jumps.Drop(rip, user, (ulong)entry);
    }

    /// <summary>
    /// The code cache was emptied: no line may name a place in it any more, not even under an old key, because the XOR of
    /// two keys and a good rip is an rip that is not canonical, and a guest can jump there.
    /// </summary>
    internal void WipeJumps()
    {
        FlushJumps();
        _jumps.Clear();
        Unsafe.InitBlock((byte*)_cpu + StateLayout.JumpCacheBase, 0, 2 * StateLayout.JumpCacheBytes);
    }

    /// <summary>Empties the jump caches by changing the keys that are mixed into their tags.</summary>
    internal void FlushJumps()
    {
        JumpFlushes++;
        _supervisorJumpsNotGlobal = false;
        NewKey(ref _cpu->JumpCacheKey);
        NewKey(ref _cpu->UserJumpCacheKey);
    }

    private bool DropStoreLines(byte* hostPage)
    {
        if (_homes.TryGet(hostPage, out int home))
        {
            int set = home & (StateLayout.TlbSets - 1);
            return DropStoreLines(hostPage, Table(home >> 10 >= 2, true) + (2 * set), set, 1);
        }

        return DropStoreLines(hostPage, Table(false, true), 0, StateLayout.TlbSets)
            | DropStoreLines(hostPage, Table(true, true), 0, StateLayout.TlbSets);
    }

    private static bool DropStoreLines(byte* hostPage, TlbEntry* ways, int set, int sets)
    {
        bool found = false;
        for (int i = 0; i < 2 * sets; i++)
        {
            ulong tag = ways[i].Tag;
            ulong empty = Empty(set + (i / 2));
            if (tag + ways[i].Addend == (ulong)hostPage && tag != empty)
            {
                found = true;
                ways[i].Tag = empty;
            }
        }

        return found;
    }

    private TlbEntry* StoreSlots(int user) =>
        (TlbEntry*)((byte*)_cpu + StateLayout.SlotBase) + (((user * 2) + 1) * StateLayout.SlotEntries);

    /// <summary>
    /// Empties the page slots, which refill from the TLBs at the next access. Their addends stay: no sum with one is
    /// canonical either. The vCPU's own thread.
    /// </summary>
    internal void EmptySlots()
    {
        TlbEntry* slots = (TlbEntry*)((byte*)_cpu + StateLayout.SlotBase);
        for (int i = 0; i < 4 * StateLayout.SlotEntries; i++)
        {
            slots[i].Tag = NotCanonical;
        }
    }

    // 48 address bits are significant; the key lives in bits 48-62, so that bit 63 still tells the halves apart.
    private void NewKey(ref ulong key)
    {
        _generation++;
        if (_generation > 0x7FFE)
        {
            // Keys start again: nothing tagged with an old one may be left.
            _generation = 2;
            Unsafe.InitBlock((byte*)_cpu + StateLayout.JumpCacheBase, 0, 2 * StateLayout.JumpCacheBytes);
            _jumps.Clear();
            _cpu->JumpCacheKey = 1UL << 48;
            _cpu->UserJumpCacheKey = 1UL << 48;
            _supervisorJumpsNotGlobal = false;
        }

        key = _generation << 48;
    }

    private ulong Key(bool user) => user ? _cpu->UserJumpCacheKey : _cpu->JumpCacheKey;

    // A tag that cannot be hit in this set: it belongs to the neighbour's.
    private static ulong Empty(int set) => set == 0 ? 0x1000UL : 0;

    private static void Drop(TlbEntry* ways, int set, ulong tag)
    {
        for (int way = 0; way < 2; way++)
        {
            if (ways[way].Tag == tag)
            {
                ways[way].Tag = Empty(set);
            }
        }
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

    private JumpEntry* Jump(ulong rip, bool user) =>
        (JumpEntry*)((byte*)_cpu + StateLayout.JumpCache(user)) + StateLayout.JumpIndex(rip);
}
