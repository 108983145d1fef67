using System;
using System.Buffers.Binary;
using System.Text.Json.Serialization;
using System.Threading;
using Hull.Bus;
using Hull.Host;
using Hull.Memory;

namespace Hull.Devices.Virtio;

/// <summary>A balloon: takes memory from a running guest for the host, and gives it back.</summary>
public sealed record BalloonSpec : DeviceSpec
{
    /// <summary>Bytes that the guest keeps at first, as in 256M; all when null.</summary>
    public string? Size { get; init; }

    /// <summary>The driver does not tell the host of pages that are free anyhow.</summary>
    public bool KeepFree { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public override string LinuxDriver => "virtio_balloon";

    /// <inheritdoc/>
    internal override VirtioDevice Create(DeviceContext context)
    {
        BalloonDevice device = new(context, reports: !KeepFree);
        if (Size is not null)
        {
            device.SetTarget(ByteSize.TryParse(Size, out ulong bytes) ? bytes
                : throw new HullException($"balloon: '{Size}' is no size: give 256M, 1G or a number of MiB"));
        }

        return device;
    }
}

/// <summary>
/// Traditional memory balloon: pages that the guest gives up, or reports as free, go back to the host. Virtio 1.2
/// section 5.5, "Traditional Memory Balloon Device".
/// </summary>
internal sealed class BalloonDevice : VirtioDevice
{
    private const ulong FeatureStatistics = 1UL << 1;
    private const ulong FeatureDeflateOnOom = 1UL << 2;
    private const ulong FeaturePagePoison = 1UL << 4;
    private const ulong FeatureReporting = 1UL << 5;
    private const int Inflate = 0;
    private const int Deflate = 1;
    private const int FirstOptional = 2;
    private const int ActualAt = 4;
    private const int PoisonAt = 12;
    private const int PageShift = 12;
    private const int FramesAtOnce = 1024;
    private const int StatisticBytes = 10;
    private const int MostStatistics = 32;

    private readonly GuestMemory _memory;
    private readonly QueuePump _pump;
    private readonly DescriptorChain _chain = new();
    private readonly DescriptorChain _statistics = new();
    private readonly byte[] _frames = new byte[FramesAtOnce * 4];
    private readonly bool _reports;
    private volatile ulong?[] _values = new ulong?[MostStatistics];
    private volatile bool _wantsStatistics;
    private bool _holdsStatistics;
    private bool _awaitsStatistics;
    private uint _wantedPages;
    private uint _actualPages;
    private uint _poison;

    internal BalloonDevice(DeviceContext context, bool reports)
        : base(5, context.Memory, 128, 128, 16, 128, 128)
    {
        _memory = context.Memory;
        _reports = reports;
        _pump = new QueuePump($"hull-balloon{context.Index}", context.IsDeterministic ? 0 : 1, Step, context.NewBell());
    }

    /// <inheritdoc/>
    internal override uint PciClass => 0x05_0000;

    /// <inheritdoc/>
    internal override ulong DeviceFeatures =>
        FeatureStatistics | FeatureDeflateOnOom | (_reports ? FeatureReporting | FeaturePagePoison : 0);

    /// <inheritdoc/>
    internal override int ConfigurationLength => 16;

    /// <summary>Bytes that the guest has now.</summary>
    internal ulong Size => _memory.Size - Math.Min((ulong)Volatile.Read(ref _actualPages) << PageShift, _memory.Size);

    private bool HasStatistics => (Features & FeatureStatistics) != 0;

    /// <summary>Asks the guest to keep so much memory and give up the rest; it does as well as it can. Any thread.</summary>
    internal void SetTarget(ulong bytes)
    {
        ulong pages = (_memory.Size - Math.Min(bytes, _memory.Size)) >> PageShift;
        Volatile.Write(ref _wantedPages, (uint)Math.Min(pages, uint.MaxValue));
        ConfigurationChanged();
    }

    /// <summary>Asks the driver what it has to say of the guest's memory, and waits for that. Any thread.</summary>
    /// <param name="wait">For how long.</param>
    /// <returns>Null when it does not answer.</returns>
    internal GuestMemoryStatistics? ReadStatistics(TimeSpan wait)
    {
        ulong?[] before = _values;
        _wantsStatistics = true;
        _pump.Notify();
        return SpinWait.SpinUntil(() => _values != before, wait) ? GuestMemoryStatistics.From(_values) : null;
    }

    /// <inheritdoc/>
    internal override void Notified(int queue) => _pump.Notify();

    /// <inheritdoc/>
    internal override Doorbell? BellOf(int queue) => _pump.Bell;

