using System;
using System.Collections;
using System.Collections.Generic;
using Hull.Memory;

namespace Hull.Xen;

/// <summary>
/// Which of its pages a domain has. It may give pages back, and the host gets their memory; later it may take them again, empty.
/// Under the domain's lock. Xen, public/memory.h, "XENMEM_decrease_reservation".
/// </summary>
// QUIRK: RAM lies where it lies. A page that was given back reads as zeros, where Xen has all ones, and what is written there stays
// until it is taken again. Nothing can be taken at other frames. Pages without a place, which Xen gives out too, are counted only.
internal sealed class Reservation(GuestMemory memory)
{
    // The guest's frame of the first page above 4 GiB.
    private const ulong HighFrame = GuestMemory.HighBase / GuestMemory.PageSize;

    private readonly ulong _lowCount = memory.LowSize / GuestMemory.PageSize;

    // What Xen's toolstack lets a domain have beyond its RAM, in pages.
    private const ulong Slack = 256;

    private readonly ulong _count = memory.Size / GuestMemory.PageSize;
    private readonly HashSet<int> _covered = [];

    // Bits of pages in the order of RAM, the high ones behind the low; none before the first page is given back.
    private BitArray? _gone;
    private ulong _goneCount;
    private ulong _placeless;

    /// <summary>The most pages that it may have.</summary>
    internal ulong Maximum => _count + Slack;

    /// <summary>Pages that it has.</summary>
    internal ulong Current => _count - _goneCount + _placeless;

    /// <summary>The highest frame where something is: RAM, or a ring below 4 GiB.</summary>
    internal ulong LastFrame => Math.Max(
        _count > _lowCount ? HighFrame + (_count - _lowCount) - 1 : _lowCount - 1, SpecialPages.ConsoleFrame);

    /// <summary>True when there is a page of memory at a frame: RAM that was not given back, or one that was placed there.</summary>
    internal bool Has(ulong frame) => TryIndex(frame, out int index)
        ? _gone is null || !_gone[index] || _covered.Contains(index)
        : frame <= ulong.MaxValue / GuestMemory.PageSize
            && memory.Contains(new GuestPhysical(frame * GuestMemory.PageSize), GuestMemory.PageSize);

    /// <summary>Nothing is at a frame any more. A page of RAM counts on all the same, and cannot be had again.</summary>
    /// <returns>False when nothing is there.</returns>
    internal bool TryUnhook(ulong frame)
    {
        bool isRam = TryIndex(frame, out int index) && !_covered.Contains(index);
        bool done = TryRelease(frame);
        _placeless += done && isRam ? 1u : 0;
        return done;
    }

    /// <summary>The page is given back.</summary>
    /// <returns>False when there is none that could be.</returns>
    internal bool TryRelease(ulong frame)
    {
        if (!TryIndex(frame, out int index) || !Has(frame))
        {
            return false;
        }

        if (!_covered.Remove(index))
        {
            MarkGone(index);
        }

        memory.TryDiscard(new GuestPhysical(frame * GuestMemory.PageSize), GuestMemory.PageSize);
        return true;
    }

    /// <summary>A page is there again, with zeros; one that is there already is replaced, and counts on.</summary>
    /// <returns>False where no RAM can be, or when the domain has all that it may have.</returns>
    internal bool TryPopulate(ulong frame)
    {
        if (!TryIndex(frame, out int index) || !TryAdd())
        {
            return false;
        }

        _covered.Remove(index);
        if (_gone is not null && _gone[index])
        {
            _gone[index] = false;
            _goneCount--;
            _placeless--;
        }

        return memory.TryClear(new GuestPhysical(frame * GuestMemory.PageSize), GuestMemory.PageSize);
    }

    /// <summary>One more page, which is nowhere.</summary>
    /// <returns>False when the domain has all that it may have.</returns>
    internal bool TryAdd()
    {
        bool isFree = Current < Maximum;
        _placeless += isFree ? 1u : 0;
        return isFree;
    }

    /// <summary>A page of Xen's own lies over the frame: the RAM there is gone.</summary>
    internal void Cover(ulong frame)
    {
        if (TryIndex(frame, out int index) && _covered.Add(index) && (_gone is null || !_gone[index]))
        {
            MarkGone(index);
        }
    }

    private void MarkGone(int index)
    {
        _gone ??= new BitArray((int)_count);
        _gone[index] = true;
        _goneCount++;
    }

    private bool TryIndex(ulong frame, out int index)
    {
        ulong position = frame < _lowCount ? frame : frame >= HighFrame ? frame - HighFrame + _lowCount : ulong.MaxValue;
        index = position < _count ? (int)position : -1;
        return index >= 0;
    }
}
