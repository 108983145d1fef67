using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Memory;
using Hull.Xen.Grants;

namespace Hull.Xen.Block;

/// <summary>
/// The pages that requests of one ring name. With persistent grants the front end names the same ones again and again: the first use
/// takes such a page into use, as its entry says, until it was not named for a minute or the ring goes. What is beyond the limit, or
/// granted only for reading, is looked up at each use, as without. Any thread. Xen, public/io/blkif.h, "feature-persistent".
/// </summary>
internal sealed class BlockGrants(GrantTable grants, bool arePersistent, TimeProvider time) : IDisposable
{
    /// <summary>The most pages that are held: a ring of 32 requests of 32 pages with a page each that lists them.</summary>
    internal const int Most = 1056;

    private static readonly TimeSpan Unused = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(10);

    private readonly Lock _lock = new();
    private readonly Dictionary<uint, Held> _held = [];
    private long _lookedAt = time.GetTimestamp();

    /// <summary>Pages that are held.</summary>
    internal int Count
    {
        get
        {
            lock (_lock)
            {
                return _held.Count;
            }
        }
    }

    /// <summary>A page that a request names.</summary>
    /// <returns>False when it is not granted so, or is no RAM.</returns>
    internal bool TryFind(uint reference, bool isWrite, out GuestPhysical page)
    {
        if (!arePersistent)
        {
            return grants.TryFind(reference, isWrite, out page);
        }

        lock (_lock)
        {
            long now = time.GetTimestamp();
            if (_held.TryGetValue(reference, out Held? held))
            {
                held.UsedAt = now;
                page = held.Page;
                return true;
            }

            if (time.GetElapsedTime(_lookedAt, now) >= BetweenLooks)
            {
                EndUnused(now);
            }

            if (_held.Count < Most && grants.TryBegin(reference, isWrite: true, out page))
            {
                _held.Add(reference, new Held(page) { UsedAt = now });
                return true;
            }
        }

        return grants.TryFind(reference, isWrite, out page);
    }

    /// <summary>Gives all pages back.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            foreach (uint reference in _held.Keys)
            {
                grants.End(reference);
            }

            _held.Clear();
        }
    }

    // One that a request still uses cannot be among them: its front end hears nothing before, and does not look at it.
    private void EndUnused(long now)
    {
        _lookedAt = now;
        foreach ((uint reference, Held held) in _held)
        {
            if (time.GetElapsedTime(held.UsedAt, now) >= Unused)
            {
                grants.End(reference);
                _held.Remove(reference); // allowed while it is walked
            }
        }
    }

    private sealed class Held(GuestPhysical page)
    {
        internal GuestPhysical Page { get; } = page;

        internal long UsedAt { get; set; }
    }
}
