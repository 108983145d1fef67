using System;

namespace Hull.Memory;

/// <summary>
/// Where the spare pages of guest memory are: a small table that never changes; another replaces it. The last entry counts
/// for a page, so one that was placed anew is where it was put last.
/// </summary>
internal sealed class PlacedPages
{
    /// <summary>No page is placed.</summary>
    internal static readonly PlacedPages None = new([], []);

    // A guest that places pages without end gets an error.
    private const int Limit = 512;

    private readonly ulong[] _addresses;
    private readonly ulong[] _offsets;

    private PlacedPages(ulong[] addresses, ulong[] offsets)
    {
        _addresses = addresses;
        _offsets = offsets;
    }

    /// <summary>The offset in the mapping of a range inside one placed page, or ulong.MaxValue.</summary>
    internal ulong OffsetOf(ulong at, ulong length)
    {
        ulong inPage = at & (GuestMemory.PageSize - 1);
        int index = _addresses.Length == 0 || length > GuestMemory.PageSize - inPage
            ? -1
            : Array.LastIndexOf(_addresses, at - inPage);
        return index < 0 ? ulong.MaxValue : _offsets[index] + inPage;
    }

    /// <summary>Where a byte of a spare page is, or ulong.MaxValue.</summary>
    internal ulong PhysicalOf(ulong offset)
    {
        ulong inPage = offset & (GuestMemory.PageSize - 1);
        int index = Array.LastIndexOf(_offsets, offset - inPage);
        return index < 0 ? ulong.MaxValue : _addresses[index] + inPage;
    }

    /// <summary>This table with one more entry.</summary>
    /// <returns>Null when there are too many.</returns>
    internal PlacedPages? With(ulong at, ulong offset)
    {
        int index = Array.LastIndexOf(_addresses, at);
        if (index >= 0)
        {
            ulong[] offsets = [.. _offsets];
            offsets[index] = offset;
            return new PlacedPages(_addresses, offsets);
        }

        return _addresses.Length >= Limit ? null : new PlacedPages([.. _addresses, at], [.. _offsets, offset]);
    }

    /// <summary>This table without a page's entry.</summary>
    /// <returns>Null when it has none.</returns>
    internal PlacedPages? Without(ulong at)
    {
        int index = Array.LastIndexOf(_addresses, at);
        return index < 0
            ? null
            : new PlacedPages(
                [.. _addresses[..index], .. _addresses[(index + 1)..]], [.. _offsets[..index], .. _offsets[(index + 1)..]]);
    }
}
