using System.Threading;
using Hull.Cpu.State;
using Hull.Cpu.Translate;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// All that a vCPU keeps of the guest's page tables: the inline TLBs and page slots that generated code looks into, the second level
/// behind them, the windows, and the jump caches, which depend on translations too. What is forgotten is forgotten in all of them.
/// </summary>
internal sealed unsafe class Tlb
{
    private readonly CpuState* _cpu;
    private readonly GuestMemory _memory;
    private readonly TlbLines _lines;
    private readonly PageSlots _slots;
    private readonly AddressSpaces _spaces = new();

    // The regions of 2 MiB, 4 MiB and 1 GiB of which a large page may have come in.
    private readonly PageFilter _largePages = new(16);

    internal Tlb(CpuState* cpu, GuestMemory memory, int physicalBits, WindowRoom room)
    {
        _cpu = cpu;
        _memory = memory;
        Windows = new Windows(cpu, memory, physicalBits, room);
        _lines = new TlbLines(cpu, memory);
        _slots = new PageSlots(cpu);
        Jumps = new JumpCaches(cpu, _spaces);
        FlushAll();
    }

    /// <summary>The second level, looked up by C#.</summary>
    internal VictimTlb Victims { get; } = new();

    /// <summary>The jump caches, which are emptied with the tables.</summary>
    internal JumpCaches Jumps { get; }

    /// <summary>The host's own tables, for programs that run long.</summary>
    internal Windows Windows { get; }

    /// <summary>Accesses that missed their page slot.</summary>
    internal ulong SlotMisses => _cpu->SlotMisses;

    /// <summary>Times that what is not global was emptied.</summary>
    internal ulong Flushes { get; private set; }

    /// <summary>Times that everything was emptied.</summary>
    internal ulong FullFlushes { get; private set; }

    /// <summary>The host page of a linear address; null when the inline TLB has none, whatever the reason.</summary>
    internal byte* Find(ulong linear, bool user, bool store) => _lines.Find(linear, user, store);

    /// <summary>Enters a translation for accesses of one kind.</summary>
    internal void Fill(ulong linear, in PageTranslation page, bool user, bool store) =>
        _lines.Fill(linear, page, user, store);

    /// <summary>Copies a page that the inline TLB has to a page slot.</summary>
    internal void FillSlot(ulong linear, bool user, bool store, int slot)
    {
        byte* page = Find(linear, user, store);
        if (page == null && !user && (_cpu->SystemFlags & Rflags.Ac) != 0)
        {
            page = Find(linear, true, store);
            _slots.NoteUserPage(slot, store);
        }

        if (page != null)
        {
            _slots.Fill(linear, page, StateLayout.Slot(user, store, slot));
        }
    }

    /// <summary>Copies a page that the supervisor may load from at any time, if it is here, to the slot for descriptors.</summary>
    internal void FillDescriptorSlot(ulong linear)
    {
        byte* page = Find(linear, false, false);
        if (page != null)
        {
            _slots.Fill(linear, page, StateLayout.Slot(false, false, PageSlot.Descriptors));
        }
    }

    /// <summary>AC was cleared: user pages leave the supervisor's slots. CLAC has code for it, see Thunks.</summary>
    internal void CloseUserPages() => _slots.EmptyUserPages();

    /// <summary>Empties the page slots, which refill from the inline TLBs at the next access. The vCPU's own thread.</summary>
    internal void EmptySlots() => _slots.Empty();

    /// <summary>Empties all tables and the jump caches.</summary>
    internal void FlushAll()
    {
        FullFlushes++;
        Victims.FlushAll();
        _spaces.ForgetAll();
        _lines.Empty();
        _largePages.Clear();
        _slots.Empty();
        Jumps.Flush();
        Windows.Flush();
    }

    /// <summary>Forgets what is not global, of all address spaces.</summary>
    internal void FlushNonGlobal()
    {
        Flushes++;
        _spaces.ForgetAll();
        LeaveSpace();
        EnterNewSpace();
        Windows.Flush();
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
        LeaveSpace();
        Windows.Switch(!keep);
        if (!keep || !known || Jumps.HasLocalSupervisorCode)
        {
            EnterNewSpace();
            return;
        }

        Jumps.UseUserKey(key);
        Victims.LocalGeneration = generation;
    }

    /// <summary>Forgets an address space that is not current.</summary>
    internal void ForgetSpace(int pcid)
    {
        _spaces.Forget(pcid);
        Windows.FlushOthers();
    }

    /// <summary>Forgets one linear page of 4 KiB.</summary>
    internal void FlushPage(ulong linear)
    {
        Victims.FlushPage(linear);
        _lines.Drop(linear);
        _slots.Drop(linear);
        Jumps.FlushPage(linear);
        Windows.FlushPage(linear);
    }

    /// <summary>A page of 2 MiB, 4 MiB or 1 GiB was met.</summary>
    internal void NoteLargePage(ulong linear, int pageBits) => _largePages.Add(Region(linear, pageBits));

    /// <summary>
    /// The tables keep large pages in pieces of 4 KiB: whoever forgets one page has to forget all pieces. SDM vol. 3A,
    /// "Operations that Invalidate TLBs and Paging-Structure Caches".
    /// </summary>
    internal bool MayBeLargePage(ulong linear) =>
        _largePages.MayHave(Region(linear, 21)) || _largePages.MayHave(Region(linear, 22)) || _largePages.MayHave(Region(linear, 30));

    /// <summary>Takes one line out of a store table.</summary>
    internal void DropStore(ulong linear, bool user) => _lines.Drop(linear, user, true);

    /// <summary>
    /// Takes all pages with translated code out of the store tables and slots. While <see cref="Fill"/> moved a line to the
    /// other way, another vCPU may have looked at the wrong one. The vCPU's own thread.
    /// </summary>
    internal void ProtectCodePages(GuestMemory memory)
    {
        _lines.DropCodePages(memory);
        _slots.Empty();
    }

    /// <summary>Takes a host page out of the store tables and slots: code is translated from it. The vCPU's own thread.</summary>
    internal void ProtectPage(byte* hostPage)
    {
        Windows.ProtectPage((ulong)(hostPage - _memory.Base));
        if (_lines.MayStore(hostPage))
        {
            _lines.DropStores(hostPage);
            _lines.ForgetHome(hostPage);
            _slots.FindStores(hostPage, empties: true);
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
        Windows.ProtectPage((ulong)(hostPage - _memory.Base));

        // The owner notes a page's home before it fills a line, and looks at the page's marks after that.
        if (!_lines.MayStore(hostPage))
        {
            return false;
        }

        // Lines before slots: whoever fills a slot has read a line, and keeps it until the slot is whole.
        bool found = _lines.DropStores(hostPage);
        Interlocked.MemoryBarrier();
        return found | _slots.FindStores(hostPage, empties: false);
    }

    private static ulong Region(ulong linear, int pageBits) => (linear >> pageBits) ^ ((ulong)pageBits << 56);

    private void LeaveSpace()
    {
        _lines.EmptyLocal();
        _slots.Empty();
    }

    private void EnterNewSpace()
    {
        Victims.FlushNonGlobal();
        Jumps.FlushNonGlobal();
    }
}
