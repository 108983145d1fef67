using System;
using Hull.Memory;
using Hull.Storage;
using Hull.Xen.Grants;

namespace Hull.Xen.Block;

/// <summary>
/// Moves a request's data between the disk and the pages that the guest has granted. Pages that adjoin are one run. A long run
/// is read or written where it is; short ones go through a buffer together, so that the store is asked once for many.
/// Of one thread.
/// </summary>
internal sealed class BlockTransfer(GuestMemory memory, GrantTable grants, IByteStore store)
{
    /// <summary>Bytes from which on a call of the store costs less than the copy that it saves.</summary>
    internal const int DirectBytes = 32 << 10;

    // What fits a processor's own cache: a buffer of a whole request would go through the memory twice.
    private const int BufferBytes = 256 << 10;

    private readonly (GuestPhysical At, int Length)[] _runs = new (GuestPhysical, int)[BlockRequest.MostSegments];
    private readonly byte[] _buffer = new byte[BufferBytes];
    private int _count;

    /// <summary>Looks the request's pages up and joins those that adjoin.</summary>
    /// <returns>False when a page is not granted so, or is no RAM; nothing has been moved then.</returns>
    internal bool TryResolve(BlockRequest request, bool isRead)
    {
        _count = 0;
        for (int i = 0; i < request.SegmentCount; i++)
        {
            BlockSegment segment = request.Segments[i];
            if (!grants.TryFind(segment.Reference, isRead, out GuestPhysical page))
            {
                return false;
            }

            GuestPhysical at = new(page.Value + segment.At.Value);
            if (_count > 0)
            {
                (GuestPhysical before, int length) = _runs[_count - 1];
                if (before.Value + (uint)length == at.Value && memory.Contains(before, (uint)(length + segment.Length)))
                {
                    _runs[_count - 1] = (before, length + segment.Length);
                    continue;
                }
            }

            _runs[_count++] = (at, segment.Length);
        }

        return true;
    }

    /// <summary>Moves the data of the pages that <see cref="TryResolve"/> found.</summary>
    /// <param name="offset">Where on the disk; the whole request is inside it.</param>
    /// <param name="isRead">From the disk.</param>
    /// <exception cref="System.IO.IOException">The host cannot; some of the data may have been moved.</exception>
    internal void Move(ulong offset, bool isRead)
    {
        for (int first = 0; first < _count;)
        {
            int length = _runs[first].Length;
            int next = first + 1;
            if (length < DirectBytes)
            {
                while (next < _count && _runs[next].Length < DirectBytes && length + _runs[next].Length <= BufferBytes)
                {
                    length += _runs[next++].Length;
                }
            }

            if (next == first + 1 && memory.TryWindow(_runs[first].At, length, out Span<byte> window))
            {
                MoveWindow(offset, _runs[first].At, window, isRead);
            }
            else
            {
                MoveTogether(offset, _runs.AsSpan(first, next - first), _buffer.AsSpan(0, length), isRead);
            }

            offset += (uint)length;
            first = next;
        }
    }

    private void MoveWindow(ulong offset, GuestPhysical at, Span<byte> window, bool isRead)
    {
        if (!isRead)
        {
            store.Write(offset, window);
            return;
        }

        try
        {
            store.Read(offset, window);
        }
        finally
        {
            memory.WindowWritten(at, (uint)window.Length); // a read that broke off has written some of it
        }
    }

    private void MoveTogether(ulong offset, Span<(GuestPhysical At, int Length)> runs, Span<byte> data, bool isRead)
    {
        if (isRead)
        {
            store.Read(offset, data);
        }

        Span<byte> rest = data;
        foreach ((GuestPhysical at, int length) in runs)
        {
            _ = isRead ? memory.TryWrite(at, rest[..length]) : memory.TryRead(at, rest[..length]); // RAM does not go away
            rest = rest[length..];
        }

        if (!isRead)
        {
            store.Write(offset, data);
        }
    }
}
