using System.Threading;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Reads 4-level page tables as a user's access would, and changes nothing: an accessed bit that is clear is as good as no
/// translation. The last table of entries for 4 KiB is kept, because neighbours are asked for. SDM vol. 3A, "4-Level Paging".
/// </summary>
internal unsafe struct UserPeek
{
    private const ulong Used = PageEntry.Present | PageEntry.Accessed;
    private const ulong NoTable = ulong.MaxValue;
    private readonly GuestMemory _memory;
    private readonly ulong _root;
    private readonly ulong _addressMask;
    private readonly ulong _reserved;
    private ulong _tableOf;
    private ulong* _table;
    private ulong _tableRights;

    /// <param name="memory">Where the tables are.</param>
    /// <param name="root">The physical address of the first one.</param>
    /// <param name="physicalBits">MAXPHYADDR.</param>
    /// <param name="noExecute">EFER.NXE: bit 63 has a meaning.</param>
    internal UserPeek(GuestMemory memory, ulong root, int physicalBits, bool noExecute)
    {
        _memory = memory;
        _root = root;
        _addressMask = ((1UL << physicalBits) - 1) & ~0xFFFUL;
        _reserved = (0x000F_FFFF_FFFF_F000 & ~_addressMask) | (noExecute ? 0 : PageEntry.NoExecute);
        _tableOf = NoTable;
    }

    /// <summary>Translates a page.</summary>
    /// <param name="linear">An address of the lower half.</param>
    /// <param name="physical">The page's guest-physical address.</param>
    /// <param name="writable">A store needs nothing more: it is allowed, and the page is dirty.</param>
    /// <returns>False when a user's load would have to walk, to fault, or to set a bit.</returns>
    internal bool TryTranslate(ulong linear, out ulong physical, out bool writable)
    {
        physical = 0;
        writable = false;
        if (linear >> 21 != _tableOf)
        {
            ulong table = _root;
            ulong rights = PageEntry.Write | PageEntry.User;
            for (int shift = 39; shift > 12; shift -= 9)
            {
                ulong entry = PageEntry.Read(_memory, table + (((linear >> shift) & 0x1FF) * 8), out ulong* at);
                if (at == null || (entry & Used) != Used || (entry & _reserved) != 0)
                {
                    return false;
                }

                rights &= entry;
                if ((entry & PageEntry.Large) != 0)
                {
                    // Of 1 GiB nothing is kept: not all CPUs have such pages.
                    return shift == 21 && Leaf(entry, rights, shift, linear, out physical, out writable);
                }

                table = entry & _addressMask;
            }

            _table = (ulong*)_memory.HostPage(table);
            _tableOf = _table == null ? NoTable : linear >> 21;
            _tableRights = rights;
            if (_table == null)
            {
                return false;
            }
        }

        ulong leaf = Volatile.Read(ref _table[(linear >> 12) & 0x1FF]);
        return (leaf & _reserved) == 0 && Leaf(leaf, leaf & _tableRights, 12, linear, out physical, out writable);
    }

    private readonly bool Leaf(ulong leaf, ulong rights, int shift, ulong linear, out ulong physical, out bool writable)
    {
        ulong within = (1UL << shift) - 1;
        physical = (leaf & _addressMask & ~within) | (linear & within & ~0xFFFUL);
        writable = (rights & PageEntry.Write) != 0 && (leaf & PageEntry.Dirty) != 0;
        return (leaf & Used) == Used && (rights & PageEntry.User) != 0
            && (shift == 12 || (leaf & within & ~0x1FFFUL) == 0);
    }
}
