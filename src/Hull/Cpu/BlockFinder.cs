using Hull.Cpu.Assist;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Cpu.Translate;
using Iced.Intel;

namespace Hull.Cpu;

/// <summary>
/// Finds the generated code for RIP: the mode, the jump cache, the code cache, and links between blocks.
/// See docs/translator.md, "How a block is made" and "Links".
/// </summary>
internal sealed unsafe class BlockFinder
{
    private const BlockMode PlainProgram = BlockMode.Code64 | BlockMode.User;
    private const BlockMode Special = BlockMode.Careful | BlockMode.Single | BlockMode.Unlinked;

    // Calls one behind the other, of a block that is new.
    private const int MaximumReturns = 4;
    private readonly SoftVcpu _vcpu;
    private readonly SoftEngine _engine;
    private readonly CodeCache _cache;
    private readonly CpuState* _cpu;
    private readonly Tlb _tlb;
    private readonly SoftMmu _mmu;
    private readonly VcpuCounters _counters;
    private BlockMode _lastMode = (BlockMode)uint.MaxValue;

    internal BlockFinder(SoftVcpu vcpu, SoftEngine engine)
    {
        _vcpu = vcpu;
        _engine = engine;
        _cache = engine.Cache;
        _cpu = vcpu.Cpu;
        _tlb = vcpu.Tlb;
        _mmu = vcpu.Mmu;
        _counters = vcpu.Counters;
    }

    /// <summary>The generated code at RIP, translated if need be; null when fetching it faulted.</summary>
    internal byte* FindEntry(BlockMode extra, int limit)
    {
        BlockMode mode = ComputeMode();
        bool user = (mode & BlockMode.User) != 0;
        if (((mode ^ _lastMode) & ~(BlockMode.User | BlockMode.Windows)) != 0)
        {
            _tlb.Jumps.Flush();
            _lastMode = mode;
        }

        byte* entry = extra == 0 ? _tlb.Jumps.Find(_cpu->Rip, user) : null;
        return entry != null ? entry : FindOrTranslate(mode | extra, limit, out _);
    }

    /// <summary>The careful block for the instruction at RIP; null when fetching it faulted.</summary>
    /// <param name="locked">The instruction is atomic: no other vCPU may run meanwhile.</param>
    internal byte* FindCareful(out bool locked) =>
        FindOrTranslate((ComputeMode() & ~BlockMode.Windows) | BlockMode.Careful, 1, out locked);

    /// <summary>A jump without a target yet: RIP first, so that events are taken at the right place, then the link.</summary>
    internal void FollowLink(int linkIndex)
    {
        _cpu->Rip = _cache.Links[linkIndex].Target;
        if (_cpu->AttentionBits != 0)
        {
            return;
        }

        BlockMode mode = ComputeMode();
        lock (_engine.CodeLock)
        {
            if (!_cache.IsFull)
            {
                ConnectLink(linkIndex, mode);
            }
        }
    }

    /// <summary>All that a translation depends on besides its bytes and its address, as it is now.</summary>
    internal BlockMode ComputeMode()
    {
        BlockMode mode = _cpu->Cpl switch { 3 => BlockMode.User, 0 => 0, _ => BlockMode.Ring12 };
        ref CpuSegment code = ref _cpu->Segments[Seg.Cs];
        const uint LongCode = 1 << 13;
        const uint Big = 1 << 14;
        if ((_cpu->Efer & Efer.Lma) != 0 && (code.Attributes & LongCode) != 0)
        {
            mode |= BlockMode.Code64;
        }
        else
        {
            bool real = (_cpu->Cr0 & Cr0.Pe) == 0 || (_cpu->SystemFlags & Rflags.Vm) != 0;
            mode |= !real && (code.Attributes & Big) != 0 ? BlockMode.Code32 : BlockMode.Code16;
            mode |= !real && (_cpu->Segments[Seg.Ss].Attributes & Big) != 0 ? BlockMode.Stack32 : 0;
            mode |= !real && IsFlat() ? BlockMode.Flat : 0;
        }

        ulong cr0 = _cpu->Cr0;
        if ((cr0 & (Cr0.Ts | Cr0.Em)) != 0)
        {
            mode |= BlockMode.NoX87;
            mode |= (cr0 & Cr0.Ts) != 0 ? BlockMode.NoMedia : 0;
            mode |= (cr0 & Cr0.Em) != 0 ? BlockMode.NoSse | BlockMode.NoMmx : 0;
        }

        mode |= (_cpu->Cr4 & Cr4.Osfxsr) == 0 ? BlockMode.NoSse : 0;
        mode |= (_cpu->Cr4 & Cr4.Osxsave) != 0 && (_cpu->Xcr0 & 6) == 6 ? BlockMode.Avx : 0;
        mode |= (_cpu->Cr4 & Cr4.Tsd) != 0 && _cpu->Cpl != 0 ? BlockMode.NoTsc : 0;
        mode |= Segmentation.ChecksAlignment(_cpu) ? BlockMode.AlignmentCheck : 0;
        mode |= _vcpu.Debug.ExecutionArmed ? BlockMode.Breakpoints : 0;
        mode |= (mode & ~BlockMode.Avx) == PlainProgram && HasWindows() ? BlockMode.Windows : 0;
        return mode;
    }

