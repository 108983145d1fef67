using System;
using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Serialization;
using Hull.Bus;
using Hull.Files;
using Hull.Files.NineP;
using Hull.Host;

namespace Hull.Devices.Virtio;

/// <summary>A folder of the host's, for <c>mount -t 9p -o trans=virtio,version=9p2000.L TAG PLACE</c>.</summary>
public sealed record P9Spec : DeviceSpec
{
    /// <summary>The folder.</summary>
    public required string Path { get; init; }

    /// <summary>What the guest calls it, up to 31 bytes; "share" when null.</summary>
    public string? Tag { get; init; }

    /// <summary>The guest changes nothing.</summary>
    [JsonPropertyName("readonly")]
    public bool ReadOnly { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public override string LinuxDriver => "9pnet_virtio 9p";

    /// <inheritdoc/>
    internal override VirtioDevice Create(DeviceContext context)
    {
        byte[] tag = Encoding.UTF8.GetBytes(Tag ?? "share");
        if (tag.Length is 0 or > P9Device.MostTagBytes)
        {
            throw new HullException($"the tag '{Tag}' of {Path}: give 1 to {P9Device.MostTagBytes} bytes");
        }

        return new P9Device(context, FileTree.Open(new FileTreeOptions { Path = Path, ReadOnly = ReadOnly }), tag);
    }
}

/// <summary>9P transport: messages on one queue. Linux, net/9p/trans_virtio.c; Virtio 1.2 section 5, "Device Types".</summary>
internal sealed class P9Device : VirtioDevice
{
    internal const int MostTagBytes = 31;

    private const ulong FeatureMountTag = 1;
    private const int Threads = 4;

    private readonly P9Server _server;
    private readonly MessageQueue _messages;
    private readonly byte[] _configuration;

    internal P9Device(DeviceContext context, FileTree tree, byte[] tag)
        : base(9, context.Memory, 128)
    {
        _server = new P9Server(tree) { Ended = new ShareTrouble(tree, context.Notice).Ended };
        _configuration = new byte[2 + tag.Length];
        BinaryPrimitives.WriteUInt16LittleEndian(_configuration, (ushort)tag.Length);
        tag.CopyTo(_configuration, 2);
        _messages = new MessageQueue(
            $"hull-9p{context.Index}",
            context.IsDeterministic ? 0 : Threads,
            P9Server.MostMessage,
            _server.Handle,
            context.NewBell())
        {
            Take = chain => (TryTake(0, chain, out bool more), more),
            Return = (chain, written) => Return(0, chain, written),
            AskForMore = () => AskForMore(0),
            MayTakeLong = P9Server.MayTakeLong,
            Break = what => Break(0, what),
        };
    }

    /// <inheritdoc/>
    internal override uint PciClass => 0x01_8000;

    /// <inheritdoc/>
    internal override ulong DeviceFeatures => FeatureMountTag;

    /// <inheritdoc/>
    internal override int ConfigurationLength => _configuration.Length;

    /// <inheritdoc/>
    internal override void Notified(int queue) => _messages.Notify();

    /// <inheritdoc/>
    internal override Doorbell? BellOf(int queue) => _messages.Bell;

    /// <inheritdoc/>
    internal override void ReadConfiguration(int offset, Span<byte> destination) =>
        _configuration.AsSpan(offset, destination.Length).CopyTo(destination);

    /// <inheritdoc/>
    protected override void Stopped(int queue)
    {
        _messages.Drain();
        if (queue < 0)
        {
            _server.Reset();
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _messages.Dispose();
        _server.Dispose();
        base.Dispose();
    }
}
