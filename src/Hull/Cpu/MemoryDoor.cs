using System;
using System.Runtime.CompilerServices;
using System.Threading;
using Hull.Cpu.Assist;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Cpu.Translate;
using Hull.Memory;

namespace Hull.Cpu;

/// <summary>
/// What generated code asks for memory that it cannot reach alone: accesses that missed the inline TLB, and careful ones.
/// See docs/translator.md, "Memory".
/// </summary>
internal sealed unsafe class MemoryDoor : IDisposable
{
    // Bytes of a plain operand at the most. What may be longer, and what is atomic over the end of a page, comes with more.
    private const int LongestPlain = 32;
    private readonly SoftVcpu _vcpu;
    private readonly CpuState* _cpu;
    private readonly Tlb _tlb;
    private readonly SoftMmu _mmu;
    private readonly VcpuCounters _counters;
    private readonly GuestMemory _memory;
    private readonly CodeCache _cache;
    private readonly PreciseExits _exits;
    private readonly SoftEngine _engine;
    private readonly PageSeams _seams;
    private ulong _carefulLinear;
    private int _carefulSize;
    private byte* _carefulAt;

    internal MemoryDoor(SoftVcpu vcpu, SoftEngine engine, PreciseExits exits)
    {
        _vcpu = vcpu;
        _cpu = vcpu.Cpu;
        _tlb = vcpu.Tlb;
        _mmu = vcpu.Mmu;
        _counters = vcpu.Counters;
        _engine = engine;
        _memory = engine.Memory;
        _cache = engine.Cache;
        _exits = exits;
        _seams = new PageSeams(engine.Memory);
    }

    /// <inheritdoc/>
    public void Dispose() => _seams.Dispose();

    /// <summary>An access missed the inline TLB: translates, fills the line, or chooses another way.</summary>
    internal byte* MemorySlow(ulong linear, int size, bool store, byte* back)
    {
        if (store)
        {
            _counters.StoreMisses++;
        }
        else
        {
            _counters.LoadMisses++;
        }

        int offset = (int)(linear & 0xFFF);
        if (offset + size > GuestMemory.PageSize)
        {
            byte* across = Across(linear, size, store);
            return across != null ? across : _exits.Leave(ExitReason.Careful, back);
        }

        if (_vcpu.Debug.WatchesData(linear))
        {
            return _exits.Leave(ExitReason.Careful, back);
        }

        bool user = _cpu->Cpl == 3;
        bool kept = true;
        PageTranslation page = default;
        page.Host = FindVictim(linear, ref user, store, out page.Global);
        if (page.Host != null)
        {
            _counters.VictimHits++;
        }
        else if (!_mmu.Translate(linear, store ? Access.Store : Access.Load, out page))
        {
            return _exits.LeaveFaulting(linear, size, store, back);
        }
        else if (page.Host == null)
        {
            return _exits.Leave(ExitReason.Careful, back);
        }
        else
        {
            kept = _mmu.ChooseTable(page, ref user, store);
            if (kept)
            {
                _tlb.Victims.Fill(linear, user, store, page);
            }
        }

        if (!store)
        {
            _tlb.Fill(linear, page, user, store);
            return page.Host + offset;
        }

        ref ulong grains = ref _memory.Pages.CodeGrains((ulong)(page.Host - _memory.Base) / GuestMemory.PageSize);
        if (kept && Volatile.Read(ref grains) == 0 && _mmu.KeepStoreLine(linear, page, user, ref grains))
        {
            return page.Host + offset;
        }

        BeginLooseStore();
        ulong now = Volatile.Read(ref grains);
        if ((now & CodeMap.GrainMask((uint)offset, (uint)(offset + size))) != 0 && !MakeWay(page.Host + offset, size, back))
        {
            return _exits.Leave(ExitReason.Careful, back);
        }

        _counters.StoresBesideCode += now != 0 ? 1u : 0u;
        return page.Host + offset;
    }

    /// <summary>Checks a careful operand and copies it to the bounce buffer.</summary>
    internal byte* CarefulLoad(ulong address, int siteIndex, byte* back)
    {
        CarefulSite site = _cache.CarefulSites[siteIndex];
        ulong linear = address;
        Access access = (site.ForStore ? Access.Store : Access.Load) | (site.Stack ? Access.Stack : Access.Load);
        if (site.Segment != MemoryLowering.Linear
            && !Segmentation.TryLinear(_vcpu, site.Segment, address, site.Size, access, out linear))
        {
            return _exits.LeaveFaulting(linear, site.Size, site.ForStore, back);
        }

        if (Segmentation.ChecksAlignment(_cpu) && CpuMode.IsCanonical(linear)
            && !Segmentation.IsAligned(_vcpu, linear, site.Size == 10 ? 8u : site.Size))
        {
            return _exits.LeaveFaulting(linear, site.Size, site.ForStore, back);
        }

        if (_tlb.Windows.WantsRegion)
        {
            _tlb.Windows.OpenRegion(linear);
        }

        byte* at = BouncePlace(linear);
        if (site.ForStore && !_mmu.Probe(linear, site.Size, access))
        {
            return _exits.LeaveFaulting(linear, site.Size, true, back);
        }

        // SAFETY: see BouncePlace.
        if (site.Load && !_mmu.Load(linear, new Span<byte>(at, site.Size), access & ~Access.Store))
        {
            return _exits.LeaveFaulting(linear, site.Size, false, back);
        }

        _carefulLinear = linear;
        _carefulSize = site.Size;
        _carefulAt = at;
        return at;
    }

