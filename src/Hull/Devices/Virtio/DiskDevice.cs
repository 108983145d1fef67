using System;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.IO;
using System.Text;
using System.Text.Json.Serialization;
using Hull.Bus;
using Hull.Host;
using Hull.Storage;

namespace Hull.Devices.Virtio;

/// <summary>A disk.</summary>
public sealed record DiskSpec : DeviceSpec
{
    /// <summary>The image, or a block device of the host's.</summary>
    public required string File { get; init; }

    /// <summary>How the image is kept.</summary>
    public DiskFormat Format { get; init; }

    /// <summary>The guest cannot write; the image is shared with other readers.</summary>
    [JsonPropertyName("readonly")]
    public bool ReadOnly { get; init; }

    /// <summary>The files may be opened that a qcow2 image names as those below it. Only for images that you trust.</summary>
    public bool Backing { get; init; }

    /// <summary>What the guest sees as serial number, up to 20 bytes (/dev/disk/by-id/virtio-...).</summary>
    public string? Serial { get; init; }

    /// <summary>Request queues, up to 16; 0: one for each vCPU, up to four.</summary>
    public int Queues { get; init; }

    /// <summary>
    /// A paravirtual front end may keep pages of its own granted and copy through them (blkif's feature-persistent). Virtio has no
    /// such thing.
    /// </summary>
    public bool PersistentGrants { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public override string LinuxDriver => "virtio_blk";

    /// <inheritdoc/>
    internal override VirtioDevice Create(DeviceContext context)
    {
        if (Queues is < 0 or > DiskDevice.MaximumQueues)
        {
            throw new HullException($"{File}: {Queues} queues: give 1 to {DiskDevice.MaximumQueues}");
        }

        int queues = Queues == 0 ? Math.Min(context.VcpuCount, 4) : Queues;
        return new DiskDevice(context, Open(), Serial ?? $"hull-{context.Index}", queues);
    }

    /// <summary>Opens the image, for whatever brings the disk to the guest.</summary>
    /// <exception cref="HullException">It is not there, is another's, or is no image.</exception>
    internal IByteStore Open() => DiskImage.Open(File, Format, ReadOnly, Backing);
}

/// <summary>
/// Block device. Requests of a queue run on a few threads at once and end in any order. Virtio 1.2 section 5.2, "Block
/// Device".
/// </summary>
internal sealed class DiskDevice : VirtioDevice
{
    internal const int MaximumQueues = 16;

    private const int SectorShift = 9;
    private const int HeaderBytes = 16;
    private const int IdBytes = 20;
    private const int ThreadsPerQueue = 4;

    private const ushort QueueSize = 256;

    // Of 1 MiB in pages that do not lie together the driver makes four requests: it prepares one while another is read.
    private const uint MostPieces = 64;
    private const int SegmentBytes = 16;
    private const int MostSegments = 32;
    private const uint MostSectors = 1 << 22;                   // 2 GiB in one discard
    private const int BufferBytes = 256 << 10;
    private const int LargeWriteBytes = 128 << 10;
    private const int WriteBackAt = 32;
    private const uint MostPhysicalBlock = 4096;

    private const ulong FeatureSegmentCount = 1UL << 2;
    private const ulong FeatureReadOnly = 1UL << 5;
    private const ulong FeatureBlockSize = 1UL << 6;
    private const ulong FeatureFlush = 1UL << 9;
    private const ulong FeatureTopology = 1UL << 10;
    private const ulong FeatureWriteBack = 1UL << 11;
    private const ulong FeatureQueues = 1UL << 12;
    private const ulong FeatureDiscard = 1UL << 13;
    private const ulong FeatureWriteZeroes = 1UL << 14;

    private readonly IByteStore _store;
    private readonly byte[] _id = new byte[IdBytes];
    private readonly byte[] _configuration = new byte[60];
    private readonly QueuePump[] _pumps;
    private readonly ConcurrentBag<Work> _free = [];
    private readonly Pace _pace = new();
    private readonly HostTrouble _reading;
    private readonly HostTrouble _writing;
    private volatile bool _writeBack = true;

