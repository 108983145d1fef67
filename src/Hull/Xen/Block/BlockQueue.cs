using System;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.IO;
using System.Threading;
using Hull.Devices.Virtio;
using Hull.Memory;
using Hull.Storage;
using Hull.Xen.Events;
using Hull.Xen.PvDevices;

namespace Hull.Xen.Block;

/// <summary>
/// One ring of a disk: takes requests on threads of its own and answers them in any order. Xen, public/io/blkif.h.
/// </summary>
internal sealed class BlockQueue : IDisposable
{
    /// <summary>Bytes of a request, which is larger than a response.</summary>
    internal const int EntrySize = 112;

    /// <summary>The same as a 32-bit guest lays it out ("x86_32-abi"): what is behind the first word is not aligned.</summary>
    internal const int ShortEntrySize = EntrySize - ShortGap;

    private const int ShortGap = 4;
    private const int ShortGapAt = 4;
    private const int Threads = 4;
    private const int SectorShift = 9;
    private const int MostDirect = 11;
    private const int SegmentSize = 8;
    private const int SegmentsInPage = GuestMemory.PageSize / SegmentSize;
    private const short Okay = 0;
    private const short Failed = -1;
    private const short Unsupported = -2;

    private readonly Domain _domain;
    private readonly IByteStore _store;
    private readonly SharedRing _ring;
    private readonly bool _isShort;
    private readonly BlockGrants _grants;
    private readonly EventReceiver _receiver;
    private readonly EventPort _port;
    private readonly Action _tell;
    private readonly QueuePump _pump;
    private readonly Lock _lock = new();
    private readonly ConcurrentBag<Work> _free = [];

    /// <summary>Makes the queue and connects it to the port that the guest made for it. Under the domain's lock.</summary>
    internal BlockQueue(
        Domain domain, IByteStore store, SharedRing ring, EventPort port, bool isShort = false, BlockGrants? grants = null)
    {
        _domain = domain;
        _store = store;
        _ring = ring;
        _port = port;
        _isShort = isShort;
        _grants = grants ?? new BlockGrants(domain.Grants, arePersistent: false, TimeProvider.System);
        _pump = new QueuePump("hull-xvd", Threads, Step);
        _receiver = _pump.Notify;
        _tell = () => _domain.Events.Notify(_port, _receiver);
        EventChannels.Join(port, _receiver, "vbd");
        _pump.Notify(); // requests may be there already
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _pump.Dispose();
        _grants.Dispose();
    }

    /// <summary>Waits until no request is under way. Not under the domain's lock.</summary>
    internal void Drain() => _pump.Drain();

    private bool Step()
    {
        Span<byte> entry = stackalloc byte[EntrySize];
        lock (_lock)
        {
            if (!_ring.TryTake(_isShort ? entry[..ShortEntrySize] : entry))
            {
                return false;
            }
        }

        if (_isShort)
        {
            entry[ShortGapAt..ShortEntrySize].CopyTo(entry[(ShortGapAt + ShortGap)..]);
        }

        Work work = _free.TryTake(out Work? idle) ? idle : NewWork();
        short status = TryRead(entry, work.Request) ? Do(work) : Failed;
        Answer(work.Request, status);
        _free.Add(work);
        return true;
    }

    private Work NewWork() => new(new BlockRequest(), new BlockTransfer(_domain.Memory, _grants, _store));

    private bool TryRead(ReadOnlySpan<byte> entry, BlockRequest request)
    {
        request.Operation = (BlockOperation)entry[0];
        request.Id = BinaryPrimitives.ReadUInt64LittleEndian(entry[8..]);
        request.Sector = BinaryPrimitives.ReadUInt64LittleEndian(entry[16..]);
        request.SegmentCount = 0;
        switch (request.Operation)
        {
            case BlockOperation.Discard:
                request.SectorCount = BinaryPrimitives.ReadUInt64LittleEndian(entry[24..]);
                return true;
            case BlockOperation.Indirect:
                request.Operation = (BlockOperation)entry[1];
                return request.Operation is BlockOperation.Read or BlockOperation.Write && TryReadIndirect(entry, request);
            default:
                return entry[1] <= MostDirect && TryReadSegments(entry.Slice(24, entry[1] * SegmentSize), request);
        }
    }

