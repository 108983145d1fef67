using System;
using System.Text;
using Hull.Host;

namespace Hull.Net;

/// <summary>
/// A tap device of the host's, which somebody has made and plugged into a bridge or given an address. Frames keep what is
/// left to do in them (IFF_VNET_HDR), so the host's network cards do it. Linux, Documentation/networking/tuntap.rst.
/// </summary>
internal sealed class TapPort : IEthernetPort
{
    private const int NameBytes = 16;
    private const int RequestBytes = 40;
    private const ushort Tap = 0x0002;
    private const ushort NoInformation = 0x1000;
    private const ushort Header = 0x4000;
    private const int WaitMs = 200;

    private readonly HostChannel _channel;
    private readonly byte[] _in = new byte[FrameOffload.HeaderBytes + EthernetFrame.LargestUnsegmented];
    private readonly byte[] _out = new byte[FrameOffload.HeaderBytes + EthernetFrame.LargestUnsegmented];
    private readonly System.Threading.Lock _lock = new();
    private volatile bool _stopped;
    private bool _isUp = true;

    /// <summary>Opens the device.</summary>
    /// <exception cref="HullException">There is none of that name, or it is not the user's.</exception>
    internal TapPort(string name, int mtu, Action<string> notice)
    {
        Mtu = mtu;
        Name = name;
        Notice = notice;
        if (name.Length == 0)
        {
            throw new HullException("tap=: give the name of a tap device of this host's, as in tap=tap0");
        }

        if (name.Length >= NameBytes || LibcNet.InterfaceIndex(name) == 0)
        {
            throw new HullException($"tap={name}: this host has no such device: run: sudo ip tuntap add {name} mode tap user $USER");
        }

        int fd = LibcNet.Open("/dev/net/tun", LibcNet.OpenReadWrite | LibcNet.CloseOnExec | LibcNet.NonBlocking);
        if (fd < 0)
        {
            throw new HullException($"tap={name}: cannot open /dev/net/tun: {Libc.LastErrorMessage()}");
        }

        _channel = new HostChannel(fd);
        Span<byte> request = stackalloc byte[RequestBytes];
        Encoding.ASCII.GetBytes(name, request);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16LittleEndian(request[NameBytes..], Tap | NoInformation | Header);
        if (LibcNet.Ioctl(fd, LibcNet.TunSetInterface, request) != 0
            || LibcNet.Ioctl(fd, LibcNet.TunSetHeaderSize, [FrameOffload.HeaderBytes, 0, 0, 0]) != 0)
        {
            string reason = Libc.LastErrorMessage();
            _channel.Dispose();
            throw new HullException($"tap={name}: {reason}: it is another's, or in use: run: sudo ip tuntap add {name} mode tap user $USER");
        }

        SetReceiver(OffloadAbility.None);
    }

    /// <inheritdoc/>
    public OffloadAbility Takes => OffloadAbility.All;

    /// <inheritdoc/>
    public int LargestFrame => EthernetFrame.LargestUnsegmented;

    /// <inheritdoc/>
    public int Mtu { get; }

    /// <inheritdoc/>
    public bool IsUp => _isUp;

    /// <inheritdoc/>
    public Action? LinkChanged { get; set; }

    private string Name { get; }

    private Action<string> Notice { get; }

    // TUN_F_CSUM, TSO4, TSO6 and TSO_ECN are the same bits.
    /// <inheritdoc/>
    public void SetReceiver(OffloadAbility able)
    {
        // Without checksums the kernel allows nothing else.
        nint flags = (able & OffloadAbility.Checksum) == 0 ? 0 : (nint)able;
        _ = LibcNet.Ioctl(_channel.Descriptor, LibcNet.TunSetOffload, flags);
    }

    /// <inheritdoc/>
    public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        lock (_lock)
        {
            offload.Write(_out);
            frame.CopyTo(_out.AsSpan(FrameOffload.HeaderBytes));
            _ = _channel.Write(_out.AsSpan(0, FrameOffload.HeaderBytes + frame.Length), WaitMs);
        }
    }

    /// <inheritdoc/>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public Span<byte> Receive(out FrameOffload offload)
    {
        offload = default;
        while (!_stopped)
        {
            int count = _channel.Read(_in);
            Span<byte> frame = _in.AsSpan(FrameOffload.HeaderBytes, Math.Max(count - FrameOffload.HeaderBytes, 0));
            if (count == 0 && !_stopped)
            {
                GoDown();
            }
            else if (frame.Length >= EthernetFrame.HeaderBytes && FrameOffload.TryRead(_in, frame.Length, out offload))
            {
                return frame;
            }
        }

        return [];
    }

    /// <inheritdoc/>
    public void Stop()
    {
        _stopped = true;
        _channel.Stop();
    }

    /// <inheritdoc/>
    public void Dispose() => _channel.Dispose();

    // The device was deleted: it does not come back under this descriptor.
    private void GoDown()
    {
        _stopped = true;
        _isUp = false;
        Notice($"the tap device {Name} is gone: the guest has no network");
        LinkChanged?.Invoke();
    }
}
