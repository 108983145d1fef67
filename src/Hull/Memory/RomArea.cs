using System;

namespace Hull.Memory;

/// <summary>The ROM that ends at 4 GiB: behind RAM in the mapping, seen by processors only; empty without firmware.</summary>
internal sealed unsafe class RomArea
{
    private readonly byte* _host;
    private readonly PageTracker _pages;

    /// <summary>Makes the area, all zero.</summary>
    /// <param name="size">Bytes.</param>
    /// <param name="offset">Where the area is in the guest's mapping.</param>
    /// <param name="mapping">The guest's mapping.</param>
    /// <param name="pages">What is known of each page of the mapping.</param>
    internal RomArea(ulong size, ulong offset, byte* mapping, PageTracker pages)
    {
        Size = size;
        Offset = offset;
        _host = mapping + offset;
        _pages = pages;
    }

    /// <summary>Bytes; 0 when there is none.</summary>
    internal ulong Size { get; }

    /// <summary>Where it starts, guest-physical.</summary>
    internal ulong Base => GuestMemory.HighBase - Size;

    /// <summary>Where it starts in the guest's mapping.</summary>
    internal ulong Offset { get; }

    /// <summary>The first byte, for engines only.</summary>
    internal byte* Host => _host;

    /// <summary>True when a guest-physical address is in it.</summary>
    internal bool Contains(ulong at) => at - Base < Size;

    /// <summary>The host address of the page that holds a guest-physical address; null when that is not in the ROM.</summary>
    internal byte* HostPage(ulong at)
    {
        ulong offset = (at & ~0xFFFUL) - Base;
        return offset < Size ? _host + offset : null;
    }

    /// <summary>Puts bytes into it; for whoever fills it or, in a flash chip, changes it.</summary>
    internal void Write(ulong offset, ReadOnlySpan<byte> source)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)source.Length, Size - offset);

        // SAFETY: [offset, offset + length) was just checked to lie inside the ROM, a part of the mapping.
        source.CopyTo(new Span<byte>(_host + offset, source.Length));
        _pages.Written(Offset + offset, (ulong)source.Length);
    }

    /// <summary>Copies bytes of it out.</summary>
    internal void Read(ulong offset, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)destination.Length, Size - offset);

        // SAFETY: [offset, offset + length) was just checked to lie inside the ROM, a part of the mapping.
        new ReadOnlySpan<byte>(_host + offset, destination.Length).CopyTo(destination);
    }
}
