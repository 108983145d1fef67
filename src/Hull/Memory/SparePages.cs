using System;
using System.Threading;

namespace Hull.Memory;

/// <summary>
/// Pages beyond RAM in the mapping, which are nowhere until they are placed: those that a hypervisor shares with its guest.
/// Who places and removes takes turns; vCPUs may run.
/// </summary>
internal sealed class SparePages
{
    private readonly GuestMemory _memory;
    private readonly ulong _offset;
    private readonly ulong _size;
    private PlacedPages _placed = PlacedPages.None;

    /// <summary>Makes the pages.</summary>
    /// <param name="memory">The memory that they are part of.</param>
    /// <param name="count">How many.</param>
    /// <param name="offset">Where they start in the guest's mapping.</param>
    internal SparePages(GuestMemory memory, int count, ulong offset)
    {
        _memory = memory;
        _offset = offset;
        _size = (ulong)count * GuestMemory.PageSize;
    }

    /// <summary>A page was placed: its guest-physical address, and its offset in the mapping.</summary>
    internal event Action<ulong, ulong>? Placed;

    /// <summary>A page was taken away from a guest-physical address: translations of it are no longer true.</summary>
    internal event Action<ulong>? Removed;

    /// <summary>Puts a page at a guest-physical page where there is no RAM.</summary>
    /// <returns>False where there is RAM, or when too many pages were placed.</returns>
    internal bool TryPlace(ulong at, int page)
    {
        ulong inArea = (ulong)page * GuestMemory.PageSize;
        if (inArea >= _size || at % GuestMemory.PageSize != 0 || _memory.IsRam(at) || _memory.Files.Contains(at)
            || _placed.With(at, _offset + inArea) is not PlacedPages more)
        {
            return false;
        }

        Volatile.Write(ref _placed, more);
        Placed?.Invoke(at, _offset + inArea);
        return true;
    }

    /// <summary>Takes a page away from where it is; what it holds stays in it.</summary>
    /// <returns>False when there is none.</returns>
    internal bool TryRemove(ulong at)
    {
        if (_placed.Without(at) is not PlacedPages less)
        {
            return false;
        }

        Volatile.Write(ref _placed, less);
        Removed?.Invoke(at);
        return true;
    }

    /// <summary>The offset in the mapping of a range inside one placed page, or ulong.MaxValue.</summary>
    internal ulong OffsetOf(ulong at, ulong length) => Volatile.Read(ref _placed).OffsetOf(at, length);

    /// <summary>Where a byte of a page is, or ulong.MaxValue.</summary>
    internal ulong PhysicalOf(ulong offset) => Volatile.Read(ref _placed).PhysicalOf(offset);
}
