using System;
using Hull.Memory;

namespace Hull.Xen.PvDevices;

/// <summary>
/// A ring of requests and responses in pages that the guest has granted; responses take the places of requests that were
/// taken. Under its owner's lock. Xen, public/io/ring.h.
/// </summary>
internal sealed class SharedRing
{
    private const int HeaderSize = 64;
    private const int RequestProducer = 0;
    private const int RequestEvent = 4;
    private const int ResponseProducer = 8;
    private const int ResponseEvent = 12;

    private readonly GuestMemory _memory;
    private readonly GuestPhysical[] _pages;
    private readonly int _entrySize;
    private readonly uint _entries;
    private uint _taken;
    private uint _answered;
    private uint _published;

    /// <summary>Makes the back end's view of a ring.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="pages">The ring's pages in order; a power of two of them.</param>
    /// <param name="entrySize">Bytes of an entry, the larger of request and response.</param>
    internal SharedRing(GuestMemory memory, GuestPhysical[] pages, int entrySize)
    {
        _memory = memory;
        _pages = pages;
        _entrySize = entrySize;
        int room = ((pages.Length * GuestMemory.PageSize) - HeaderSize) / entrySize;
        _entries = 1u << System.Numerics.BitOperations.Log2((uint)room);
        _taken = _answered = _published = Load(ResponseProducer);
    }

    /// <summary>The guest has claimed more requests than there are places: nothing of the ring is believed any more.</summary>
    internal bool IsBroken { get; private set; }

    /// <summary>What the guest has put there makes no sense: it is left as it is.</summary>
    internal void Break() => IsBroken = true;

    /// <summary>Looks whether so many requests wait.</summary>
    /// <returns>False: the guest then notifies with the last of them.</returns>
    internal bool Holds(int count)
    {
        if (CountWaiting() < count)
        {
            Store(RequestEvent, _taken + (uint)count);
            System.Threading.Interlocked.MemoryBarrier();
        }

        return CountWaiting() >= count;
    }

    /// <summary>Takes one request.</summary>
    /// <returns>False when there is none; the guest then notifies with the next.</returns>
    internal bool TryTake(Span<byte> entry)
    {
        // What comes between a look and the wish to be told would not notify, so there is a second look.
        if (!Holds(1))
        {
            return false;
        }

        Copy(HeaderSize + ((int)(_taken % _entries) * _entrySize), entry);
        _taken++;
        return true;
    }

    /// <summary>Answers one request.</summary>
    /// <returns>True when the guest is to be notified.</returns>
    internal bool Answer(ReadOnlySpan<byte> response)
    {
        Stage(response);
        return Publish();
    }

    /// <summary>Writes an answer that the guest does not see before <see cref="Publish"/>.</summary>
    internal void Stage(ReadOnlySpan<byte> response)
    {
        int at = HeaderSize + ((int)(_answered % _entries) * _entrySize);
        while (response.Length > 0)
        {
            int step = Math.Min(response.Length, GuestMemory.PageSize - (at % GuestMemory.PageSize));
            _memory.TryWrite(AddressOf(at), response[..step]);
            at += step;
            response = response[step..];
        }

        _answered++;
    }

    /// <summary>Shows the guest the answers that are written.</summary>
    /// <returns>True when the guest is to be notified: it asked for one of them.</returns>
    internal bool Publish()
    {
        uint before = _published;
        _published = _answered;
        Store(ResponseProducer, _answered);
        System.Threading.Interlocked.MemoryBarrier();
        return _answered - Load(ResponseEvent) < _answered - before;
    }

    private uint CountWaiting()
    {
        uint waiting = Load(RequestProducer) - _taken;
        IsBroken |= waiting > _entries;
        return IsBroken ? 0 : waiting;
    }

    private uint Load(int offset) => _memory.Read<uint>(new GuestPhysical(_pages[0].Value + (uint)offset));

    private void Store(int offset, uint value) => _memory.Write(new GuestPhysical(_pages[0].Value + (uint)offset), value);

    private GuestPhysical AddressOf(int offset) =>
        new(_pages[offset / GuestMemory.PageSize].Value + (uint)(offset % GuestMemory.PageSize));

    // An entry may lie across two pages.
    private void Copy(int offset, Span<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            int step = Math.Min(bytes.Length, GuestMemory.PageSize - (offset % GuestMemory.PageSize));
            _memory.TryRead(AddressOf(offset), bytes[..step]);
            offset += step;
            bytes = bytes[step..];
        }
    }
}
