using System;
using System.Buffers.Binary;
using System.IO;
using System.Text.Json.Serialization;
using Hull.Bus;
using Hull.Host;
using Hull.Memory;
using Hull.Storage;

namespace Hull.Devices.Virtio;

/// <summary>A file of the host's as memory of the guest's: the guest has its pages themselves, and no copy of them.</summary>
public sealed record PmemSpec : DeviceSpec
{
    /// <summary>The file, or a block device of the host's.</summary>
    public required string File { get; init; }

    /// <summary>
    /// The file is shared with other readers and stays as it is: what the guest writes is the guest's own, and gone at its end.
    /// </summary>
    [JsonPropertyName("readonly")]
    public bool ReadOnly { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public override string LinuxDriver => "virtio_pmem nd_pmem";

    /// <summary>Bytes of guest memory that the file needs.</summary>
    /// <exception cref="HullException">It is not there, or cannot be memory.</exception>
    internal ulong Room()
    {
        using ImageFile file = ImageFile.Open(File, ReadOnly);
        return FileArea.RoomFor(CheckedLength(file));
    }

    /// <inheritdoc/>
    internal override VirtioDevice Create(DeviceContext context)
    {
        ImageFile file = ImageFile.Open(File, ReadOnly);
        try
        {
            return new PmemDevice(context, file, CheckedLength(file), ReadOnly);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    // The end of the last step would be memory that no file keeps.
    private ulong CheckedLength(ImageFile file)
    {
        ulong length = file.Length;
        return length is 0 or > FileArea.Limit
            ? throw new HullException($"{File} has {length} bytes: persistent memory has 1 byte to {FileArea.Limit >> 30} GiB")
            : ReadOnly || length % FileArea.Step == 0
            ? length
            : throw new HullException(
                $"{File} has {length} bytes: memory that the guest writes comes in steps of 2 MiB (truncate -s %2M {File}, or ',readonly')");
    }
}

/// <summary>
/// Persistent memory: the file is in the guest's memory, and a request says when it must be on the disk. Virtio 1.2 section
/// 5.19, "PMEM Device".
/// </summary>
internal sealed class PmemDevice : VirtioDevice
{
    private const uint FlushRequest = 0;
    private const uint Failed = uint.MaxValue;
    private const int WordBytes = 4;

    private readonly byte[] _configuration = new byte[16];
    private readonly FileArea _area;
    private readonly ImageFile _file;
    private readonly ulong _at;
    private readonly ulong _length;
    private readonly bool _isPrivate;
    private readonly QueuePump _pump;
    private readonly HostTrouble _trouble;
    private readonly DescriptorChain _chain = new();

    internal PmemDevice(DeviceContext context, ImageFile file, ulong length, bool isPrivate)
        : base(27, context.Memory, 64)
    {
        _file = file;
        _length = length;
        _isPrivate = isPrivate;
        _area = context.Memory.Files;
        _at = _area.Map(file.Handle, file.Name, length, isPrivate);
        _trouble = new HostTrouble(context.Notice, "the guest's persistent memory");
        BinaryPrimitives.WriteUInt64LittleEndian(_configuration, _at);
        BinaryPrimitives.WriteUInt64LittleEndian(_configuration.AsSpan(8), FileArea.RoomFor(length));
        _pump = new QueuePump($"hull-pmem{context.Index}", context.IsDeterministic ? 0 : 1, Step, context.NewBell());
    }

    /// <inheritdoc/>
    internal override ulong DeviceFeatures => 0;

    /// <inheritdoc/>
    internal override int ConfigurationLength => _configuration.Length;

    /// <inheritdoc/>
    internal override void Notified(int queue) => _pump.Notify();

    /// <inheritdoc/>
    internal override Doorbell? BellOf(int queue) => _pump.Bell;

    /// <inheritdoc/>
    internal override void ReadConfiguration(int offset, Span<byte> destination) =>
        _configuration.AsSpan(offset, destination.Length).CopyTo(destination);

    /// <inheritdoc/>
    protected override void Stopped(int queue) => _pump.Drain();

    /// <inheritdoc/>
    public override void Dispose()
    {
        _pump.Dispose();
        _area.Unmap(_at);
        _file.Dispose();
        base.Dispose();
    }

    private bool Step()
    {
        if (!TryTake(0, _chain, out _))
        {
            return false;
        }

        Span<byte> word = stackalloc byte[WordBytes];
        if (_chain.ReadableBytes < WordBytes || _chain.WritableBytes < WordBytes)
        {
            Break(0, "a request without type or result");
            return false;
        }

        _chain.Read(0, word);
        bool done = BinaryPrimitives.ReadUInt32LittleEndian(word) == FlushRequest && Flush();
        BinaryPrimitives.WriteUInt32LittleEndian(word, done ? 0 : Failed);
        _chain.Write(0, word);
        Return(0, _chain, WordBytes);
        return true;
    }

    private bool Flush()
    {
        try
        {
            if (_file.Length < _length)
            {
                throw new IOException($"{_file.Name} ends at {_file.Length}: it was cut while in use");
            }

            if (_area.HasLost(_at))
            {
                throw new IOException($"{_file.Name}: the host's disk was full, or the file was cut; pages of it are lost until the guest starts anew");
            }

            if (!_isPrivate)
            {
                _file.Sync();
            }

            _trouble.Worked();
            return true;
        }
        catch (IOException e)
        {
            _trouble.Failed(e.Message);
            return false;
        }
    }
}
