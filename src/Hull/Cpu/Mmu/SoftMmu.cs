using System;
using System.Runtime.CompilerServices;
using System.Threading;
using Hull.Cpu.State;
using Hull.Engine;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// The slow half of memory: translation with rights, accessed and dirty bits, and whole accesses for assists. Linear
/// addresses come in after segmentation. A method that returns false has recorded the fault in
/// <see cref="SoftVcpu.Pending"/> and changed nothing.
/// SDM vol. 3A, "Paging".
/// </summary>
internal sealed unsafe class SoftMmu
{
    private readonly SoftVcpu _vcpu;
    private readonly GuestMemory _memory;
    private readonly DeviceAccess _devices;
    private readonly bool _gigabytePages;

    internal SoftMmu(SoftVcpu vcpu, GuestMemory memory)
    {
        _vcpu = vcpu;
        _memory = memory;
        _devices = new DeviceAccess(vcpu.Bus, vcpu.Apic);
        _gigabytePages = vcpu.Cpuid.Features.Has(CpuFeature.Pdpe1Gb);
    }

    /// <summary>The guest's RAM.</summary>
    internal GuestMemory Memory => _memory;

    /// <summary>Loads the PDPTE registers for a CR3; false, with nothing changed, when they have reserved bits set.</summary>
    internal bool TryLoadPdptes(ulong cr3) => PageWalker.TryLoadPdptes(_memory, _vcpu.Cpu, cr3, _vcpu.Cpuid.PhysicalBits);

    /// <summary>Translates the page of a linear address for one access, setting A (and for a store D).</summary>
    internal bool Translate(ulong linear, Access access, out PageTranslation page)
    {
        CpuState* cpu = _vcpu.Cpu;
        if ((cpu->Efer & Efer.Lma) == 0)
        {
            linear = (uint)linear;
        }
        else if (!CpuMode.IsCanonical(linear))
        {
            page = default;
            return _vcpu.Raise((access & Access.Stack) != 0 ? Vector.Stack : Vector.GeneralProtection, 0);
        }

        int error = PageWalker.Walk(
            _memory, cpu, _vcpu.Cpuid.PhysicalBits, linear, access, out page, _gigabytePages);
        if (error != PageWalker.Success)
        {
            return _vcpu.RaisePageFault(linear, (uint)error);
        }

        if (page.PageBits > 12)
        {
            _vcpu.Tlb.NoteLargePage(linear, page.PageBits);
        }

        bool isBus = page.PhysicalPage == _vcpu.Apic.MmioPage
            || ((access & Access.Store) != 0 && !_memory.TakesStores(page.PhysicalPage));
        page.Host = isBus ? null : _memory.HostPage(page.PhysicalPage);
        return true;
    }

    /// <summary>
    /// The host address behind a linear one: from the inline TLB when it is there, else by a walk that fills the TLB.
    /// Null when it is not RAM, or a breakpoint watches the page. False when a fault was recorded.
    /// </summary>
    internal bool FindHost(ulong linear, Access access, out byte* host)
    {
        CpuState* cpu = _vcpu.Cpu;
        if ((cpu->Efer & Efer.Lma) == 0)
        {
            linear = (uint)linear;
        }

        bool user = cpu->Cpl == 3 && (access & Access.System) == 0;
        bool store = (access & Access.Store) != 0;

        byte* page = _vcpu.Tlb.Find(linear, user, store);
        if (page == null && (access & Access.System) == 0 && (cpu->SystemFlags & Rflags.Ac) != 0)
        {
            page = _vcpu.Tlb.Find(linear, true, store);
        }

        host = page + (linear & 0xFFF);
        return page != null || WalkToHost(linear, access, user, out host);
    }

    /// <summary>Checks 1-4096 bytes for an access without making it; A and D bits are set as by the access.</summary>
    internal bool Probe(ulong linear, int length, Access access)
    {
        int first = GuestMemory.PageSize - (int)(linear & 0xFFF);
        return Translate(linear, access, out _)
            && (length <= first || Translate(Wrap(linear + (uint)first, access), access, out _));
    }

