using System.Numerics;
using System.Runtime.CompilerServices;
using System.Threading;
using Hull.Cpu.State;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// The page slots and inline TLBs that generated code looks into: filling and emptying them. They live behind
/// <see cref="CpuState"/>. Lines of a TLB hold translations whose rights were checked for the table's kind of access.
/// </summary>
internal sealed unsafe class Tlb
{
    private const ulong NotCanonical = 1UL << 63;

    private const int LineWords = StateLayout.TlbEntries / 64;
    private readonly CpuState* _cpu;
    private readonly ulong[] _notGlobal = new ulong[4 * LineWords];
    private readonly StoreHomes _homes;

    private readonly AddressSpaces _spaces = new();

    // The regions of 2 MiB, 4 MiB and 1 GiB of which a large page may have come in.
    private readonly PageFilter _largePages = new(16);

    internal Tlb(CpuState* cpu, GuestMemory memory)
    {
        _cpu = cpu;
        _homes = new StoreHomes(memory);
        for (int kind = 0; kind < 4; kind++)
        {
            HashedSlots(kind)->Tag = Empty(0);
        }

        Jumps = new JumpCaches(cpu, _spaces);
        FlushAll();
    }

    /// <summary>The second level, looked up by C#.</summary>
    internal VictimTlb Victims { get; } = new();

    /// <summary>The jump caches, which are emptied with the tables.</summary>
    internal JumpCaches Jumps { get; }

    /// <summary>Accesses that missed their page slot.</summary>
    internal ulong SlotMisses => _cpu->SlotMisses;

    /// <summary>Times that what is not global was emptied.</summary>
    internal ulong Flushes { get; private set; }

    /// <summary>Times that everything was emptied.</summary>
    internal ulong FullFlushes { get; private set; }

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
        if (page == null && !user && (_cpu->SystemFlags & Rflags.Ac) != 0)
        {
            page = Find(linear, true, store);
            _cpu->UserPageSlots |= 1UL << (slot + (store ? StateLayout.SlotEntries : 0));
        }

