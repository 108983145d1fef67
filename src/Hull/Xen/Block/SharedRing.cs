using System;
using Hull.Memory;

namespace Hull.Xen.Block;

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
        _taken = _answered = Load(ResponseProducer);
    }

    /// <summary>The guest has claimed more requests than there are places: nothing of the ring is believed any more.</summary>
    internal bool IsBroken { get; private set; }

    /// <summary>Takes one request.</summary>
    /// <returns>False when there is none; the guest then notifies with the next.</returns>
    internal bool TryTake(Span<byte> entry)
    {
        if (!IsBroken && Load(RequestProducer) == _taken)
        {
            // What comes between the look and this store would not notify, so there is a second look.
            Store(RequestEvent, _taken + 1);
            System.Threading.Interlocked.MemoryBarrier();
        }

        uint waiting = Load(RequestProducer) - _taken;
        IsBroken |= waiting > _entries;
        if (IsBroken || waiting == 0)
        {
            return false;
        }

        Copy(HeaderSize + ((int)(_taken % _entries) * _entrySize), entry, toGuest: false);
        _taken++;
        return true;
    }

    /// <summary>Answers one request.</summary>
    /// <returns>True when the guest is to be notified.</returns>
    internal bool Answer(Span<byte> response)
    {
        Copy(HeaderSize + ((int)(_answered % _entries) * _entrySize), response, toGuest: true);
        _answered++;
        Store(ResponseProducer, _answered);
        System.Threading.Interlocked.MemoryBarrier();
        return Load(ResponseEvent) == _answered;
    }

    private uint Load(int offset) => _memory.Read<uint>(new GuestPhysical(_pages[0].Value + (uint)offset));

    private void Store(int offset, uint value) => _memory.Write(new GuestPhysical(_pages[0].Value + (uint)offset), value);

    // An entry may lie across two pages.
    private void Copy(int offset, Span<byte> bytes, bool toGuest)
    {
        while (bytes.Length > 0)
        {
            int inPage = offset % GuestMemory.PageSize;
            int step = Math.Min(bytes.Length, GuestMemory.PageSize - inPage);
            GuestPhysical at = new(_pages[offset / GuestMemory.PageSize].Value + (uint)inPage);
            _ = toGuest ? _memory.TryWrite(at, bytes[..step]) : _memory.TryRead(at, bytes[..step]);
            offset += step;
            bytes = bytes[step..];
        }
    }
}
