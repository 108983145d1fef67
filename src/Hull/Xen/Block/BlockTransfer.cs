using System;
using Hull.Host;
using Hull.Memory;
using Hull.Storage;

namespace Hull.Xen.Block;

/// <summary>
/// Moves a request's data between the disk and the pages that the guest has granted: reads go from the host's file into the pages
/// with one call, what cannot, and writes, through a buffer. Of one thread.
/// </summary>
internal sealed class BlockTransfer(GuestMemory memory, BlockGrants grants, IByteStore store)
{
    // What fits a processor's own cache: a buffer of a whole request would go through the memory twice.
    private const int PagesInBuffer = 64;

    private readonly (GuestPhysical At, int Length)[] _pages = new (GuestPhysical, int)[BlockRequest.MostSegments];
    private readonly HostRange[] _pieces = new HostRange[BlockRequest.MostSegments];
    private readonly byte[] _buffer = new byte[PagesInBuffer * GuestMemory.PageSize];
    private int _count;

    /// <summary>Looks the request's pages up.</summary>
    /// <returns>False when a page is not granted so, or is no RAM; nothing has been moved then.</returns>
    internal bool TryResolve(BlockRequest request, bool isRead)
    {
        _count = 0;
        foreach (BlockSegment segment in request.Segments.AsSpan(0, request.SegmentCount))
        {
            if (!grants.TryFind(segment.Reference, isRead, out GuestPhysical page))
            {
                return false;
            }

            _pages[_count++] = (new GuestPhysical(page.Value + segment.At.Value), segment.Length);
        }

        return true;
    }

    /// <summary>Fills the pages that <see cref="TryResolve"/> found.</summary>
    /// <param name="offset">Where on the disk; the whole request is inside it.</param>
    /// <param name="length">Bytes of the whole request.</param>
    /// <exception cref="System.IO.IOException">The host cannot; some of the data may have been moved.</exception>
    internal void Read(ulong offset, int length)
    {
        if (TryReadInPlace(offset, length))
        {
            return;
        }

        for (int first = 0; first < _count; first += PagesInBuffer)
        {
            ReadOnlySpan<(GuestPhysical At, int Length)> pages = Group(first, out Span<byte> data);
            store.Read(offset, data);
            offset += (uint)data.Length;
            foreach ((GuestPhysical at, int bytes) in pages)
            {
                memory.TryWrite(at, data[..bytes]); // RAM does not go away
                data = data[bytes..];
            }
        }
    }

    /// <summary>Writes what is in the pages that <see cref="TryResolve"/> found.</summary>
    /// <param name="offset">Where on the disk; the whole request is inside it.</param>
    /// <exception cref="System.IO.IOException">The host cannot; some of the data may have been moved.</exception>
    internal void Write(ulong offset)
    {
        for (int first = 0; first < _count; first += PagesInBuffer)
        {
            ReadOnlySpan<(GuestPhysical At, int Length)> pages = Group(first, out Span<byte> data);
            Span<byte> rest = data;
            foreach ((GuestPhysical at, int bytes) in pages)
            {
                memory.TryRead(at, rest[..bytes]);
                rest = rest[bytes..];
            }

            store.Write(offset, data);
            offset += (uint)data.Length;
        }
    }

    private bool TryReadInPlace(ulong offset, int length)
    {
        int count = 0;
        foreach ((GuestPhysical at, int bytes) in _pages.AsSpan(0, _count))
        {
            if (!memory.TryRange(at, bytes, out HostRange piece))
            {
                return false;
            }

            if (count > 0 && _pieces[count - 1].TryJoin(piece, out HostRange both))
            {
                _pieces[count - 1] = both;
            }
            else
            {
                _pieces[count++] = piece;
            }
        }

        try
        {
            return count > 0 && store.TryRead(offset, _pieces.AsSpan(0, count), length);
        }
        finally
        {
            foreach ((GuestPhysical at, int bytes) in _pages.AsSpan(0, _count))
            {
                memory.RangeWritten(at, (uint)bytes); // a read that broke off has written some of it
            }
        }
    }

    // As many pages as the buffer has room for, and that room.
    private ReadOnlySpan<(GuestPhysical At, int Length)> Group(int first, out Span<byte> data)
    {
        ReadOnlySpan<(GuestPhysical At, int Length)> pages = _pages.AsSpan(first, Math.Min(_count - first, PagesInBuffer));
        int length = 0;
        foreach ((_, int bytes) in pages)
        {
            length += bytes;
        }

        data = _buffer.AsSpan(0, length);
        return pages;
    }
}