    internal DiskDevice(DeviceContext context, IByteStore store, string serial, int queues)
        : base(2, context.Memory, QueueSizes(queues))
    {
        _store = store;
        _reading = new HostTrouble(context.Notice, "reading the guest's disk");
        _writing = new HostTrouble(context.Notice, "writing the guest's disk");
        Encoding.ASCII.GetBytes(serial.AsSpan(0, Math.Min(serial.Length, IdBytes)), _id);
        FillConfiguration(queues);
        _pumps = new QueuePump[queues];
        for (int i = 0; i < queues; i++)
        {
            int queue = i;
            _pumps[i] = new QueuePump(
                $"hull-disk{context.Index}",
                context.IsDeterministic ? 0 : ThreadsPerQueue,
                () => Step(queue),
                context.NewBell());
        }
    }

    private enum RequestKind : uint
    {
        Read = 0,
        Write = 1,
        Flush = 4,
        GetId = 8,
        Discard = 11,
        WriteZeroes = 13,
    }

    private enum RequestStatus : byte
    {
        Ok = 0,
        Failed = 1,
        Unsupported = 2,
    }

    /// <inheritdoc/>
    internal override uint PciClass => 0x01_0000;

    /// <inheritdoc/>
    internal override ulong DeviceFeatures => FeatureSegmentCount | FeatureBlockSize | FeatureTopology | FeatureFlush
        | FeatureWriteBack | FeatureQueues
        | (_store.IsReadOnly ? FeatureReadOnly : FeatureDiscard | FeatureWriteZeroes);

    /// <inheritdoc/>
    internal override int ConfigurationLength => _configuration.Length;

    /// <inheritdoc/>
    internal override void Notified(int queue)
    {
        // A vCPU that polls would keep a processor busy while the pump's thread waits for one.
        if (Queues[queue].IsPolled)
        {
            _pumps[queue].WorkHere();
        }
        else
        {
            _pumps[queue].Notify();
        }
    }

    /// <inheritdoc/>
    internal override Doorbell? BellOf(int queue) => _pumps[queue].Bell;

    /// <inheritdoc/>
    internal override void ReadConfiguration(int offset, Span<byte> destination) =>
        _configuration.AsSpan(offset, destination.Length).CopyTo(destination);

    /// <inheritdoc/>
    internal override void WriteConfiguration(int offset, ReadOnlySpan<byte> source)
    {
        if (offset == WriteBackAt && source.Length == 1 && (Features & FeatureWriteBack) != 0)
        {
            _writeBack = (source[0] & 1) != 0;
            _configuration[WriteBackAt] = (byte)(source[0] & 1);
        }
    }

    /// <inheritdoc/>
    internal override void Started()
    {
        // A driver that does not know FLUSH must find its writes on the disk. Virtio 1.2 section 5.2.5.
        _writeBack = (Features & FeatureFlush) != 0 && _configuration[WriteBackAt] != 0;
    }

