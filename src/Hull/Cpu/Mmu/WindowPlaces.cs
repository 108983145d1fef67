using System;
using System.Threading;
using Hull.Cpu.State;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Which place of the arena stands for which region, and the table that generated code reads: what to add to an address of a region.
/// Regions without a window lead to the empty place.
/// </summary>
internal sealed unsafe class WindowPlaces(CpuState* cpu)
{
    private const int MostRegions = 12;
    private readonly ulong* _table = (ulong*)((byte*)cpu + StateLayout.WindowBase);
    private readonly bool[] _taken = new bool[WindowArena.Places];
    private WindowArena? _arena;

    /// <summary>There are places. Any thread.</summary>
    internal bool Exist => Volatile.Read(ref _arena) is not null;

    /// <summary>Takes the host's address space, if it was not taken yet.</summary>
    internal bool TryMake()
    {
        if (Exist)
        {
            return true;
        }

        WindowArena? arena = WindowArena.TryMake();
        if (arena is null)
        {
            return false;
        }

        _taken[0] = true;
        for (ulong region = 0; region < StateLayout.Regions; region++)
        {
            _table[region] = arena.Addend(0, region);
        }

        Volatile.Write(ref _arena, arena);
        return true;
    }

    /// <summary>Generated code reaches a space's windows from now on.</summary>
    internal void Show(WindowSpace space)
    {
        foreach ((ulong region, int place) in space.Regions)
        {
            _table[region] = _arena!.Addend(place, region);
        }
    }

    /// <summary>Generated code does not reach them any more.</summary>
    internal void Hide(WindowSpace space)
    {
        foreach ((ulong region, int _) in space.Regions)
        {
            _table[region] = _arena!.Addend(0, region);
        }
    }

    /// <summary>A region of a space, which generated code reaches now, gets a place.</summary>
    /// <returns>False when all are taken, or it has as many as it may have.</returns>
    internal bool TryOpen(WindowSpace space, ulong region)
    {
        int place = space.Regions.Count < MostRegions ? Array.IndexOf(_taken, false) : -1;
        if (place < 0)
        {
            return false;
        }

        _taken[place] = true;
        space.Regions.Add((region, place));
        _table[region] = _arena!.Addend(place, region);
        return true;
    }

    /// <summary>Nothing is mapped for a space any more, and its places are free. It is hidden.</summary>
    internal void Clear(WindowSpace space)
    {
        foreach ((ulong _, int place) in space.Regions)
        {
            _arena!.Clear(place);
            _taken[place] = false;
        }

        space.Regions.Clear();
    }

    /// <summary>A host address lies in the place that stands for regions without a window.</summary>
    internal bool IsNowhere(ulong host) => _arena is { } arena && arena.TryFind(host, out int place, out _) && place == 0;

    /// <summary>The linear address behind a host address in one of a space's windows.</summary>
    internal bool TryLinear(WindowSpace space, ulong host, out ulong linear)
    {
        linear = 0;
        if (!_arena!.TryFind(host, out int place, out ulong offset))
        {
            return false;
        }

        foreach ((ulong region, int known) in space.Regions)
        {
            if (known == place)
            {
                linear = (region << StateLayout.RegionBits) + offset;
                return true;
            }
        }

        return false;
    }

    /// <summary>The host address of a linear one in one of a space's windows.</summary>
    internal bool TryHost(WindowSpace space, ulong linear, out ulong host)
    {
        ulong region = linear >> StateLayout.RegionBits;
        int place = space.PlaceOf(region);
        host = place == 0 ? 0 : _arena!.Addend(place, region) + linear;
        return place != 0;
    }

    /// <summary>Gives the host's address space back.</summary>
    internal void Release() => _arena?.Dispose();
}
