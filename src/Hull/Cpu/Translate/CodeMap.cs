using System;
using System.Numerics;
using Hull.Host;
using Hull.Memory;

namespace Hull.Cpu.Translate;

/// <summary>
/// Which blocks were made from which bytes of RAM: a list of blocks for each grain of 64 bytes. A grain is marked in
/// <see cref="PageTracker.CodeGrains"/> exactly while its list is not empty, or the translator reads it. Under the code
/// lock.
/// </summary>
internal sealed unsafe class CodeMap : IDisposable
{
    private const int GrainBits = 6;
    private readonly GuestMemory _ram;
    private readonly NativeList<Block> _blocks;

    // Item 0 ends lists.
    private readonly NativeList<Place> _places = new(4 << 20);
    private readonly nuint _firstBytes;
    private readonly int* _first;
    private int _free;

    internal CodeMap(GuestMemory ram, NativeList<Block> blocks)
    {
        _ram = ram;
        _blocks = blocks;
        _firstBytes = (nuint)(ram.MappedSize >> GrainBits) * sizeof(int);
        _first = (int*)Libc.MapOrThrow(
            _firstBytes,
            Libc.ProtRead | Libc.ProtWrite,
            Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve,
            -1,
            "the engine's tables");
        _places.Add(default);
    }

    /// <summary>True when the next block may not fit.</summary>
    internal bool IsNearlyFull => _places.Count > _places.Capacity - 64;

    /// <summary>The mask of 64-byte grains that [from, to) of a page touches.</summary>
    internal static ulong GrainMask(uint from, uint to)
    {
        int first = (int)(from >> GrainBits);
        int count = (int)((to - 1) >> GrainBits) - first + 1;
        return (count == 64 ? ulong.MaxValue : (1UL << count) - 1) << first;
    }

    /// <summary>Enters a block's bytes.</summary>
    internal void Add(int index)
    {
        Parts parts = PartsOf(_blocks[index]);
        for (ulong grain = parts.First >> GrainBits; grain << GrainBits < parts.FirstEnd; grain++)
        {
            Add(grain, index);
        }

        for (ulong grain = parts.Second >> GrainBits; grain << GrainBits < parts.SecondEnd; grain++)
        {
            Add(grain, index);
        }
    }

    /// <summary>Forgets a block's bytes.</summary>
    internal void Remove(int index)
    {
        Parts parts = PartsOf(_blocks[index]);
        for (ulong grain = parts.First >> GrainBits; grain << GrainBits < parts.FirstEnd; grain++)
        {
            Remove(grain, index);
        }

        for (ulong grain = parts.Second >> GrainBits; grain << GrainBits < parts.SecondEnd; grain++)
        {
            Remove(grain, index);
        }
    }

    /// <summary>A block that was made from bytes of [from, to) of RAM; -1 when there is none.</summary>
    /// <param name="from">Offset in RAM.</param>
    /// <param name="to">Offset behind the last byte.</param>
    /// <param name="grain">Where to look on: at first that of <paramref name="from"/>.</param>
    internal int FindFrom(ulong from, ulong to, ref ulong grain)
    {
        while (grain << GrainBits < to)
        {
            ref ulong marks = ref _ram.Pages.CodeGrains(grain >> 6);
            ulong rest = marks >> (int)(grain & 63);
            if ((rest & 1) == 0)
            {
                grain = rest == 0 ? (grain | 63) + 1 : grain + (ulong)BitOperations.TrailingZeroCount(rest);
                continue;
            }

            for (int at = _first[grain]; at != 0; at = _places[at].Next)
            {
                int index = _places[at].Block;
                if (PartsOf(_blocks[index]).Meets(from, to))
                {
                    return index;
                }
            }

            if (_first[grain] == 0)
            {
                marks &= ~(1UL << (int)(grain & 63));
            }

            grain++;
        }

        return -1;
    }

    /// <summary>The grain of a byte of RAM.</summary>
    internal static ulong GrainOf(ulong offset) => offset >> GrainBits;

    /// <summary>Forgets all.</summary>
    internal void Clear()
    {
        for (int i = 0; i < _blocks.Count; i++)
        {
            if (_blocks[i].Valid)
            {
                Remove(i);
            }
        }

        _places.Clear();
        _places.Add(default);
        _free = 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _places.Dispose();
        _ = Libc.Munmap(_first, _firstBytes);
    }

    private void Add(ulong grain, int index)
    {
        int at = _free;
        if (at == 0)
        {
            at = _places.Add(default);
        }
        else
        {
            _free = _places[at].Next;
        }

        // SAFETY: PartsOf gives offsets in RAM, and the table has an item for each grain of it.
        _places[at] = new Place { Block = index, Next = _first[grain] };
        _first[grain] = at;
        _ram.Pages.CodeGrains(grain >> 6) |= 1UL << (int)(grain & 63);
    }

    private void Remove(ulong grain, int index)
    {
        // SAFETY: as in Add.
        ref int link = ref _first[grain];
        while (link != 0)
        {
            int at = link;
            ref Place place = ref _places[at];
            if (place.Block == index)
            {
                link = place.Next;
                place.Next = _free;
                _free = at;
                break;
            }

            link = ref place.Next;
        }

        if (_first[grain] == 0)
        {
            _ram.Pages.CodeGrains(grain >> 6) &= ~(1UL << (int)(grain & 63));
        }
    }

    // Where a block's bytes are in RAM; what is not RAM cannot change.
    private Parts PartsOf(in Block block)
    {
        uint start = (uint)(block.Key.Physical & 0xFFF);
        uint inFirst = Math.Min(block.GuestLength, GuestMemory.PageSize - start);
        Parts parts = default;
        ulong first = _ram.OffsetOf(block.Key.Physical, 1);
        if (first != ulong.MaxValue)
        {
            parts.First = first;
            parts.FirstEnd = first + inFirst;
        }

        ulong second = block.SecondPage == ulong.MaxValue ? ulong.MaxValue : _ram.OffsetOf(block.SecondPage, 1);
        if (second != ulong.MaxValue)
        {
            parts.Second = second;
            parts.SecondEnd = second + (block.GuestLength - inFirst);
        }

        return parts;
    }

    /// <summary>An item of a grain's list.</summary>
    private struct Place
    {
        internal int Block;
        internal int Next;
    }

    private struct Parts
    {
        internal ulong First;
        internal ulong FirstEnd;
        internal ulong Second;
        internal ulong SecondEnd;

        internal readonly bool Meets(ulong from, ulong to) =>
            (First < to && from < FirstEnd) || (Second < to && from < SecondEnd);
    }
}
