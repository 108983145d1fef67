using System;

namespace Hull.Timeline;

/// <summary>
/// A binary heap of timers by deadline, in which every entry knows its place. Equal deadlines come out in the order in
/// which they were set. Not thread safe: its owner locks.
/// </summary>
internal sealed class TimerHeap
{
    private Entry[] _entries = new Entry[8];
    private int _reserved;
    private int _count;
    private ulong _sequence;

    /// <summary>The earliest deadline; long.MaxValue when no timer is armed.</summary>
    internal long FirstDeadlineNs => _count == 0 ? long.MaxValue : _entries[0].DeadlineNs;

    /// <summary>Makes room for one more timer, so that arming it never allocates.</summary>
    internal void Reserve()
    {
        if (++_reserved > _entries.Length)
        {
            Array.Resize(ref _entries, _entries.Length * 2);
        }
    }

    /// <summary>Adds the entry or moves it to a new deadline.</summary>
    internal void Set(Entry entry, long deadlineNs)
    {
        if (entry.Index < 0)
        {
            entry.Index = _count++;
            _entries[entry.Index] = entry;
        }

        entry.DeadlineNs = deadlineNs;
        entry.Sequence = _sequence++;
        Sink(Rise(entry));
    }

    /// <summary>Takes the entry out, if it is in.</summary>
    internal void Remove(Entry entry)
    {
        int hole = entry.Index;
        if (hole < 0)
        {
            return;
        }

        entry.Index = -1;
        Entry last = _entries[--_count];
        _entries[_count] = null!; // Beyond the count nothing is read; this lets the collector have it.
        if (last != entry)
        {
            Place(last, hole);
            Sink(Rise(last));
        }
    }

    /// <summary>Takes the earliest entry if its time has come.</summary>
    internal Entry? TakeDue(long nowNs)
    {
        if (FirstDeadlineNs > nowNs || _count == 0)
        {
            return null;
        }

        Entry first = _entries[0];
        Remove(first);
        return first;
    }

    private static bool Before(Entry a, Entry b) =>
        a.DeadlineNs < b.DeadlineNs || (a.DeadlineNs == b.DeadlineNs && a.Sequence < b.Sequence);

    private void Place(Entry entry, int index)
    {
        entry.Index = index;
        _entries[index] = entry;
    }

    private Entry Rise(Entry entry)
    {
        while (entry.Index > 0)
        {
            int parent = (entry.Index - 1) / 2;
            if (!Before(entry, _entries[parent]))
            {
                break;
            }

            int old = entry.Index;
            Place(_entries[parent], old);
            Place(entry, parent);
        }

        return entry;
    }

    private void Sink(Entry entry)
    {
        while (true)
        {
            int child = (entry.Index * 2) + 1;
            if (child >= _count)
            {
                return;
            }

            if (child + 1 < _count && Before(_entries[child + 1], _entries[child]))
            {
                child++;
            }

            if (!Before(_entries[child], entry))
            {
                return;
            }

            int old = entry.Index;
            Place(_entries[child], old);
            Place(entry, child);
        }
    }

    /// <summary>One timer's place in the heap.</summary>
    internal sealed class Entry(Action fired)
    {
        /// <summary>What happens at the deadline.</summary>
        internal Action Fired { get; } = fired;

        /// <summary>When, in nanoseconds of the machine's clock.</summary>
        internal long DeadlineNs { get; set; }

        /// <summary>Orders equal deadlines.</summary>
        internal ulong Sequence { get; set; }

        /// <summary>The place in the heap; -1 when not armed.</summary>
        internal int Index { get; set; } = -1;
    }
}
