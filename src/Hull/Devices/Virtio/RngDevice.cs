using System;
using System.IO;
using System.Text.Json.Serialization;
using Hull.Bus;
using Hull.Host;

namespace Hull.Devices.Virtio;

/// <summary>A source of entropy for the guest.</summary>
public sealed record RngSpec : DeviceSpec
{
    /// <summary>Host file to read from; the system's generator when null.</summary>
    public string? Source { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public override string LinuxDriver => "virtio_rng";

    /// <inheritdoc/>
    internal override VirtioDevice Create(DeviceContext context)
    {
        if (Source is null && context.IsDeterministic)
        {
            throw new HullException("--deterministic: a rng device needs source=FILE, so that its bytes are the same each time");
        }

        return new RngDevice(context, Source);
    }
}

/// <summary>Entropy device. Virtio 1.2 section 5.4, "Entropy Device".</summary>
internal sealed class RngDevice : VirtioDevice
{
    private const int MostBytes = 4096;

    private readonly FileStream? _source;
    private readonly QueuePump _pump;
    private readonly DescriptorChain _chain = new();
    private readonly byte[] _bytes = new byte[MostBytes];

    internal RngDevice(DeviceContext context, string? source)
        : base(4, context.Memory, 64)
    {
        try
        {
            _source = source is null ? null : new FileStream(source, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 0);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new HullException($"cannot open the rng device's source {source}: {e.Message}");
        }

        _pump = new QueuePump("hull-rng", context.IsDeterministic ? 0 : 1, Step, context.NewBell());
    }

    /// <inheritdoc/>
    internal override uint PciClass => 0x10_0000;

    /// <inheritdoc/>
    internal override ulong DeviceFeatures => 0;

    /// <inheritdoc/>
    internal override int ConfigurationLength => 0;

    /// <inheritdoc/>
    internal override void Notified(int queue) => _pump.Notify();

    /// <inheritdoc/>
    internal override Doorbell? BellOf(int queue) => _pump.Bell;

    /// <inheritdoc/>
    internal override void ReadConfiguration(int offset, Span<byte> destination)
    {
    }

    /// <inheritdoc/>
    protected override void Stopped(int queue) => _pump.Drain();

    /// <inheritdoc/>
    public override void Dispose()
    {
        _pump.Dispose();
        _source?.Dispose();
        base.Dispose();
    }

    private bool Step()
    {
        if (!TryTake(0, _chain, out _))
        {
            return false;
        }

        // The driver takes what it gets, and asks again.
        Span<byte> bytes = _bytes.AsSpan(0, (int)Math.Min(_chain.WritableBytes, MostBytes));
        int count = Fill(bytes);
        _chain.Write(0, bytes[..count]);
        Return(0, _chain, (uint)count);
        return true;
    }

    private int Fill(Span<byte> bytes)
    {
        if (_source is null)
        {
            HostRandom.Fill(bytes);
            return bytes.Length;
        }

        try
        {
            return _source.Read(bytes);
        }
        catch (IOException)
        {
            return 0;
        }
    }
}