    /// <summary>Loads 1-4096 bytes, across a page boundary and from MMIO as needed.</summary>
    internal bool Load(ulong linear, Span<byte> destination, Access access = Access.Load)
    {
        int first = GuestMemory.PageSize - (int)(linear & 0xFFF);
        if (destination.Length <= first)
        {
            if (!FindHost(linear, access, out byte* at))
            {
                return false;
            }

            if (at != null)
            {
                // SAFETY: FindHost gave a place in a host page, and the operand was just checked to end inside it.
                WholeCopy.Load(at, destination);
                return true;
            }
        }

        if (!Translate(linear, access, out PageTranslation page))
        {
            return false;
        }

        if (destination.Length <= first)
        {
            NoteData(linear, destination.Length, access);
            Read(page, linear, destination);
            return true;
        }

        ulong second = Wrap(linear + (uint)first, access);
        if (!Translate(second, access, out PageTranslation next))
        {
            return false;
        }

        NoteData(linear, destination.Length, access);
        Read(page, linear, destination[..first]);
        Read(next, second, destination[first..]);
        return true;
    }

    /// <summary>Stores 1-4096 bytes, all or nothing: both pages are checked before a byte is written.</summary>
    internal bool Store(ulong linear, ReadOnlySpan<byte> source, Access access = Access.Store)
    {
        access |= Access.Store;
        int first = GuestMemory.PageSize - (int)(linear & 0xFFF);
        if (source.Length <= first)
        {
            if (!FindHost(linear, access, out byte* at))
            {
                return false;
            }

            if (at != null)
            {
                // SAFETY: FindHost gave a place in a host page, and the operand was just checked to end inside it.
                WholeCopy.Store(at, source);
                Written(at, (uint)source.Length);
                return true;
            }
        }

        if (!Translate(linear, access, out PageTranslation page))
        {
            return false;
        }

        if (source.Length <= first)
        {
            NoteData(linear, source.Length, access);
            Write(page, linear, source);
            return true;
        }

        ulong second = Wrap(linear + (uint)first, access);
        if (!Translate(second, access, out PageTranslation next))
        {
            return false;
        }

        NoteData(linear, source.Length, access);
        Write(page, linear, source[..first]);
        Write(next, second, source[first..]);
        return true;
    }

    /// <summary>Loads one value.</summary>
    internal bool Load<T>(ulong linear, out T value, Access access = Access.Load)
        where T : unmanaged
    {
        if ((linear & 0xFFF) <= (uint)(GuestMemory.PageSize - sizeof(T)))
        {
            if (!FindHost(linear, access, out byte* at))
            {
                value = default;
                return false;
            }

            if (at != null)
            {
                // SAFETY: FindHost gave a place in a host page, and the value was just checked to end inside it.
                value = Unsafe.ReadUnaligned<T>(at);
                return true;
            }
        }

        T loaded = default;
        bool done = Load(linear, new Span<byte>(&loaded, sizeof(T)), access);
        value = loaded;
        return done;
    }

    /// <summary>Stores one value.</summary>
    internal bool Store<T>(ulong linear, T value, Access access = Access.Store)
        where T : unmanaged
    {
        if ((linear & 0xFFF) <= (uint)(GuestMemory.PageSize - sizeof(T)))
        {
            if (!FindHost(linear, access | Access.Store, out byte* at))
            {
                return false;
            }

            if (at != null)
            {
                // SAFETY: FindHost gave a place in a host page, and the value was just checked to end inside it.
                Unsafe.WriteUnaligned(at, value);
                Written(at, (uint)sizeof(T));
                return true;
            }
        }

        return Store(linear, new ReadOnlySpan<byte>(&value, sizeof(T)), access);
    }

    /// <summary>An assist wrote guest RAM at a host address: those who watch the page are told.</summary>
    internal void Written(byte* host, ulong length)
    {
        ulong before = _vcpu.Invalidations;
        _memory.Pages.Written((ulong)(host - _memory.Base), length);
        _vcpu.Counters.StoreInvalidations += _vcpu.Invalidations - before;
    }

    /// <summary>Forgets every translation: CR0, CR4 or EFER changed, INVPCID of all, A20.</summary>
    internal void FlushAll()
    {
        _vcpu.Tlb.FlushAll();
        _vcpu.CrossLinks.Cut();
    }

    /// <summary>CR3 was written: see <see cref="Tlb.SwitchSpace"/>.</summary>
    internal void SwitchSpace(int from, int to, bool keep)
    {
        _vcpu.Tlb.SwitchSpace(from, to, keep);
        _vcpu.CrossLinks.Check(_vcpu);
    }

    /// <summary>Forgets translations that are not global: INVPCID, a task switch.</summary>
    internal void FlushNonGlobal()
    {
        _vcpu.Tlb.FlushNonGlobal();
        _vcpu.CrossLinks.Check(_vcpu);
    }