    private bool HasWindows()
    {
        if (_engine.Windows == WindowUse.Always && !_tlb.Windows.IsOpen && _engine.HasWindows)
        {
            _tlb.Windows.TryOpen();
        }

        return _tlb.Windows.IsOpen;
    }

    /// <summary>The rip behind an instruction, cut to the code size.</summary>
    internal ulong NextRip(in Instruction instruction) => (ComputeMode() & BlockMode.CodeMask) switch
    {
        BlockMode.Code64 => instruction.NextIP,
        BlockMode.Code32 => (uint)instruction.NextIP,
        _ => (ushort)instruction.NextIP,
    };

    // A block that may be found again goes to the jump cache before anybody can invalidate it.
    private byte* FindOrTranslate(BlockMode mode, int limit, out bool locked)
    {
        while (true)
        {
            lock (_engine.CodeLock)
            {
                byte* known = (mode & Special) == 0 ? _tlb.Jumps.Recall(_cpu->Rip, (mode & BlockMode.User) != 0) : null;
                if (known != null)
                {
                    locked = false;
                    return known;
                }

                if (!_cache.IsFull)
                {
                    int index = FindBlock(mode, limit, false, out bool global);
                    locked = index >= 0 && _cache.Blocks[index].Locked;
                    byte* entry = index < 0 ? null : _cache.Blocks[index].MemoryFlagsEntry;
                    if (entry != null && (mode & Special) == 0)
                    {
                        FillJump(_cache.Blocks[index], mode, global);
                    }

                    return entry;
                }
            }

            _engine.FlushCache(_vcpu);
        }
    }

    private void ConnectLink(int linkIndex, BlockMode mode)
    {
        bool user = (mode & BlockMode.User) != 0;
        ref Link link = ref _cache.Links[linkIndex];
        if (link.Cross)
        {
            _cache.AnnounceCrossLink(link.Target);
        }

        _engine.UsualFlags = link.HostFlags ? FlagPlace.Host : FlagPlace.Memory;
        int target = FindBlock(mode, Translator.MaximumInstructions, link.Cross, out bool global);
        _engine.UsualFlags = FlagPlace.Memory;
        if (target < 0)
        {
            // The fetch faults: the loop comes to the same rip again and delivers it.
            return;
        }

        ref Block block = ref _cache.Blocks[target];
        ref Block from = ref _cache.Blocks[link.Source];
        if (block.SecondPage != ulong.MaxValue)
        {
            // Nothing may link to a block in two pages, whose second page could move; loops meet it all the same.
            FillJump(block, mode, global);
            if (!link.Cross && link.Linked < 0 && from.Valid)
            {
                _engine.SendThroughJumpCache(linkIndex, user);
            }

            return;
        }

        bool stable = link.Linked < 0 && from.Valid && from.Key.Mode == mode && (link.Cross
            ? global && _engine.SharedKernel.Share(_vcpu, link.Target)
            : (from.Key.Physical ^ block.Key.Physical) >> 12 == 0);
        if (stable)
        {
            _cache.Connect(linkIndex, target);
        }
        else
        {
            FillJump(block, mode, global);
        }
    }

