using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Host;
using Hull.Kvm.Abi;
using Hull.Memory;

namespace Hull.Kvm;

/// <summary>
/// The dirty rings of a machine's vCPUs: each written page is an entry, so a fetch costs what was written and not what
/// there is. Linux, "KVM API", "KVM_CAP_DIRTY_LOG_RING".
/// </summary>
internal sealed unsafe class KvmDirtyRings : IDisposable
{
    private const long MapOffset = 64 * GuestMemory.PageSize; // KVM_DIRTY_LOG_PAGE_OFFSET
    private const uint Dirty = 1;
    private const uint Reset = 2;

    private readonly Lock _lock = new();
    private readonly KvmFile _vm;
    private readonly uint _entries;
    private readonly List<Ring> _rings = [];
    private readonly HashSet<ulong> _drained = [];

    /// <summary>Turns rings on, before vCPUs are made. Then there are no bitmaps.</summary>
    internal KvmDirtyRings(KvmVm vm, int entries)
    {
        _vm = vm.File;
        _entries = (uint)entries;
        int most = _vm.Check(KvmCapability.DirtyLogRing);
        if ((long)entries * sizeof(KvmDirtyPage) > most)
        {
            throw new HullException(most == 0
                ? "this kernel's KVM lacks KVM_CAP_DIRTY_LOG_RING"
                : $"a dirty ring of {entries} entries: KVM takes up to {most / sizeof(KvmDirtyPage)}");
        }

        vm.Enable(KvmCapability.DirtyLogRing, (ulong)(entries * sizeof(KvmDirtyPage)));
    }

    private nuint MapBytes => _entries * (nuint)sizeof(KvmDirtyPage);

    /// <summary>Maps the ring of a vCPU.</summary>
    internal void Add(KvmFile vcpu)
    {
        void* at = Libc.Mmap(null, MapBytes, Libc.ProtRead | Libc.ProtWrite, Libc.MapShared, vcpu.Fd, MapOffset);
        if (at == (void*)-1)
        {
            throw new HullException($"cannot map a dirty ring: {Libc.LastErrorMessage()}");
        }

        lock (_lock)
        {
            _rings.Add(new Ring((KvmDirtyPage*)at));
        }
    }

    /// <summary>Sets a bit for each page of RAM that was written since the last time.</summary>
    internal void Collect(KvmSlots slots, Span<ulong> pages)
    {
        lock (_lock)
        {
            Drain(slots);
            foreach (ulong page in _drained)
            {
                KvmSlots.SetBit(pages, page);
            }

            _drained.Clear();
        }
    }

    /// <summary>Empties all rings, and keeps which pages were in them.</summary>
    /// <returns>False when they were empty.</returns>
    internal bool Drain(KvmSlots slots)
    {
        lock (_lock)
        {
            bool any = false;
            foreach (Ring ring in _rings)
            {
                any |= Drain(ring, slots);
            }

            if (any)
            {
                // Also write-protects the pages again.
                _vm.Call(KvmRequests.ResetDirtyRings);
            }

            return any;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Ring ring in _rings)
        {
            _ = Libc.Munmap(ring.Entries, MapBytes);
        }

        _rings.Clear();
    }

    private bool Drain(Ring ring, KvmSlots slots)
    {
        bool any = false;
        while (true)
        {
            // SAFETY: the index is below the number of entries that were mapped; the mapping ends with Dispose.
            KvmDirtyPage* entry = ring.Entries + (ring.Next % _entries);
            if ((Volatile.Read(ref entry->Flags) & Dirty) == 0)
            {
                return any;
            }

            if (slots.TryFindPage(entry->Slot & 0xFFFF, entry->Page, out ulong page))
            {
                _drained.Add(page);
            }

            Volatile.Write(ref entry->Flags, Reset);
            ring.Next++;
            any = true;
        }
    }

    private sealed class Ring(KvmDirtyPage* entries)
    {
        internal KvmDirtyPage* Entries { get; } = entries;

        internal uint Next { get; set; }
    }
}