    // The segments are in pages that are granted too.
    private bool TryReadIndirect(ReadOnlySpan<byte> entry, BlockRequest request)
    {
        int count = BinaryPrimitives.ReadUInt16LittleEndian(entry[2..]);
        if (count > BlockRequest.MostSegments)
        {
            return false;
        }

        Span<byte> segments = stackalloc byte[Math.Min(count, SegmentsInPage) * SegmentSize];
        uint reference = BinaryPrimitives.ReadUInt32LittleEndian(entry[28..]);
        if (!_grants.TryFind(reference, isWrite: false, out GuestPhysical page))
        {
            return false;
        }

        _domain.Memory.TryRead(page, segments);
        return TryReadSegments(segments, request);
    }

    private static bool TryReadSegments(ReadOnlySpan<byte> segments, BlockRequest request)
    {
        for (int at = 0; at < segments.Length; at += SegmentSize)
        {
            int first = segments[at + 4];
            int last = segments[at + 5];
            if (first > last || last > 7)
            {
                return false;
            }

            request.Segments[request.SegmentCount++] = new BlockSegment(
                BinaryPrimitives.ReadUInt32LittleEndian(segments[at..]),
                new GuestPhysical((uint)first << SectorShift),
                (last - first + 1) << SectorShift);
        }

        return true;
    }

    private short Do(Work work)
    {
        BlockRequest request = work.Request;
        try
        {
            switch (request.Operation)
            {
                case BlockOperation.Read:
                    return Transfer(work, isRead: true);
                case BlockOperation.Write:
                    return _store.IsReadOnly ? Failed : Transfer(work, isRead: false);
                case BlockOperation.FlushDiskCache:
                    short written = request.SegmentCount == 0 ? Okay : Transfer(work, isRead: false);
                    _store.Flush();
                    return written;
                case BlockOperation.Discard:
                    return Discard(request);
                default:
                    return Unsupported;
            }
        }
        catch (IOException)
        {
            return Failed; // the store has said why, and the guest sees a disk's error
        }
    }

    private short Discard(BlockRequest request)
    {
        if (_store.IsReadOnly || !IsInside(request.Sector, request.SectorCount))
        {
            return Failed;
        }

        _store.Discard(request.Sector << SectorShift, request.SectorCount << SectorShift);
        return Okay;
    }

    // All pages are looked up before any of the data moves.
    private short Transfer(Work work, bool isRead)
    {
        BlockRequest request = work.Request;
        int length = 0;
        for (int i = 0; i < request.SegmentCount; i++)
        {
            length += request.Segments[i].Length;
        }

        if (!IsInside(request.Sector, (ulong)length >> SectorShift) || (!isRead && _store.IsReadOnly)
            || !work.Transfer.TryResolve(request, isRead))
        {
            return Failed;
        }

        if (isRead)
        {
            work.Transfer.Read(request.Sector << SectorShift, length);
        }
        else
        {
            work.Transfer.Write(request.Sector << SectorShift);
        }

        return Okay;
    }

    private bool IsInside(ulong sector, ulong count)
    {
        ulong sectors = _store.Length >> SectorShift;
        return sector <= sectors && count <= sectors - sector;
    }

    private void Answer(BlockRequest request, short status)
    {
        Span<byte> response = stackalloc byte[16];
        response.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(response, request.Id);
        response[8] = (byte)request.Operation; // of an indirect request, what it does
        BinaryPrimitives.WriteInt16LittleEndian(response[10..], status);
        bool notify;
        lock (_lock)
        {
            notify = _ring.Answer(response);
        }

        if (notify)
        {
            _domain.Act(_tell);
        }
    }

    /// <summary>What a thread needs for one request; kept for the next.</summary>
    private sealed record Work(BlockRequest Request, BlockTransfer Transfer);
}