    // A link between pages needs the page tables as they are now, not as this vCPU remembers them.
    private int FindBlock(BlockMode mode, int limit, bool walks, out bool global)
    {
        global = false;
        _counters.Lookups++;
        ulong linear = LinearRip(mode);
        if (!CheckCodeLimit(mode) || !TranslateFetch(linear, walks, out PageTranslation page))
        {
            return -1;
        }

        global = page.Global;
        BlockKey key = new(page.PhysicalPage | (linear & 0xFFF), _cpu->Rip, mode);
        bool special = (mode & BlockMode.Unlinked) != 0;
        int index = special ? -1 : _cache.Find(key);
        if (index >= 0 && SecondPageMatches(index, linear))
        {
            return index;
        }

        index = _engine.Translate(_vcpu, key, linear, page.Host, limit);
        if (index >= 0 && (mode & (BlockMode.CodeMask | Special)) == BlockMode.Code64)
        {
            TranslateReturns(key, page);
        }

        return index;
    }

    // A call mostly returns: what stands behind it is translated with it, and need not be looked for.
    private void TranslateReturns(BlockKey key, in PageTranslation page)
    {
        for (int i = 0; i < MaximumReturns; i++)
        {
            ulong rip = _engine.ReturnPoint;
            BlockKey next = key with { Physical = page.PhysicalPage | (rip & 0xFFF), Rip = rip };
            if (rip == 0 || rip >> 12 != key.Rip >> 12 || _cache.IsFull || _cache.Find(next) >= 0)
            {
                return;
            }

            int index = _engine.TranslateAhead(_vcpu, next, page.Host);
            if (index < 0)
            {
                return;
            }

            FillJump(_cache.Blocks[index], key.Mode, page.Global);
        }
    }

    private void FillJump(in Block block, BlockMode mode, bool global)
    {
        int pages = block.SecondPage == ulong.MaxValue ? 1 : 2;
        ulong rip = block.Key.Rip;
        _tlb.Jumps.Fill(rip, Linear(rip, mode), pages, (mode & BlockMode.User) != 0, global, block.MemoryFlagsEntry);
    }

    private ulong LinearRip(BlockMode mode) => Linear(_cpu->Rip, mode);

    private ulong Linear(ulong rip, BlockMode mode) => (mode & BlockMode.CodeMask) == BlockMode.Code64
        ? rip
        : (uint)(rip + _cpu->Segments[Seg.Cs].Base);

    private bool TranslateFetch(ulong linear, bool walks, out PageTranslation page)
    {
        bool user = _cpu->Cpl == 3;
        page = default;
        page.Host = walks ? null : _tlb.Victims.FindFetch(linear, user, out page.Global);
        if (page.Host != null)
        {
            page.PhysicalPage = _engine.Memory.PhysicalOf((ulong)(page.Host - _engine.Memory.Base));
            return true;
        }

        if (!_mmu.Translate(linear, Access.Fetch, out page))
        {
            return false;
        }

        if (page.Host != null)
        {
            _tlb.Victims.FillFetch(linear, user, page);
        }

        return true;
    }

    private bool CheckCodeLimit(BlockMode mode) =>
        (mode & BlockMode.CodeMask) == BlockMode.Code64
        || _cpu->Rip <= _cpu->Segments[Seg.Cs].Limit
        || _vcpu.Raise(13, 0);

    private bool SecondPageMatches(int index, ulong linear)
    {
        ulong second = _cache.Blocks[index].SecondPage;
        return second == ulong.MaxValue
            || (_mmu.Translate((linear & ~0xFFFUL) + 4096, Access.Fetch, out PageTranslation page)
                && page.PhysicalPage == second);
    }

    private bool IsFlat()
    {
        const uint Unusable = 1 << 16;
        for (int i = Seg.Es; i <= Seg.Ds; i++)
        {
            ref CpuSegment segment = ref _cpu->Segments[i];
            bool expandDown = (segment.Attributes & 0xC) == 4;
            bool writable = i == Seg.Cs || (segment.Attributes & 0xA) == 2;
            if (segment.Base != 0 || segment.Limit != uint.MaxValue || expandDown || !writable
                || (segment.Attributes & Unusable) != 0)
            {
                return false;
            }
        }

        return (_cpu->Segments[Seg.Cs].Attributes & 2) != 0;
    }
}