    /// <summary>Forgets one linear page, global or not: INVLPG.</summary>
    internal void FlushPage(ulong linear)
    {
        _vcpu.Counters.PageFlushes++;
        if (_vcpu.Tlb.MayBeLargePage(linear))
        {
            FlushAll();
            return;
        }

        _vcpu.Tlb.FlushPage(linear);
        _vcpu.CrossLinks.Cut(linear);
    }

    /// <summary>
    /// Chooses the tables that an allowed access belongs to. With CR4.SMAP the supervisor's never hold a user page; what
    /// supervisor code may do there while AC is set, the user may always, so it goes to the user's.
    /// </summary>
    /// <returns>False for the exception: CR0.WP is clear and the supervisor stores where the user may not.</returns>
    internal bool ChooseTable(in PageTranslation page, ref bool user, bool store)
    {
        CpuState* cpu = _vcpu.Cpu;
        if (user || !page.User || (cpu->Cr4 & Cr4.Smap) == 0)
        {
            return true;
        }

        user = true;
        return !store || (cpu->Cr0 & Cr0.Wp) != 0;
    }

    /// <summary>Fills a line of a store table, for a page without code.</summary>
    /// <param name="linear">The address.</param>
    /// <param name="page">Its translation.</param>
    /// <param name="user">The table, as <see cref="ChooseTable"/> says.</param>
    /// <param name="grains">The code on the page.</param>
    /// <returns>False when code came meanwhile; then there is no line.</returns>
    internal bool KeepStoreLine(ulong linear, in PageTranslation page, bool user, ref ulong grains)
    {
        _vcpu.Tlb.Fill(linear, page, user, store: true);
        if (_vcpu.IsShared)
        {
            // Either a translator on another vCPU sees the line and takes it away, or its mark is seen here.
            Interlocked.MemoryBarrier();
            if (Volatile.Read(ref grains) != 0)
            {
                _vcpu.Tlb.DropStore(linear, user);
                return false;
            }
        }

        return true;
    }

    private bool WalkToHost(ulong linear, Access access, bool user, out byte* host)
    {
        host = null;
        if (!Translate(linear, access, out PageTranslation page))
        {
            return false;
        }

        if (page.Host == null || _vcpu.Debug.WatchesData(linear))
        {
            return true;
        }

        host = page.Host + (linear & 0xFFF);
        bool store = (access & Access.Store) != 0;
        ulong frame = (ulong)(page.Host - _memory.Base) / GuestMemory.PageSize;
        ref ulong grains = ref _memory.Pages.CodeGrains(frame);
        if (!store || Volatile.Read(ref grains) == 0)
        {
            if (!ChooseTable(page, ref user, store))
            {
                return true;
            }

            if (store)
            {
                KeepStoreLine(linear, page, user, ref grains);
            }
            else
            {
                _vcpu.Tlb.Fill(linear, page, user, store: false);
            }
        }

        return true;
    }

    private void NoteData(ulong linear, int length, Access access)
    {
        if (_vcpu.Debug.DataArmed && (access & Access.Fetch) == 0)
        {
            _vcpu.Debug.NoteData(linear, length, (access & Access.Store) != 0);
        }
    }

    /// <summary>Addresses wrap at 4 GiB except in 64-bit mode; system structures have 64-bit addresses in IA-32e mode.</summary>
    private ulong Wrap(ulong linear, Access access)
    {
        CpuState* cpu = _vcpu.Cpu;
        bool wide = (access & Access.System) != 0 ? CpuMode.IsLong(cpu) : CpuMode.Is64Bit(cpu);
        return wide ? linear : (uint)linear;
    }

    private void Read(in PageTranslation page, ulong linear, Span<byte> destination)
    {
        uint offset = (uint)linear & 0xFFF;
        if (page.Host != null)
        {
            // SAFETY: the callers keep [offset, offset + length) inside the one page that Translate gave.
            WholeCopy.Load(page.Host + offset, destination);
            return;
        }

        _devices.Read(page.PhysicalPage + offset, destination);
    }

    private void Write(in PageTranslation page, ulong linear, ReadOnlySpan<byte> source)
    {
        uint offset = (uint)linear & 0xFFF;
        if (page.Host != null)
        {
            // SAFETY: the callers keep [offset, offset + length) inside the one page that Translate gave.
            WholeCopy.Store(page.Host + offset, source);
            Written(page.Host + offset, (uint)source.Length);
            return;
        }

        _devices.Write(page.PhysicalPage + offset, source);
    }
}
