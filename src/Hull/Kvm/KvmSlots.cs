using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Host;
using Hull.Kvm.Abi;
using Hull.Memory;

namespace Hull.Kvm;

/// <summary>
/// The memory slots of a virtual machine: RAM below and above the PCI hole, the host files above and the ROM, straight from
/// <see cref="GuestMemory"/>'s mapping, and read-only memory. What is in no slot is MMIO. Slots with RAM can log which
/// pages the guest wrote. With firmware, the area that a chipset can protect is cut into its sections, each a slot that is
/// read-only while it is protected: its stores are MMIO then.
/// </summary>
internal sealed unsafe class KvmSlots
{
    private readonly Lock _lock = new();
    private readonly KvmFile _vm;
    private readonly GuestMemory _memory;
    private readonly List<Slot> _slots = [];
    private readonly Dictionary<ulong, int> _placed = [];
    private KvmMemoryFlags _log;

    /// <summary>Makes slots for all RAM, and for the ROM if there is one.</summary>
    /// <exception cref="HullException">The kernel has no such slots, or refuses one.</exception>
    internal KvmSlots(KvmFile vm, GuestMemory memory)
    {
        const ulong ShadowEnd = ShadowArea.Base + ShadowArea.Size;
        _vm = vm;
        _memory = memory;
        if (memory.Rom.Size > 0)
        {
            AddRam(0, ShadowArea.Base);
            for (ulong at = ShadowArea.Base; at < ShadowEnd; at += ShadowArea.Section)
            {
                AddRam(at, ShadowArea.Section);
            }

            AddRam(ShadowEnd, memory.LowSize - ShadowEnd);
            AddReadOnly(new GuestPhysical(memory.Rom.Base), memory.Rom.Size, memory.Rom.Host);
            memory.Shadow.Changed += ProtectShadow;
            ProtectShadow();
        }
        else
        {
            AddRam(0, memory.LowSize);
        }

        AddRam(GuestMemory.HighBase, memory.HighSize);
        memory.Spare.Placed += AddPlaced;
        memory.Spare.Removed += RemovePlaced;
        if (memory.Files.Size > 0)
        {
            // Files come and go behind it; the kernel follows the mapping.
            ulong files = (ulong)memory.Base + memory.Files.Offset;
            Add(new Slot((uint)_slots.Count, memory.Files.Base, memory.Files.Size, files, ulong.MaxValue, KvmMemoryFlags.None));
        }
    }

    // Spare pages that a personality puts where there is no RAM; another one may come to the same place.
    private void AddPlaced(ulong at, ulong offset)
    {
        lock (_lock)
        {
            ulong host = (ulong)_memory.Base + offset;
            if (!_placed.TryGetValue(at, out int index))
            {
                _placed[at] = _slots.Count;
                Add(new Slot((uint)_slots.Count, at, GuestMemory.PageSize, host, ulong.MaxValue, KvmMemoryFlags.None));
            }
            else if (_slots[index].HostAddress != host)
            {
                if (_slots[index].HostAddress != 0)
                {
                    Set(_slots[index] with { Size = 0 });
                }

                _slots[index] = _slots[index] with { HostAddress = host };
                Set(_slots[index]);
            }
        }
    }

    // The slot's number stays for another page at the same place.
    private void RemovePlaced(ulong at)
    {
        lock (_lock)
        {
            if (_placed.TryGetValue(at, out int index) && _slots[index].HostAddress != 0)
            {
                Set(_slots[index] with { Size = 0 });
                _slots[index] = _slots[index] with { HostAddress = 0 };
            }
        }
    }

    /// <summary>
    /// Maps memory that the guest reads at full speed and whose writes are MMIO (a ROM). The bytes stay where they are
    /// for the machine's life.
    /// </summary>
    /// <exception cref="HullException">The kernel has no such slots, or refuses this one.</exception>
    internal void AddReadOnly(GuestPhysical at, ulong size, byte* bytes)
    {
        if (_vm.Check(KvmCapability.ReadOnlyMemory) == 0)
        {
            throw new HullException("this kernel's KVM lacks KVM_CAP_READONLY_MEM: use --engine soft");
        }

        lock (_lock)
        {
            Add(new Slot((uint)_slots.Count, at.Value, size, (ulong)bytes, ulong.MaxValue, KvmMemoryFlags.ReadOnly));
        }
    }

