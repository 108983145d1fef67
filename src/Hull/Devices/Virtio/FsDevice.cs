using System;
using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Serialization;
using Hull.Bus;
using Hull.Files;
using Hull.Files.Fuse;
using Hull.Host;

namespace Hull.Devices.Virtio;

/// <summary>A folder of the host's, for <c>mount -t virtiofs TAG PLACE</c>.</summary>
public sealed record FsSpec : DeviceSpec
{
    /// <summary>The folder.</summary>
    public required string Path { get; init; }

    /// <summary>What the guest calls it, up to 36 bytes; "share" when null.</summary>
    public string? Tag { get; init; }

    /// <summary>The guest changes nothing.</summary>
    [JsonPropertyName("readonly")]
    public bool ReadOnly { get; init; }

    /// <summary>
    /// Nobody changes the folder while the guest runs: the guest need not ask again. There are no extended attributes.
    /// </summary>
    public bool Still { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public override string LinuxDriver => "virtiofs";

    /// <inheritdoc/>
    internal override VirtioDevice Create(DeviceContext context)
    {
        string tag = Tag ?? "share";
        if (Encoding.UTF8.GetByteCount(tag) is 0 or > FsDevice.TagBytes)
        {
            throw new HullException($"the tag '{tag}' of {Path}: give 1 to {FsDevice.TagBytes} bytes");
        }

        return new FsDevice(context, FileTree.Open(new FileTreeOptions { Path = Path, ReadOnly = ReadOnly }), tag, Still);
    }
}

/// <summary>
/// File system device: FUSE requests on a queue, those that must not wait on another. Virtio 1.2 section 5.11, "File System
/// Device".
/// </summary>
internal sealed class FsDevice : VirtioDevice
{
    internal const int TagBytes = 36;

    private const int RequestQueues = 1;
    private const int Threads = 4;
    private const uint AskAgainSeconds = 1;
    private const uint StillSeconds = 3600;

    private readonly FuseServer _server;
    private readonly byte[] _configuration = new byte[TagBytes + 4];
    private readonly MessageQueue[] _queues = new MessageQueue[1 + RequestQueues];

    internal FsDevice(DeviceContext context, FileTree tree, string tag, bool isStill)
        : base(26, context.Memory, 128, 1024)
    {
        _server = new FuseServer(tree, new FuseOptions
        {
            ValidSeconds = isStill ? StillSeconds : AskAgainSeconds,
            HidesAttributes = isStill,
        })
        {
            Ended = new ShareTrouble(tree, context.Notice).Ended,
        };
        Encoding.UTF8.GetBytes(tag, _configuration);
        BinaryPrimitives.WriteUInt32LittleEndian(_configuration.AsSpan(TagBytes), RequestQueues);
        for (int i = 0; i < _queues.Length; i++)
        {
            int queue = i;
            int threads = context.IsDeterministic ? 0 : i == 0 ? 1 : Threads;
            _queues[i] = new MessageQueue($"hull-fs{context.Index}", threads, FuseServer.MostMessage, _server.Handle, context.NewBell())
            {
                Take = chain => (TryTake(queue, chain, out bool more), more),
                Return = (chain, written) => Return(queue, chain, written),
                AskForMore = () => AskForMore(queue),
                MayTakeLong = FuseServer.MayTakeLong,
                Break = what => Break(queue, what),
            };
        }
    }

    /// <inheritdoc/>
    internal override uint PciClass => 0x01_8000;

    /// <inheritdoc/>
    internal override ulong DeviceFeatures => 0;

    /// <inheritdoc/>
    internal override int ConfigurationLength => _configuration.Length;

    /// <inheritdoc/>
    internal override void Notified(int queue) => _queues[queue].Notify();

    /// <inheritdoc/>
    internal override Doorbell? BellOf(int queue) => _queues[queue].Bell;

    /// <inheritdoc/>
    internal override void ReadConfiguration(int offset, Span<byte> destination) =>
        _configuration.AsSpan(offset, destination.Length).CopyTo(destination);

    /// <inheritdoc/>
    protected override void Stopped(int queue)
    {
        foreach (MessageQueue messages in _queues)
        {
            messages.Drain();
        }

        if (queue < 0)
        {
            _server.Reset();
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        foreach (MessageQueue messages in _queues)
        {
            messages.Dispose();
        }

        _server.Dispose();
        base.Dispose();
    }
}
