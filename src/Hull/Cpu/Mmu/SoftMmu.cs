using System;
using System.Runtime.CompilerServices;
using System.Threading;
using Hull.Cpu.State;
using Hull.Engine;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>What an access wants. Bits as in the page-fault error code: write 1, user 2, fetch 4 are derived from it.</summary>
[Flags]
internal enum Access : uint
{
    /// <summary>A data load at the current privilege level.</summary>
    Load = 0,

    /// <summary>A data store (or a read-modify-write) at the current privilege level.</summary>
    Store = 1,

    /// <summary>An instruction fetch.</summary>
    Fetch = 2,

    /// <summary>An implicit supervisor access: descriptor tables, TSS, IDT, interrupt frames to an inner stack.</summary>
    System = 4,

    /// <summary>Through SS: an address that is not canonical raises #SS instead of #GP.</summary>
    Stack = 8,
}

/// <summary>A linear page, translated.</summary>
internal unsafe struct PageTranslation
{
    /// <summary>The guest-physical page.</summary>
    internal ulong PhysicalPage;

    /// <summary>The host page; null when it is not RAM.</summary>
    internal byte* Host;

    /// <summary>A store at the same privilege would succeed without any further walk (the D bit is set).</summary>
    internal bool Writable;

    /// <summary>A user page (U/S set in every level).</summary>
    internal bool User;

    /// <summary>A global translation.</summary>
    internal bool Global;

    /// <summary>The size of the page as the tables have it, as a power of two.</summary>
    internal int PageBits;
}

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
    private readonly bool _gigabytePages;

    internal SoftMmu(SoftVcpu vcpu, GuestMemory memory)
    {
        _vcpu = vcpu;
        _memory = memory;
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

            _vcpu.Tlb.Fill(linear, page, user, store);
            if (store && _vcpu.IsShared)
            {
                // A translator on another vCPU sees the line and takes it away, or its mark is seen here.
                Interlocked.MemoryBarrier();
                if (Volatile.Read(ref grains) != 0)
                {
                    _vcpu.Tlb.DropStore(linear, user);
                }
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

        ulong at = page.PhysicalPage + offset;
        while (destination.Length > 0)
        {
            int size = Piece(at, destination.Length);
            ulong value = ReadDevice(at, size);
            new ReadOnlySpan<byte>(&value, size).CopyTo(destination);
            destination = destination[size..];
            at += (uint)size;
        }
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

        ulong at = page.PhysicalPage + offset;
        while (source.Length > 0)
        {
            int size = Piece(at, source.Length);
            ulong value = 0;
            source[..size].CopyTo(new Span<byte>(&value, size));
            WriteDevice(at, size, value);
            source = source[size..];
            at += (uint)size;
        }
    }

    /// <summary>The largest naturally aligned access of 1, 2, 4 or 8 bytes that starts here.</summary>
    private static int Piece(ulong at, int left)
    {
        int size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        while ((at & (uint)(size - 1)) != 0)
        {
            size >>= 1;
        }

        return size;
    }

    private ulong ReadDevice(ulong at, int size)
    {
        if ((at & ~0xFFFUL) != _vcpu.Apic.MmioPage)
        {
            return _vcpu.Bus.ReadMmio(new GuestPhysical(at), size);
        }

        // QUIRK: parts of a local APIC register may be read; the 12 bytes between registers read as zero.
        uint offset = (uint)at & 0xFFF;
        return (offset & 12) != 0 ? 0 : (ulong)_vcpu.Apic.ReadMmio(offset & 0xFF0) >> (int)(8 * (offset & 3));
    }

    private void WriteDevice(ulong at, int size, ulong value)
    {
        if ((at & ~0xFFFUL) != _vcpu.Apic.MmioPage)
        {
            _vcpu.Bus.WriteMmio(new GuestPhysical(at), size, value);
        }
        else if (size >= 4 && (at & 15) == 0)
        {
            // QUIRK: a local APIC register takes whole 32-bit stores only; anything else is dropped.
            _vcpu.Apic.WriteMmio((uint)at & 0xFF0, (uint)value);
        }
    }
}
