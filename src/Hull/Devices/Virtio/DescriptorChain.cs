using System;
using Hull.Host;
using Hull.Memory;

namespace Hull.Devices.Virtio;

/// <summary>
/// The buffers of one request: first those that the device reads, then those that it writes. Filled by
/// <see cref="Virtqueue.TryTake"/>, which has checked that all of them are RAM, and used again for the next request.
/// Virtio 1.2 section 2.7.4, "Message Framing".
/// </summary>
internal sealed class DescriptorChain
{
    /// <summary>Descriptors in a chain at the most, those of indirect tables included.</summary>
    internal const int MaximumSegments = 1024;

    private readonly Segment[] _segments = new Segment[MaximumSegments];
    private GuestMemory? _memory;
    private int _count;
    private int _readable;

    /// <summary>Names the chain in the ring: the descriptor that starts it, or the packed ring's buffer identifier.</summary>
    internal ushort Head { get; set; }

    /// <summary>Entries of a packed ring that the chain takes.</summary>
    internal ushort Slots { get; set; }

    /// <summary>Which life of the queue it was taken in.</summary>
    internal uint Epoch { get; private set; }

    /// <summary>Bytes that the device may read.</summary>
    internal ulong ReadableBytes { get; private set; }

    /// <summary>Bytes that the device may write.</summary>
    internal ulong WritableBytes { get; private set; }

    /// <summary>Copies from the readable bytes.</summary>
    /// <param name="offset">Where to start among them.</param>
    /// <param name="destination">Gets them.</param>
    /// <returns>Bytes copied: fewer than asked for at the end.</returns>
    internal int Read(ulong offset, Span<byte> destination)
    {
        int done = 0;
        for (int i = 0; i < _readable && done < destination.Length; i++)
        {
            if (Part(i, ref offset, destination.Length - done, out GuestPhysical at, out int length))
            {
                _memory!.TryRead(at, destination.Slice(done, length));
                done += length;
            }
        }

        return done;
    }

    /// <summary>Copies to the writable bytes.</summary>
    /// <param name="offset">Where to start among them.</param>
    /// <param name="source">The bytes.</param>
    /// <returns>Bytes copied: fewer than given at the end.</returns>
    internal int Write(ulong offset, ReadOnlySpan<byte> source)
    {
        int done = 0;
        for (int i = _readable; i < _count && done < source.Length; i++)
        {
            if (Part(i, ref offset, source.Length - done, out GuestPhysical at, out int length))
            {
                _memory!.TryWrite(at, source.Slice(done, length));
                done += length;
            }
        }

        return done;
    }

    /// <summary>
    /// The RAM of the first of the writable bytes, for the host's kernel; neighbours are one piece. Who has written there says so
    /// by <see cref="Wrote"/>.
    /// </summary>
    /// <param name="length">How many bytes.</param>
    /// <param name="pieces">Gets the pieces: room for <see cref="MaximumSegments"/>.</param>
    /// <returns>How many; 0 when some of it is not plain RAM.</returns>
    internal int WritablePieces(ulong length, Span<HostRange> pieces)
    {
        int count = 0;
        ulong offset = 0;
        for (int i = _readable; i < _count && length is > 0 and <= int.MaxValue; i++)
        {
            if (!Part(i, ref offset, (int)length, out GuestPhysical at, out int bytes))
            {
                continue;
            }

            if (!_memory!.TryRange(at, bytes, out HostRange piece))
            {
                return 0;
            }

            length -= (uint)bytes;
            if (count > 0 && pieces[count - 1].TryJoin(piece, out HostRange both))
            {
                pieces[count - 1] = both;
            }
            else
            {
                pieces[count++] = piece;
            }
        }

        return count;
    }

    /// <summary>The first of the writable bytes were written through their pieces.</summary>
    internal void Wrote(ulong length)
    {
        for (int i = _readable; i < _count && length > 0; i++)
        {
            ulong count = Math.Min(_segments[i].Length, length);
            _memory!.RangeWritten(_segments[i].At, count);
            length -= count;
        }
    }

    /// <summary>
    /// Gives the memory of the writable buffers back to the host, where they are whole pages: what is in them is not needed.
    /// </summary>
    internal void DiscardWritable()
    {
        for (int i = _readable; i < _count; i++)
        {
            _memory!.TryDiscard(_segments[i].At, _segments[i].Length);
        }
    }

    /// <summary>Starts anew.</summary>
    internal void Begin(GuestMemory memory, uint epoch)
    {
        _memory = memory;
        Epoch = epoch;
        _count = 0;
        _readable = 0;
        ReadableBytes = 0;
        WritableBytes = 0;
    }

    /// <summary>Adds a buffer.</summary>
    /// <returns>False when it does not fit: too many, no RAM, or readable after writable.</returns>
    internal bool TryAdd(GuestPhysical at, uint length, bool writable)
    {
        if (_count == MaximumSegments || !_memory!.Contains(at, length) || (!writable && _readable != _count))
        {
            return false;
        }

        _segments[_count++] = new Segment(at, length);
        if (writable)
        {
            WritableBytes += length;
        }
        else
        {
            _readable++;
            ReadableBytes += length;
        }

        return true;
    }

    // The piece of a segment that is wanted next; an offset behind the segment shrinks by it.
    private bool Part(int index, ref ulong offset, int wanted, out GuestPhysical at, out int length)
    {
        Segment segment = _segments[index];
        if (offset >= segment.Length)
        {
            offset -= segment.Length;
            at = default;
            length = 0;
            return false;
        }

        at = segment.At + offset;
        length = (int)Math.Min(segment.Length - offset, (ulong)wanted);
        offset = 0;
        return true;
    }

    private readonly record struct Segment(GuestPhysical At, uint Length);
}