    /// <inheritdoc/>
    internal override void ReadConfiguration(int offset, Span<byte> destination)
    {
        Span<byte> now = stackalloc byte[16];
        now.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(now, Volatile.Read(ref _wantedPages));
        BinaryPrimitives.WriteUInt32LittleEndian(now[ActualAt..], Volatile.Read(ref _actualPages));
        BinaryPrimitives.WriteUInt32LittleEndian(now[PoisonAt..], Volatile.Read(ref _poison));
        now.Slice(offset, destination.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    internal override void WriteConfiguration(int offset, ReadOnlySpan<byte> source)
    {
        if (source.Length == 4 && offset == ActualAt)
        {
            Volatile.Write(ref _actualPages, BinaryPrimitives.ReadUInt32LittleEndian(source));
        }
        else if (source.Length == 4 && offset == PoisonAt)
        {
            Volatile.Write(ref _poison, BinaryPrimitives.ReadUInt32LittleEndian(source));
        }
    }

    /// <inheritdoc/>
    protected override void Stopped(int queue)
    {
        _pump.Drain();
        if (queue < 0)
        {
            _holdsStatistics = false;
            _awaitsStatistics = false;
            _values = new ulong?[MostStatistics];
            Volatile.Write(ref _actualPages, 0);
            Volatile.Write(ref _poison, 0);
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _pump.Dispose();
        base.Dispose();
    }

    private bool Step()
    {
        bool any = false;
        for (int queue = Inflate; queue < Queues.Length; queue++)
        {
            if (queue == FirstOptional && HasStatistics)
            {
                any |= ExchangeStatistics();
            }
            else if (TryTake(queue, _chain, out _))
            {
                any = true;
                Execute(queue);
            }
        }

        return any;
    }

    private void Execute(int queue)
    {
        if (queue == Inflate)
        {
            GiveUp();
        }
        else if (queue >= FirstOptional && (Features & FeatureReporting) != 0 && !IsPoisoned)
        {
            // The queues for what is not agreed on are not there, and Linux counts on without them: whatever is left is the
            // reporting queue. Section 5.5.6.6, "Free Page Reporting".
            _chain.DiscardWritable();
        }

        // A page that comes back needs nothing: the host gives one at the first touch.
        Return(queue, _chain, 0);
    }

    // The guest finds in pages that it reported what it has in free ones. Zeros are all that a discarded page can have.
    private bool IsPoisoned => (Features & FeaturePagePoison) != 0 && Volatile.Read(ref _poison) != 0;

    // An array of 32-bit frame numbers. Frames that are not RAM are the guest's nonsense, and nothing happens.
    private void GiveUp()
    {
        for (ulong done = 0; done < _chain.ReadableBytes;)
        {
            int length = _chain.Read(done, _frames) & ~3;
            if (length == 0)
            {
                return;
            }

            done += (uint)length;
            Discard(_frames.AsSpan(0, length));
        }
    }

    // Neighbours go together: a call for each page would take most of the time.
    private void Discard(ReadOnlySpan<byte> frames)
    {
        ulong first = 0;
        ulong count = 0;
        for (; frames.Length > 0; frames = frames[4..])
        {
            ulong frame = BinaryPrimitives.ReadUInt32LittleEndian(frames);
            if (count > 0 && frame - first < count)
            {
                // Once more: a driver that means it has no page twice.
            }
            else if (count > 0 && frame == first + count)
            {
                count++;
            }
            else if (count > 0 && frame + 1 == first)
            {
                first--;
                count++;
            }
            else
            {
                _memory.TryDiscard(new GuestPhysical(first << PageShift), count << PageShift);
                (first, count) = (frame, 1);
            }
        }

        _memory.TryDiscard(new GuestPhysical(first << PageShift), count << PageShift);
    }

    // The driver's buffer stays here until somebody wants to know more. The first one it brings unasked: that is old by then.
    private bool ExchangeStatistics()
    {
        if (_holdsStatistics)
        {
            if (!_wantsStatistics)
            {
                return false;
            }

            _wantsStatistics = false;
            _holdsStatistics = false;
            _awaitsStatistics = true;
            Return(FirstOptional, _statistics, 0);
            return true;
        }

        if (!TryTake(FirstOptional, _statistics, out _))
        {
            return false;
        }

        _holdsStatistics = true;
        if (_awaitsStatistics)
        {
            _awaitsStatistics = false;
            _values = ParseStatistics();
        }

        return true;
    }

    private ulong?[] ParseStatistics()
    {
        Span<byte> raw = stackalloc byte[StatisticBytes * MostStatistics];
        raw = raw[.._statistics.Read(0, raw)];
        ulong?[] values = new ulong?[MostStatistics];
        for (; raw.Length >= StatisticBytes; raw = raw[StatisticBytes..])
        {
            ushort tag = BinaryPrimitives.ReadUInt16LittleEndian(raw);
            if (tag < MostStatistics)
            {
                values[tag] = BinaryPrimitives.ReadUInt64LittleEndian(raw[2..]);
            }
        }

        return values;
    }
}