    /// <summary>Starts or ends the log of written pages; it starts empty.</summary>
    internal void LogDirty(bool on)
    {
        lock (_lock)
        {
            _log = on ? KvmMemoryFlags.LogDirtyPages : KvmMemoryFlags.None;
            for (int i = 0; i < _slots.Count; i++)
            {
                if (_slots[i].IsRam)
                {
                    KvmMemoryFlags kept = _slots[i].Flags & ~KvmMemoryFlags.LogDirtyPages;
                    _slots[i] = _slots[i] with { Flags = kept | _log };
                    Set(_slots[i]);
                }
            }
        }
    }

    /// <summary>Fetches and clears the log: sets a bit for each page of RAM that vCPUs wrote since the last time.</summary>
    /// <param name="pages">A bit a page of RAM, by offset in <see cref="GuestMemory"/>.</param>
    internal void CollectDirty(Span<ulong> pages)
    {
        lock (_lock)
        {
            foreach (Slot slot in _slots)
            {
                if ((slot.Flags & KvmMemoryFlags.LogDirtyPages) != 0)
                {
                    Collect(slot, pages);
                }
            }
        }
    }

    /// <summary>The page of RAM at a page of a slot.</summary>
    /// <returns>False for memory that is no RAM.</returns>
    internal bool TryFindPage(uint slot, ulong page, out ulong ramPage)
    {
        lock (_lock)
        {
            Slot found = slot < _slots.Count ? _slots[(int)slot] : default;
            ramPage = (found.RamOffset / GuestMemory.PageSize) + page;
            return found.IsRam && page < found.Size / GuestMemory.PageSize;
        }
    }

    // The kernel does not turn a slot into a read-only one and back: it goes, and comes again. A vCPU that stores there
    // in between comes to the bus, as with a protected one. On the thread of the vCPU that wrote the chipset's registers.
    private void ProtectShadow()
    {
        lock (_lock)
        {
            for (int i = 0; i < _slots.Count; i++)
            {
                Slot slot = _slots[i];
                if (!slot.IsRam || slot.GuestPhysical - ShadowArea.Base >= ShadowArea.Size)
                {
                    continue;
                }

                bool isReadOnly = !_memory.TakesStores(slot.GuestPhysical);
                if (isReadOnly != ((slot.Flags & KvmMemoryFlags.ReadOnly) != 0))
                {
                    _slots[i] = slot with { Flags = _log | (isReadOnly ? KvmMemoryFlags.ReadOnly : KvmMemoryFlags.None) };
                    Set(slot with { Size = 0 });
                    Set(_slots[i]);
                }
            }
        }
    }

    private void Collect(Slot slot, Span<ulong> pages)
    {
        ulong count = slot.Size / GuestMemory.PageSize;
        ulong[] bits = new ulong[(count + 63) / 64];
        fixed (ulong* at = bits)
        {
            // SAFETY: the bitmap has a bit for each page of the slot, in whole words, as the kernel writes it.
            KvmDirtyLogRequest request = new() { Slot = slot.Number, Bitmap = (ulong)at };
            _vm.Call(KvmRequests.GetDirtyLog, ref request);
        }

        ulong first = slot.RamOffset / GuestMemory.PageSize;
        for (int word = 0; word < bits.Length; word++)
        {
            for (ulong rest = bits[word]; rest != 0; rest &= rest - 1)
            {
                SetBit(pages, first + ((ulong)word * 64) + (ulong)System.Numerics.BitOperations.TrailingZeroCount(rest));
            }
        }
    }

    /// <summary>Sets a page's bit.</summary>
    internal static void SetBit(Span<ulong> pages, ulong page) => pages[(int)(page / 64)] |= 1UL << (int)(page % 64);

    private void AddRam(ulong at, ulong size)
    {
        if (size > 0)
        {
            ulong offset = _memory.OffsetOf(at, size);
            Add(new Slot((uint)_slots.Count, at, size, (ulong)_memory.Base + offset, offset, _log));
        }
    }

    private void Add(Slot slot)
    {
        Set(slot);
        _slots.Add(slot);
    }

    private void Set(Slot slot)
    {
        KvmMemoryRegion region = new()
        {
            Slot = slot.Number,
            Flags = slot.Flags,
            GuestPhysical = slot.GuestPhysical,
            Size = slot.Size,
            HostAddress = slot.HostAddress,
        };
        _vm.Call(KvmRequests.SetUserMemoryRegion, ref region);
    }

    private readonly record struct Slot(
        uint Number, ulong GuestPhysical, ulong Size, ulong HostAddress, ulong RamOffset, KvmMemoryFlags Flags)
    {
        internal bool IsRam => Size != 0 && RamOffset != ulong.MaxValue;
    }
}
