using System;
using System.Buffers.Binary;
using System.Text;
using System.Threading;
using Hull.Host;

namespace Hull.Net;

/// <summary>
/// A tap device of the host's, which somebody has made and plugged into a bridge or given an address. Frames keep what is
/// left to do in them (IFF_VNET_HDR), so the host's network cards do it. When it is deleted the cable is out, and in again when
/// there is one of that name. Linux, Documentation/networking/tuntap.rst.
/// </summary>
internal sealed class TapPort : IEthernetPort
{
    private const int NameBytes = 16;
    private const int RequestBytes = 40;
    private const ushort Tap = 0x0002;
    private const ushort NoInformation = 0x1000;
    private const ushort Header = 0x4000;
    private const int WaitMs = 200;
    private const int PauseMs = 500;

    private readonly byte[] _in = new byte[FrameOffload.HeaderBytes + EthernetFrame.LargestUnsegmented];
    private readonly byte[] _out = new byte[FrameOffload.HeaderBytes + EthernetFrame.LargestUnsegmented];
    private readonly Lock _lock = new();
    private readonly ManualResetEventSlim _stopped = new();
    private HostChannel _channel;
    private OffloadAbility _receiver;
    private volatile bool _isUp = true;

    /// <summary>Opens the device.</summary>
    /// <exception cref="HullException">There is none of that name, or it is not the user's.</exception>
    internal TapPort(string name, int mtu, Action<string> notice)
    {
        Mtu = mtu;
        Name = name;
        Notice = notice;
        _channel = Open(name);
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
        lock (_lock)
        {
            // Without checksums the kernel allows nothing else.
            _receiver = (able & OffloadAbility.Checksum) == 0 ? OffloadAbility.None : able;
            _ = LibcNet.Ioctl(_channel.Descriptor, LibcNet.TunSetOffload, (nint)_receiver);
        }
    }

    /// <inheritdoc/>
    public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        lock (_lock)
        {
            if (!_isUp)
            {
                return;
            }

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
        while (!_stopped.IsSet)
        {
            if (!_isUp && !TryReopen())
            {
                continue;
            }

            int count = _channel.Read(_in);
            Span<byte> frame = _in.AsSpan(FrameOffload.HeaderBytes, Math.Max(count - FrameOffload.HeaderBytes, 0));
            if (count == 0 && !_stopped.IsSet)
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
        _stopped.Set();
        lock (_lock)
        {
            _channel.Stop();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _channel.Dispose();
        _stopped.Dispose();
    }

    private static HostChannel Open(string name)
    {
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

        HostChannel channel = new(fd);
        Span<byte> request = stackalloc byte[RequestBytes];
        Encoding.ASCII.GetBytes(name, request);
        BinaryPrimitives.WriteUInt16LittleEndian(request[NameBytes..], Tap | NoInformation | Header);
        if (LibcNet.Ioctl(fd, LibcNet.TunSetInterface, request) == 0
            && LibcNet.Ioctl(fd, LibcNet.TunSetHeaderSize, [FrameOffload.HeaderBytes, 0, 0, 0]) == 0)
        {
            return channel;
        }

        string reason = Libc.LastErrorMessage();
        channel.Dispose();
        throw new HullException($"tap={name}: {reason}: it is another's, or in use: run: sudo ip tuntap add {name} mode tap user $USER");
    }

    private void GoDown()
    {
        _isUp = false;
        Notice($"the tap device {Name} is gone: the guest has no network until there is one again");
        LinkChanged?.Invoke();
    }

    // A deleted device does not come back under its descriptor.
    private bool TryReopen()
    {
        if (_stopped.Wait(PauseMs))
        {
            return false;
        }

        HostChannel channel;
        try
        {
            channel = Open(Name);
        }
        catch (HullException)
        {
            return false;
        }

        HostChannel old;
        lock (_lock)
        {
            (old, _channel) = (_channel, channel);
            if (_stopped.IsSet)
            {
                channel.Stop();
            }
        }

        old.Dispose();
        SetReceiver(_receiver);
        _isUp = true;
        Notice($"the tap device {Name} is back");
        LinkChanged?.Invoke();
        return true;
    }
}
