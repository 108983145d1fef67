using System;
using Hull.Kvm.Abi;
using Hull.Memory;

namespace Hull.Kvm;

/// <summary>
/// A vCPU's page tables as level 0 sees them, for what a hypercall points to: KVM_TRANSLATE tells neither rights nor whether
/// the page may be written. Sets accessed and dirty bits, as the processor does. SDM vol. 3A, "Paging".
/// </summary>
internal readonly ref struct KvmPageWalk
{
    private const ulong Paging = 1UL << 31;
    private const ulong WriteProtect = 1UL << 16;
    private const ulong PageSizeExtension = 1UL << 4;
    private const ulong PhysicalAddressExtension = 1UL << 5;
    private const ulong FiveLevels = 1UL << 12;
    private const ulong SupervisorAccessPrevention = 1UL << 21;
    private const ulong LongModeActive = 1UL << 10;
    private const ulong AlignmentCheckFlag = 1UL << 18;
    private const ulong Present = 1;
    private const ulong Writable = 2;
    private const ulong User = 4;
    private const uint Accessed = 0x20;
    private const uint Dirty = 0x40;
    private const ulong Large = 0x80;
    private const ulong FrameMask = 0x000F_FFFF_FFFF_F000;

    private readonly GuestMemory _memory;
    private readonly KvmSregs _registers;
    private readonly bool _mayTouchUserPages;

    /// <summary>Prepares for the state that a vCPU is in.</summary>
    /// <param name="memory">RAM.</param>
    /// <param name="registers">The special registers.</param>
    /// <param name="rflags">RFLAGS: with AC set, level 0 may touch pages of level 3 in spite of SMAP.</param>
    internal KvmPageWalk(GuestMemory memory, in KvmSregs registers, ulong rflags)
    {
        _memory = memory;
        _registers = registers;
        _mayTouchUserPages = (registers.Cr4 & SupervisorAccessPrevention) == 0 || (rflags & AlignmentCheckFlag) != 0;
    }

    /// <summary>Finds the page of an address, for an access at level 0.</summary>
    /// <returns>False when it is not there or not allowed.</returns>
    internal bool TryTranslate(ulong linear, bool isStore, out GuestPhysical at)
    {
        bool isLong = (_registers.Efer & LongModeActive) != 0;
        linear = isLong ? linear : (uint)linear;
        if ((_registers.Cr0 & Paging) == 0)
        {
            at = new GuestPhysical(linear);
            return true;
        }

        if ((_registers.Cr4 & PhysicalAddressExtension) == 0)
        {
            return TryWalk(linear, isStore, new Tables(_registers.Cr3 & 0xFFFF_F000, 2, 10, 4), out at);
        }

        if (!isLong)
        {
            // The four entries of the top have no rights and no accessed bit.
            ulong top = _memory.Read<ulong>(new GuestPhysical((_registers.Cr3 & 0xFFFF_FFE0) + ((linear >> 30) * 8)));
            at = default;
            return (top & Present) != 0 && TryWalk(linear, isStore, new Tables(top & FrameMask, 2, 9, 8), out at);
        }

        int levels = (_registers.Cr4 & FiveLevels) != 0 ? 5 : 4;
        int unused = 64 - 12 - (9 * levels);
        at = default;
        return (ulong)((long)(linear << unused) >> unused) == linear
            && TryWalk(linear, isStore, new Tables(_registers.Cr3 & FrameMask, levels, 9, 8), out at);
    }

    private bool TryWalk(ulong linear, bool isStore, Tables tables, out GuestPhysical at)
    {
        Span<ulong> places = stackalloc ulong[5];
        ulong table = tables.Root;
        ulong rights = Writable | User;
        at = default;
        for (int level = tables.Levels - 1; ; level--)
        {
            int shift = 12 + (level * tables.IndexBits);
            ulong place = table + (((linear >> shift) & ((1UL << tables.IndexBits) - 1)) * (ulong)tables.EntryBytes);
            ulong entry = tables.EntryBytes == 8
                ? _memory.Read<ulong>(new GuestPhysical(place))
                : _memory.Read<uint>(new GuestPhysical(place));
            if ((entry & Present) == 0)
            {
                return false;
            }

            places[level] = place;
            rights &= entry;
            bool isLeaf = level == 0 || (level <= 2 && (entry & Large) != 0 && TakesLargePages(tables));
            if (isLeaf)
            {
                if (!IsAllowed(rights, isStore))
                {
                    return false;
                }

                Mark(places[level..tables.Levels], isStore);
                ulong inPage = (1UL << shift) - 1;
                at = new GuestPhysical((FrameOf(entry, level, tables) & ~inPage) | (linear & inPage));
                return true;
            }

            table = entry & FrameMask;
        }
    }

    private bool TakesLargePages(Tables tables) => tables.EntryBytes == 8 || (_registers.Cr4 & PageSizeExtension) != 0;

    // A page of 4 MiB has bits 39:32 of its address in bits 20:13 of the entry.
    private static ulong FrameOf(ulong entry, int level, Tables tables) =>
        tables.EntryBytes == 4 && level == 1 ? (entry & 0xFFC0_0000) | ((entry & 0x1F_E000) << 19) : entry & FrameMask;

    private bool IsAllowed(ulong rights, bool isStore) =>
        ((rights & User) == 0 || _mayTouchUserPages)
        && (!isStore || (rights & Writable) != 0 || (_registers.Cr0 & WriteProtect) == 0);

    // The first place is the leaf's. An entry that changes meanwhile is the guest's own race, and is left alone.
    private void Mark(ReadOnlySpan<ulong> places, bool isStore)
    {
        for (int i = 0; i < places.Length; i++)
        {
            GuestPhysical place = new(places[i]);
            uint before = _memory.Read<uint>(place);
            uint after = before | Accessed | (i == 0 && isStore ? Dirty : 0);
            if (after != before)
            {
                _memory.CompareExchange(place, after, before);
            }
        }
    }

    /// <summary>The shape of a tree of tables.</summary>
    private readonly record struct Tables(ulong Root, int Levels, int IndexBits, int EntryBytes);
}
