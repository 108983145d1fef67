using System;
using System.Buffers.Binary;
using System.Text.Json.Serialization;
using System.Threading;
using Hull.Host;

namespace Hull.Devices.Virtio;

/// <summary>
/// Sockets between guest and host. A program of the host's connects to the Unix socket and says <c>CONNECT PORT</c> on a
/// line; what the guest connects to, port P of the host, is the Unix socket PATH_P.
/// </summary>
public sealed record VsockSpec : DeviceSpec
{
    private const ulong FirstGuestCid = 3;

    /// <summary>The Unix socket that Hull makes.</summary>
    public required string Path { get; init; }

    /// <summary>The guest's context identifier, from 3 on; 0: 3.</summary>
    public ulong Cid { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public override string LinuxDriver => "vmw_vsock_virtio_transport";

    /// <inheritdoc/>
    internal override VirtioDevice Create(DeviceContext context)
    {
        if (context.IsDeterministic)
        {
            throw new HullException("--deterministic: nobody outside keeps virtual time: leave out the vsock device");
        }

        return Cid is 0 or (>= FirstGuestCid and < uint.MaxValue)
            ? new VsockDevice(context, Path, Cid == 0 ? FirstGuestCid : Cid)
            : throw new HullException($"vsock: cid={Cid}: give 3 to {uint.MaxValue - 1}");
    }
}

/// <summary>
/// Socket device: its queues, and the thread that waits for the driver and for the host's sockets. What is said on them
/// is <see cref="VsockSwitch"/>'s. Virtio 1.2 section 5.10, "Socket Device".
/// </summary>
internal sealed class VsockDevice : VirtioDevice
{
    private const int Receive = 0;
    private const int Transmit = 1;
    private const int PieceBytes = VsockConnection.Room;        // a packet with more is for no connection

    private readonly ulong _cid;
    private readonly VsockSwitch _switch;
    private readonly HostWake _wake = new();
    private readonly Lock _gate = new();
    private readonly DescriptorChain _in = new();
    private readonly DescriptorChain _out = new();
    private readonly byte[] _piece = new byte[PieceBytes];
    private readonly Thread? _thread;
    private volatile bool _stopping;

    /// <summary>Makes the device and its Unix socket.</summary>
    /// <exception cref="HullException">The socket cannot be made.</exception>
    internal VsockDevice(DeviceContext context, string path, ulong cid)
        : base(19, context.Memory, 256, 256, 64)
    {
        _cid = cid;
        _switch = new VsockSwitch(path, cid);
        if (!context.IsDeterministic)
        {
            _thread = new Thread(Run, 512 << 10) { Name = $"hull-vsock{context.Index}", IsBackground = true };
            _thread.Start();
        }
    }

    /// <inheritdoc/>
    internal override uint PciClass => 0x07_8000;

    /// <inheritdoc/>
    internal override ulong DeviceFeatures => 1;                // VIRTIO_VSOCK_F_STREAM

    /// <inheritdoc/>
    internal override int ConfigurationLength => 8;

    /// <inheritdoc/>
    internal override void Notified(int queue)
    {
        if (_thread is not null)
        {
            _wake.Set();
            return;
        }

        lock (_gate)
        {
            Work();
        }
    }

    /// <inheritdoc/>
    internal override void ReadConfiguration(int offset, Span<byte> destination)
    {
        Span<byte> now = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(now, _cid);
        now.Slice(offset, destination.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    protected override void Stopped(int queue)
    {
        lock (_gate)
        {
            if (queue < 0)
            {
                _switch.Reset();
            }
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _stopping = true;
        _wake.Set();
        _thread?.Join();
        _switch.Dispose();
        _wake.Dispose();
        base.Dispose();
    }

    private void Run()
    {
        while (!_stopping)
        {
            Span<ulong> polled;
            bool isReady;
            lock (_gate)
            {
                polled = _switch.Prepare(_wake, out isReady);
            }

            _ = LibcStreams.Poll(polled, (nuint)polled.Length, isReady ? 0 : -1);
            _wake.Take();
            lock (_gate)
            {
                _switch.TakePolled(polled);
                Work();
            }
        }
    }

    // All that can be done now. Packets of the guest's wait while it does not take the answers to earlier ones.
    private void Work()
    {
        bool any;
        do
        {
            any = false;
            while (_switch.HasRoom && TryTake(Transmit, _out, out _))
            {
                any = true;
                Take();
                Return(Transmit, _out, 0);
            }

            _switch.LookAtHost();
            while (_switch.HasPacket && TryTake(Receive, _in, out _))
            {
                any = true;
                Give();
            }
        }
        while (any);
        _switch.GuestHasRoom = !_switch.HasPacket;
    }

    private void Take()
    {
        Span<byte> header = stackalloc byte[VsockPacket.HeaderBytes];
        if (_out.Read(0, header) != header.Length)
        {
            Break(Transmit, "a packet without a whole header");
            return;
        }

        VsockPacket packet = VsockPacket.Read(header);
        int length = packet.Operation == VsockOperation.Data ? (int)Math.Min(packet.Length, PieceBytes) : 0;
        _switch.Take(packet, _piece.AsSpan(0, _out.Read(VsockPacket.HeaderBytes, _piece.AsSpan(0, length))));
    }

    private void Give()
    {
        Span<byte> header = stackalloc byte[VsockPacket.HeaderBytes];
        int room = (int)Math.Min(_in.WritableBytes, VsockPacket.HeaderBytes + PieceBytes) - VsockPacket.HeaderBytes;
        if (room < 0)
        {
            Break(Receive, "a buffer that holds no header");
            return;
        }

        int length = _switch.Give(_piece.AsSpan(0, room), out VsockPacket packet);
        packet.Write(header);
        _in.Write(0, header);
        _in.Write(VsockPacket.HeaderBytes, _piece.AsSpan(0, length));
        Return(Receive, _in, (uint)(VsockPacket.HeaderBytes + length));
    }
}