    /// <summary>Writes the bounce buffer back.</summary>
    internal bool CarefulStore(byte* back)
    {
        if (_mmu.Store(_carefulLinear, new ReadOnlySpan<byte>(_carefulAt, _carefulSize)))
        {
            return true;
        }

        _exits.Leave(ExitReason.Fault, back);
        return false;
    }

    // The host address of an operand in two pages of RAM; null where it has none, or a fault must be found.
    private byte* Across(ulong linear, int size, bool store)
    {
        ulong second = (linear | 0xFFF) + 1;
        if (size > LongestPlain || (linear ^ second) >> 32 != 0 || _vcpu.Debug.WatchesData(linear) || _vcpu.Debug.WatchesData(second))
        {
            return null;
        }

        byte* low = Reach(linear, store);
        byte* high = low == null ? null : Reach(second, store);
        if (high == null)
        {
            return null;
        }

        int offset = (int)(linear & 0xFFF);
        bool together = high == low + GuestMemory.PageSize;
        if (!store)
        {
            return together ? low + offset : Gather(linear, low + offset, high, size);
        }

        ulong lowAt = (ulong)(low - _memory.Base);
        ulong highAt = (ulong)(high - _memory.Base);
        byte* seam = together ? low : _seams.Find(lowAt, highAt);
        if (seam == null)
        {
            return null;
        }

        BeginLooseStore();
        bool overCode = HoldsCode(lowAt, offset, GuestMemory.PageSize)
            || HoldsCode(highAt, 0, offset + size - GuestMemory.PageSize);
        return overCode ? null : seam + offset;
    }

    // True when blocks came from these bytes of a page.
    private bool HoldsCode(ulong page, int from, int to) =>
        (Volatile.Read(ref _memory.Pages.CodeGrains(page / GuestMemory.PageSize)) & CodeMap.GrainMask((uint)from, (uint)to)) != 0;

    // The host's page for an access that may be made; null when it faults, which the careful path then finds, or is not RAM.
    private byte* Reach(ulong linear, bool store)
    {
        bool user = _cpu->Cpl == 3;
        byte* host = FindVictim(linear, ref user, store, out _);
        if (host != null)
        {
            return host;
        }

        ulong cr2 = _cpu->Cr2;
        if (_mmu.Translate(linear, store ? Access.Store : Access.Load, out PageTranslation page))
        {
            if (page.Host != null && _mmu.ChooseTable(page, ref user, store))
            {
                _tlb.Victims.Fill(linear, user, store, page);
            }

            return page.Host;
        }

        _cpu->Cr2 = cr2;
        _vcpu.Pending = default;
        return null;
    }

    // Both parts of an operand that is only read, in the bounce buffer.
    private byte* Gather(ulong linear, byte* low, byte* high, int size)
    {
        byte* at = BouncePlace(linear);
        int first = GuestMemory.PageSize - (int)(linear & 0xFFF);

        // SAFETY: the parts end and begin at an edge of their pages; for the buffer see BouncePlace.
        Unsafe.CopyBlockUnaligned(at, low, (uint)first);
        Unsafe.CopyBlockUnaligned(at + first, high, (uint)(size - first));
        return at;
    }

    // The operand keeps its misalignment, so that SSE's alignment checks see what the guest's address says. The buffer has 256
    // bytes: 63 of alignment, 63 of misalignment and at most 64 of operand fit.
    private byte* BouncePlace(ulong linear) => (byte*)(((nint)(&_cpu->Bounce) + 63) & ~63) + (linear & 63);

    // A store that leaves no line behind: another vCPU that begins to translate these bytes must know of it.
    private void BeginLooseStore()
    {
        _vcpu.MayStoreLoosely = true;
        if (_engine.IsShared)
        {
            Interlocked.MemoryBarrier();
        }
    }

    // The blocks go before the store is made: nothing can come between for this vCPU, and others know of it as a loose one.
    private bool MakeWay(byte* host, int size, byte* back)
    {
        ulong before = _vcpu.Invalidations;
        bool made = _engine.TryMakeWay((ulong)(host - _memory.Base), (ulong)size, back);
        _counters.StoreInvalidations += _vcpu.Invalidations - before;
        return made;
    }

    // What the user may do, supervisor code may while AC is set.
    private byte* FindVictim(ulong linear, ref bool user, bool store, out bool global)
    {
        byte* host = _tlb.Victims.Find(linear, user, store, out global);
        if (host == null && !user && (_cpu->SystemFlags & Rflags.Ac) != 0)
        {
            host = _tlb.Victims.Find(linear, true, store, out global);
            user = host != null;
        }

        return host;
    }
}