    /// <inheritdoc/>
    protected override void Stopped(int queue)
    {
        for (int i = 0; i < _pumps.Length; i++)
        {
            if (queue < 0 || queue == i)
            {
                _pumps[i].Drain();
            }
        }

        if (queue < 0)
        {
            _configuration[WriteBackAt] = 1;
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        foreach (QueuePump pump in _pumps)
        {
            pump.Dispose();
        }

        _store.Dispose();
        base.Dispose();
    }

    private static ushort[] QueueSizes(int queues)
    {
        ushort[] sizes = new ushort[queues];
        Array.Fill(sizes, QueueSize);
        return sizes;
    }

    // Section 5.2.4, "Device configuration layout".
    private void FillConfiguration(int queues)
    {
        Span<byte> at = _configuration;
        BinaryPrimitives.WriteUInt64LittleEndian(at, _store.Length >> SectorShift);
        BinaryPrimitives.WriteUInt32LittleEndian(at[12..], MostPieces);                 // seg_max
        BinaryPrimitives.WriteUInt32LittleEndian(at[20..], 1 << SectorShift);           // blk_size
        // A cluster of an image may be 64 KiB, which file systems take for a disk's physical block only reluctantly.
        uint physical = Math.Min(_store.BlockSize, MostPhysicalBlock);
        at[24] = (byte)(System.Numerics.BitOperations.Log2(physical) - SectorShift);
        at[WriteBackAt] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(at[34..], (ushort)queues);
        BinaryPrimitives.WriteUInt32LittleEndian(at[36..], MostSectors);                // max_discard_sectors
        BinaryPrimitives.WriteUInt32LittleEndian(at[40..], MostSegments);
        BinaryPrimitives.WriteUInt32LittleEndian(at[44..], _store.BlockSize >> SectorShift);
        BinaryPrimitives.WriteUInt32LittleEndian(at[48..], MostSectors);                // max_write_zeroes_sectors
        BinaryPrimitives.WriteUInt32LittleEndian(at[52..], MostSegments);
        at[56] = 1;                                                                     // write_zeroes_may_unmap
    }

    private bool Step(int queue)
    {
        if (!_free.TryTake(out Work? work))
        {
            work = new Work();
        }

        bool taken = TryTake(queue, work.Chain, out bool more);
        if (taken)
        {
            Execute(queue, work, more);
        }

        _free.Add(work);
        return taken;
    }

    private void Execute(int queue, Work work, bool more)
    {
        DescriptorChain chain = work.Chain;
        Span<byte> header = stackalloc byte[HeaderBytes];
        if (chain.Read(0, header) != HeaderBytes || chain.WritableBytes == 0)
        {
            Break(queue, "a block request without header or status");
            return;
        }

        RequestKind kind = (RequestKind)BinaryPrimitives.ReadUInt32LittleEndian(header);
        if (LetsOthersGoOn(queue, kind, chain.ReadableBytes, more))
        {
            _pumps[queue].Notify();
        }

        long start = Stopwatch.GetTimestamp();
        Execute(queue, work, kind, header);
        if (kind != RequestKind.Flush)
        {
            _pace.Ended(start);
        }
    }

    // Another thread is to look for the next request while this one is under way. Not of quick large writes: the host's file takes
    // one at a time, and whoever waits for it costs more than it gains.
    private bool LetsOthersGoOn(int queue, RequestKind kind, ulong bytes, bool more)
    {
        if (!_pumps[queue].HasThreads)
        {
            return false;
        }

        if (_pace.IsSlow || kind is RequestKind.Flush or RequestKind.Discard or RequestKind.WriteZeroes)
        {
            return more || AskForMore(queue);
        }

        return more && (kind != RequestKind.Write || bytes < LargeWriteBytes);
    }

    private void Execute(int queue, Work work, RequestKind kind, ReadOnlySpan<byte> header)
    {
        // The status is the last byte that the device may write; the data is what lies before it.
        DescriptorChain chain = work.Chain;
        ulong room = chain.WritableBytes - 1;
        HostTrouble trouble = kind is RequestKind.Read or RequestKind.GetId ? _reading : _writing;
        RequestStatus status;
        try
        {
            status = Run(work, kind, header, room);
            if (status == RequestStatus.Ok)
            {
                trouble.Worked();
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The message names the file.
            trouble.Failed(e.Message);
            status = RequestStatus.Failed;
        }

        chain.Write(room, [(byte)status]);
        Return(queue, chain, (uint)Math.Min(chain.WritableBytes, uint.MaxValue));
    }

    private RequestStatus Run(Work work, RequestKind kind, ReadOnlySpan<byte> header, ulong room)
    {
        ulong sector = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
        ulong payload = work.Chain.ReadableBytes - HeaderBytes;
        switch (kind)
        {
            case RequestKind.Read:
                return IsOnDisk(sector, room) ? Read(work, sector << SectorShift, room) : RequestStatus.Failed;
            case RequestKind.Write:
                return !_store.IsReadOnly && IsOnDisk(sector, payload)
                    ? Write(work, sector << SectorShift, payload)
                    : RequestStatus.Failed;
            case RequestKind.Flush:
                _store.Flush();
                return RequestStatus.Ok;
            case RequestKind.GetId:
                work.Chain.Write(0, _id.AsSpan(0, (int)Math.Min(room, IdBytes)));
                return RequestStatus.Ok;
            case RequestKind.Discard:
                return Ranges(work, payload, isDiscard: true);
            case RequestKind.WriteZeroes:
                return Ranges(work, payload, isDiscard: false);
            default:
                return RequestStatus.Unsupported;
        }
    }

    private RequestStatus Read(Work work, ulong offset, ulong length)
    {
        if (TryReadInPlace(work, offset, length))
        {
            return RequestStatus.Ok;
        }

        for (ulong done = 0; done < length;)
        {
            Span<byte> part = work.Buffer.AsSpan(0, (int)Math.Min(length - done, BufferBytes));
            _store.Read(offset + done, part);
            work.Chain.Write(done, part);
            done += (uint)part.Length;
        }

        return RequestStatus.Ok;
    }

    // From the host's file into the guest's buffers with one call, without a copy between.
    private bool TryReadInPlace(Work work, ulong offset, ulong length)
    {
        int count = work.Chain.WritablePieces(length, work.Pieces);
        if (count == 0)
        {
            return false;
        }

        try
        {
            return _store.TryRead(offset, work.Pieces.AsSpan(0, count), (int)length);
        }
        finally
        {
            work.Chain.Wrote(length); // one that broke off has written some of it
        }
    }

    private RequestStatus Write(Work work, ulong offset, ulong length)
    {
        for (ulong done = 0; done < length;)
        {
            Span<byte> part = work.Buffer.AsSpan(0, (int)Math.Min(length - done, BufferBytes));
            work.Chain.Read(HeaderBytes + done, part);
            _store.Write(offset + done, part);
            done += (uint)part.Length;
        }

        return FlushIfThrough();
    }

    // Section 5.2.6: struct virtio_blk_discard_write_zeroes: sector, count of sectors, flags.
    private RequestStatus Ranges(Work work, ulong payload, bool isDiscard)
    {
        if (_store.IsReadOnly || payload == 0 || payload % SegmentBytes != 0 || payload > SegmentBytes * MostSegments)
        {
            return RequestStatus.Failed;
        }

        Span<byte> ranges = stackalloc byte[SegmentBytes * MostSegments];
        ranges = ranges[..(int)payload];
        work.Chain.Read(HeaderBytes, ranges);
        for (; ranges.Length > 0; ranges = ranges[SegmentBytes..])
        {
            ulong sector = BinaryPrimitives.ReadUInt64LittleEndian(ranges);
            ulong length = (ulong)BinaryPrimitives.ReadUInt32LittleEndian(ranges[8..]) << SectorShift;
            uint flags = BinaryPrimitives.ReadUInt32LittleEndian(ranges[12..]);
            bool mayUnmap = (flags & 1) != 0;
            if ((flags & ~1u) != 0 || (isDiscard && mayUnmap))
            {
                return RequestStatus.Unsupported;
            }

            if (!IsOnDisk(sector, length) || length > (ulong)MostSectors << SectorShift)
            {
                return RequestStatus.Failed;
            }

            if (isDiscard)
            {
                _store.Discard(sector << SectorShift, length);
            }
            else
            {
                _store.WriteZeroes(sector << SectorShift, length, mayUnmap);
            }
        }

        return FlushIfThrough();
    }

    private RequestStatus FlushIfThrough()
    {
        if (!_writeBack)
        {
            _store.Flush();
        }

        return RequestStatus.Ok;
    }

    private bool IsOnDisk(ulong sector, ulong length) =>
        length % (1 << SectorShift) == 0 && sector <= _store.Length >> SectorShift
        && length <= _store.Length - (sector << SectorShift);

    private sealed class Work
    {
        internal DescriptorChain Chain { get; } = new();

        internal HostRange[] Pieces { get; } = new HostRange[DescriptorChain.MaximumSegments];

        internal byte[] Buffer { get; } = new byte[BufferBytes];
    }
}