        SetSlot(linear, page, StateLayout.Slot(user, store, slot));
    }

    /// <summary>Copies a page that the supervisor may load from at any time, if the table has it, to the slot for descriptors.</summary>
    internal void FillDescriptorSlot(ulong linear) =>
        SetSlot(linear, Find(linear, false, false), StateLayout.Slot(false, false, Translate.PageSlot.Descriptors));

    private void SetSlot(ulong linear, byte* page, int slot)
    {
        if (page != null)
        {
            ulong tag = linear & ~0xFFFUL;
            *(TlbEntry*)((byte*)_cpu + slot) = new TlbEntry { Tag = tag, Addend = (ulong)page - tag };
        }
    }

    /// <summary>AC was cleared: user pages leave the supervisor's slots. CLAC has code for it, see Thunks.</summary>
    internal void CloseUserPages()
    {
        TlbEntry* slots = Slots;
        for (ulong left = _cpu->UserPageSlots; left != 0; left &= left - 1)
        {
            slots[BitOperations.TrailingZeroCount(left)].Tag = NotCanonical;
        }

        _cpu->UserPageSlots = 0;
    }

    /// <summary>Empties all tables and the jump caches.</summary>
    internal void FlushAll()
    {
        FullFlushes++;
        Victims.FlushAll();
        _spaces.ForgetAll();
        byte* tables = (byte*)_cpu + StateLayout.TlbBase;
        Unsafe.InitBlock(tables, 0, 4 * StateLayout.TlbBytes);
        for (int table = 0; table < 4; table++)
        {
            TlbEntry* ways = (TlbEntry*)(tables + (table * StateLayout.TlbBytes));
            ways[0].Tag = Empty(0);
            ways[1].Tag = Empty(0);
        }

        System.Array.Clear(_notGlobal);
        _largePages.Clear();
        EmptySlots();
        Jumps.Flush();
    }

    /// <summary>Forgets what is not global, of all address spaces.</summary>
    internal void FlushNonGlobal()
    {
        Flushes++;
        _spaces.ForgetAll();
        EmptyLocalLines();
        NewSpace();
    }

    /// <summary>
    /// Another address space, as by a write to CR3: the lines that are not global go, and the jump cache and the victims get
    /// the keys of the new one.
    /// </summary>
    /// <param name="from">The PCID that was current; 0 without PCIDs.</param>
    /// <param name="to">The new one; it may be the same.</param>
    /// <param name="keep">What is kept of the new one is still good.</param>
    internal void SwitchSpace(int from, int to, bool keep)
    {
        Flushes++;
        _spaces.Keep(from, _cpu->UserJumpCacheKey, Victims.LocalGeneration);
        bool known = _spaces.TryTake(to, out ulong key, out ulong generation);
        EmptyLocalLines();
        if (!keep || !known || Jumps.HasLocalSupervisorCode)
        {
            NewSpace();
            return;
        }

        Jumps.UseUserKey(key);
        Victims.LocalGeneration = generation;
    }

    /// <summary>Forgets an address space that is not current.</summary>
    internal void ForgetSpace(int pcid) => _spaces.Forget(pcid);

    private void NewSpace()
    {
        Victims.FlushNonGlobal();
        Jumps.FlushNonGlobal();
    }

    // Between two writes to CR3 few lines are filled, so only those are visited; the kernel's own pages stay.
    private void EmptyLocalLines()
    {
        for (int i = 0; i < _notGlobal.Length; i++)
        {
            ulong word = _notGlobal[i];
            _notGlobal[i] = 0;
            TlbEntry* entries = (TlbEntry*)((byte*)_cpu + StateLayout.TlbBase) + (i * 64);
            for (; word != 0; word &= word - 1)
            {
                int at = BitOperations.TrailingZeroCount(word);
                entries[at].Tag = Empty((((i % LineWords) * 64) + at) / 2);
            }
        }

        EmptySlots();
    }

    /// <summary>Forgets one linear page of 4 KiB.</summary>
    internal void FlushPage(ulong linear)
    {
        int set = StateLayout.TlbSet(linear);
        ulong tag = linear & ~0xFFFUL;
        Victims.FlushPage(linear);
        for (int table = 0; table < 4; table++)
        {
            Drop(Table((table & 2) != 0, (table & 1) != 0) + (2 * set), set, tag);
        }

        DropSlots(NearSlots, StateLayout.NearSlots, tag);
        DropSlots(Slots, 4 * StateLayout.SlotEntries, tag);
        int hashed = (int)(linear >> 12) & (StateLayout.HashedSlots - 1);
        for (int kind = 0; kind < 4; kind++)
        {
            TlbEntry* slot = HashedSlots(kind) + hashed;
            if (slot->Tag == tag)
            {
                slot->Tag = Empty(hashed);
            }
        }

        Jumps.FlushPage(linear);
    }

    /// <summary>A page of 2 MiB, 4 MiB or 1 GiB was met.</summary>
    internal void NoteLargePage(ulong linear, int pageBits) => _largePages.Add((linear >> pageBits) ^ ((ulong)pageBits << 56));

    /// <summary>
    /// The tables keep large pages in pieces of 4 KiB: whoever forgets one page has to forget all pieces. SDM vol. 3A,
    /// "Operations that Invalidate TLBs and Paging-Structure Caches".
    /// </summary>
    internal bool MayBeLargePage(ulong linear) => MayBeLargePage(linear, 21) || MayBeLargePage(linear, 22) || MayBeLargePage(linear, 30);

    /// <summary>Takes a host page out of the store tables and slots: code is translated from it. The vCPU's own thread.</summary>
    internal void ProtectPage(byte* hostPage)
    {
        if (_homes.IsEmpty(hostPage))
        {
            return;
        }

        DropStoreLines(hostPage);
        _homes.Clear(hostPage);
        FindHostPage(NearSlots + 1, 1, hostPage, true);
        FindHostPage(StoreSlots(0), StateLayout.SlotEntries, hostPage, true);
        FindHostPage(StoreSlots(1), StateLayout.SlotEntries, hostPage, true);
        FindHashedHostPage(1, hostPage, true);
        FindHashedHostPage(3, hostPage, true);
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
        Interlocked.MemoryBarrier();
        return found
            | FindHostPage(NearSlots + 1, 1, hostPage, false)
            | FindHostPage(StoreSlots(0), StateLayout.SlotEntries, hostPage, false)
            | FindHostPage(StoreSlots(1), StateLayout.SlotEntries, hostPage, false)
            | FindHashedHostPage(1, hostPage, false)
            | FindHashedHostPage(3, hostPage, false);
    }

    private bool MayBeLargePage(ulong linear, int pageBits) =>
        _largePages.MayHave((linear >> pageBits) ^ ((ulong)pageBits << 56));

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

    // The slots with a short displacement, and all others.
    private TlbEntry* NearSlots => (TlbEntry*)_cpu->NearSlots;

    private TlbEntry* Slots => (TlbEntry*)((byte*)_cpu + StateLayout.SlotBase);

    private TlbEntry* StoreSlots(int user) => Slots + (((user * 2) + 1) * StateLayout.SlotEntries);

    private TlbEntry* HashedSlots(int kind) =>
        (TlbEntry*)((byte*)_cpu + StateLayout.HashedBase) + (kind * StateLayout.HashedSlots);

    private byte* HashedMarks(int kind) => (byte*)_cpu->HashedSlotsUsed + (kind * StateLayout.HashedMarks);

    // True when a slot that the address chooses leads to a host page, which is its second word; and empties it. A group is
    // marked before one of its slots is filled, and the mark goes after they were emptied.
    private bool FindHashedHostPage(int kind, byte* hostPage, bool empties)
    {
        bool found = false;
        TlbEntry* slots = HashedSlots(kind);
        byte* marks = HashedMarks(kind);
        for (int group = 0; group < StateLayout.HashedMarks; group++)
        {
            if (marks[group] != 0)
            {
                found |= FindInGroup(slots, group * StateLayout.HashedGroup, hostPage, empties);
            }
        }

        return found;
    }

    private static bool FindInGroup(TlbEntry* slots, int first, byte* hostPage, bool empties)
    {
        bool found = false;
        for (int i = first; i < first + StateLayout.HashedGroup; i++)
        {
            if (slots[i].Addend == (ulong)hostPage && slots[i].Tag != Empty(i))
            {
                found = true;
                if (empties)
                {
                    slots[i].Tag = Empty(i);
                }
            }
        }

        return found;
    }

    private static void ClearSlots(TlbEntry* slots, int count)
    {
        for (int i = 0; i < count; i++)
        {
            slots[i].Tag = NotCanonical;
        }
    }

    private static void DropSlots(TlbEntry* slots, int count, ulong tag)
    {
        for (int i = 0; i < count; i++)
        {
            if (slots[i].Tag == tag)
            {
                slots[i].Tag = NotCanonical;
            }
        }
    }

    // True when a slot leads to a host page; and empties it.
    private static bool FindHostPage(TlbEntry* slots, int count, byte* hostPage, bool empties)
    {
        bool found = false;
        for (int i = 0; i < count; i++)
        {
            if (slots[i].Tag + slots[i].Addend == (ulong)hostPage)
            {
                found = true;
                if (empties)
                {
                    slots[i].Tag = NotCanonical;
                }
            }
        }

        return found;
    }

    /// <summary>
    /// Empties the page slots, which refill from the TLBs at the next access. Their addends stay: no sum with one is
    /// canonical either. The vCPU's own thread.
    /// </summary>
    internal void EmptySlots()
    {
        ClearSlots(NearSlots, StateLayout.NearSlots);
        ClearSlots(Slots, 4 * StateLayout.SlotEntries);
        _cpu->UserPageSlots = 0;
        EmptyHashedSlots();
    }

    // Between two times few groups are filled.
    private void EmptyHashedSlots()
    {
        for (int kind = 0; kind < 4; kind++)
        {
            TlbEntry* slots = HashedSlots(kind);
            for (int word = 0; word < StateLayout.HashedMarks / 8; word++)
            {
                ref ulong marks = ref _cpu->HashedSlotsUsed[(kind * StateLayout.HashedMarks / 8) + word];
                if (marks != 0)
                {
                    EmptyGroups(slots + (word * 8 * StateLayout.HashedGroup), marks);
                    slots->Tag = Empty(0);
                    Volatile.Write(ref marks, 0);
                }
            }
        }
    }

    private static void EmptyGroups(TlbEntry* slots, ulong marks)
    {
        for (; marks != 0; marks &= marks - 1)
        {
            int group = BitOperations.TrailingZeroCount(marks) / 8;
            Unsafe.InitBlock(slots + (group * StateLayout.HashedGroup), 0, StateLayout.HashedGroup * 16);
        }
    }

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
}
