using System;
using System.Collections.Generic;

namespace Hull.Cpu.Mmu;

/// <summary>
/// The windows of one address space: which regions have a place, the pages mapped there, and what they may still cost. A program that
/// forks, or maps memory and gives it back all the time, is better served by checks: its windows are closed for a while.
/// </summary>
internal sealed class WindowSpace(ulong root)
{
    /// <summary>What a fault costs, in microseconds; a page that it brings; and one that is closed, or is not stored to any more.</summary>
    internal const int FaultCost = 8;

    /// <summary>See <see cref="FaultCost"/>.</summary>
    internal const int PageCost = 1;

    /// <summary>See <see cref="FaultCost"/>.</summary>
    internal const int ChangeCost = 2;

    /// <summary>So many looks into the guest's tables cost one microsecond.</summary>
    internal const int LooksForOne = 64;

    // What windows may cost: at first, for each tick of the guest's timer (some 4 ms), and saved up. And ticks of rest.
    private const int FirstCredit = 8_000;
    private const int CreditATick = 400;
    private const int MostCredit = 20_000;
    private const int RestTicks = 50;
    private const int MostDoublings = 6;
    private int _credit = FirstCredit;
    private int _rest;
    private int _closings;

    /// <summary>The physical address of its page tables.</summary>
    internal ulong Root { get; } = root;

    /// <summary>Its regions, each with its place in the arena.</summary>
    internal List<(ulong Region, int Place)> Regions { get; } = [];

    /// <summary>The numbers of its pages in <see cref="WindowPages"/>.</summary>
    internal List<int> Pages { get; } = [];

    /// <summary>Pages that were mapped since its places were empty.</summary>
    internal int Mappings { get; set; }

    /// <summary>Translations may have changed since it was current.</summary>
    internal bool IsStale { get; set; }

    /// <summary>Its accesses are checked for a while.</summary>
    internal bool IsClosed { get; private set; }

    /// <summary>It has cost more than it may.</summary>
    internal bool IsTired => _credit < 0;

    /// <summary>The place of a region; 0 when it has none.</summary>
    internal int PlaceOf(ulong region)
    {
        foreach ((ulong known, int place) in Regions)
        {
            if (known == region)
            {
                return place;
            }
        }

        return 0;
    }

    /// <summary>Notes what something has cost, in microseconds.</summary>
    internal void Charge(int cost) => _credit -= cost;

    /// <summary>It has run for a tick.</summary>
    /// <returns>True when it is closed, and has rested.</returns>
    internal bool Tick()
    {
        _credit = Math.Min(_credit + CreditATick, MostCredit);
        return IsClosed && --_rest <= 0;
    }

    /// <summary>Its windows may be filled.</summary>
    internal void Open()
    {
        IsClosed = false;
        _credit = FirstCredit;
    }

    /// <summary>It rests, each time twice as long.</summary>
    internal void Close()
    {
        IsClosed = true;
        _rest = RestTicks << Math.Min(_closings++, MostDoublings);
    }
}
