using System;
using System.Buffers.Binary;
using System.Threading;
using Hull.Bus;
using Hull.Net;

namespace Hull.Devices.Virtio;

/// <summary>
/// Network card. A thread for each transmit queue copies frames out and gives them to the port; one thread waits at the port
/// and fills the guest's buffers, spread over as many as a frame needs. A guest that does not take its frames holds up only
/// that thread. Virtio 1.2 section 5.1, "Network Device".
/// </summary>
internal sealed class NetDevice : VirtioDevice, IFrameSink
{
    internal const int MaximumPairs = 8;

    private const ushort QueueSize = 256;
    private const int HeaderBytes = FrameOffload.HeaderBytes;
    private const int BufferCountAt = 10;
    private const int StatusAt = 6;
    private const int Flows = 256;
    private const ushort StatusLinkUp = 1;
    private const ushort StatusAnnounce = 2;

    private readonly IEthernetPort _port;
    private readonly NetControl _control;
    private readonly int _pairs;
    private readonly byte[] _configuration = new byte[12];
    private readonly QueuePump[] _senders;
    private readonly QueuePump _controller;
    private readonly DescriptorChain _controlChain = new();
    private readonly byte[] _flows = new byte[Flows];
    private readonly bool _hasThreads;
    private readonly Lock _delivery = new();
    private readonly ManualResetEventSlim _room = new();
    private readonly FrameFinisher _finisher = new();
    private readonly DescriptorChain _first = new();
    private readonly DescriptorChain _next = new();
    private Thread? _receiver;
    private int _announce;
    private volatile bool _running;
    private volatile bool _stopping;

    /// <summary>Makes the device; it owns the port from now on.</summary>
    internal NetDevice(DeviceContext context, IEthernetPort port, byte[] mac, int pairs)
        : base(1, context.Memory, QueueSizes(pairs))
    {
        _port = port;
        _pairs = pairs;
        _hasThreads = !context.IsDeterministic;
        mac.CopyTo(_configuration.AsSpan());
        BinaryPrimitives.WriteUInt16LittleEndian(_configuration.AsSpan(8), (ushort)pairs);
        BinaryPrimitives.WriteUInt16LittleEndian(_configuration.AsSpan(10), (ushort)port.Mtu);
        _control = new NetControl(mac, pairs);
        _senders = new QueuePump[pairs];
        for (int i = 0; i < pairs; i++)
        {
            Sender sender = new(this, i);
            _senders[i] = new QueuePump($"hull-net{context.Index}-tx", _hasThreads ? 1 : 0, sender.Step, context.NewBell());
        }

        _controller = new QueuePump($"hull-net{context.Index}-control", _hasThreads ? 1 : 0, ControlStep);
        port.LinkChanged = LinkChanged;
    }

    /// <inheritdoc/>
    internal override uint PciClass => 0x02_0000;

    /// <inheritdoc/>
    internal override ulong DeviceFeatures => NetFeature.Checksum | NetFeature.GuestChecksum | NetFeature.ControlGuestOffloads
        | NetFeature.Mac | NetFeature.GuestTcp4 | NetFeature.GuestTcp6 | NetFeature.GuestEcn | NetFeature.HostTcp4
        | NetFeature.HostTcp6 | NetFeature.HostEcn | NetFeature.MergeableBuffers | NetFeature.Status | NetFeature.ControlQueue
        | NetFeature.ControlReceive | NetFeature.ControlVlan | NetFeature.ControlReceiveExtra | NetFeature.GuestAnnounce
        | NetFeature.ControlMac | (_pairs > 1 ? NetFeature.Queues : 0) | (_port.Mtu != 0 ? NetFeature.Mtu : 0);

    /// <inheritdoc/>
    internal override int ConfigurationLength => _configuration.Length;

    // Section 5.1.2, "Virtqueues": without MQ there is one pair, whatever there could be.
    private int ControlQueue => (Features & NetFeature.Queues) != 0 ? 2 * _pairs : 2;

    /// <inheritdoc/>
    internal override void Notified(int queue)
    {
        if (queue == ControlQueue)
        {
            _controller.Notify();
        }
        else if (queue >= 2 * _pairs)
        {
            return;
        }
        else if ((queue & 1) != 0)
        {
            _senders[queue / 2].Notify();
        }
        else
        {
            _room.Set();
        }
    }

    /// <inheritdoc/>
    internal override Doorbell? BellOf(int queue) => (queue & 1) != 0 && queue < 2 * _pairs ? _senders[queue / 2].Bell : null;

    /// <inheritdoc/>
    internal override void ReadConfiguration(int offset, Span<byte> destination)
    {
        Span<byte> now = stackalloc byte[12];
        _configuration.CopyTo(now);
        int status = (_port.IsUp ? StatusLinkUp : 0) | (Volatile.Read(ref _announce) != 0 ? StatusAnnounce : 0);
        BinaryPrimitives.WriteUInt16LittleEndian(now[StatusAt..], (ushort)status);
        now.Slice(offset, destination.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    internal override void Started()
    {
        _control.GuestAble = NetFeature.GuestAble(Features);
        _port.SetReceiver(_control.GuestAble);
        _running = true;
        _room.Set();
        if (_receiver is null && _hasThreads)
        {
            _receiver = new Thread(Receive, 512 << 10) { Name = "hull-net-rx", IsBackground = true };
            _receiver.Start();
        }
    }

    /// <inheritdoc/>
    protected override void Stopped(int queue)
    {
        if (queue < 0)
        {
            _running = false;
        }

        // Out of the wait for buffers; then whoever is still copying into some.
        _room.Set();
        lock (_delivery)
        {
        }

        foreach (QueuePump sender in _senders)
        {
            sender.Drain();
        }

        _controller.Drain();
        if (queue < 0)
        {
            _control.Reset();
            _port.SetReceiver(OffloadAbility.None);
            Volatile.Write(ref _announce, 0);
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _stopping = true;
        _running = false;
        _port.Stop();
        _room.Set();
        _receiver?.Join();
        foreach (QueuePump sender in _senders)
        {
            sender.Dispose();
        }

        _controller.Dispose();
        _port.Dispose();
        _room.Dispose();
        base.Dispose();
    }

    /// <summary>Fills the guest's buffers with a frame that it can take as it is; waits for buffers. The receiving thread.</summary>
    public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        int pair = _control.Pairs > 1 ? Volatile.Read(ref _flows[EthernetFrame.GetFlow(frame)]) % _control.Pairs : 0;
        while (_running && !_stopping && !NeedsReset)
        {
            _room.Reset();
            bool done;
            lock (_delivery)
            {
                // A queue that is being reset has no use for frames, and must not hold up the others.
                done = !_running || !Queues[2 * pair].IsEnabled || TryDeliver(2 * pair, frame, offload);
            }

            if (done)
            {
                Publish(2 * pair);
                return;
            }

            _room.Wait();
        }
    }

    private static ushort[] QueueSizes(int pairs)
    {
        ushort[] sizes = new ushort[(2 * pairs) + 1];
        Array.Fill(sizes, QueueSize);
        sizes[^1] = 64;
        return sizes;
    }

    private void Receive()
    {
        while (!_stopping)
        {
            Span<byte> frame = _port.Receive(out FrameOffload offload);
            if (frame.Length == 0)
            {
                return;
            }

            if (_running && _control.Filter.Passes(frame))
            {
                _finisher.Finish(frame, offload, _control.GuestAble, EthernetFrame.LargestUnsegmented, this);
            }
        }
    }

    // Section 5.1.6.4, "Processing of Incoming Packets". False: not enough buffers yet, and none is used.
    private bool TryDeliver(int queue, ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        if (!TryTake(queue, _first, out _))
        {
            return false;
        }

        Span<byte> header = stackalloc byte[HeaderBytes];
        FrameOffload told = (_control.GuestAble & OffloadAbility.Checksum) != 0 ? offload : default;
        told.Write(header);
        int done = _first.Write(HeaderBytes, frame);
        bool isOne = done == frame.Length;
        if (_first.Write(0, header) != HeaderBytes || (!isOne && (Features & NetFeature.MergeableBuffers) == 0))
        {
            // Too small for any frame, or for this one: the buffer comes back empty, and the frame is lost.
            Queues[queue].Stage(_first, 0);
            return true;
        }

        Queues[queue].Stage(_first, (uint)(HeaderBytes + done));
        ushort buffers = 1;
        for (; done < frame.Length; buffers++)
        {
            if (buffers == Queues[queue].Size || !TryTake(queue, _next, out _))
            {
                // What the guest has given in all is too little: the frame is lost, not waited with for ever.
                Queues[queue].Unstage();
                return buffers == Queues[queue].Size;
            }

            int written = _next.Write(0, frame[done..]);
            Queues[queue].Stage(_next, (uint)written);
            done += written;
        }

        if (buffers > 1)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(header, buffers);
            _first.Write(BufferCountAt, header[..2]);
        }

        return true;
    }

    private bool ControlStep()
    {
        int queue = ControlQueue;
        if (!TryTake(queue, _controlChain, out _))
        {
            return false;
        }

        if (_controlChain.WritableBytes == 0)
        {
            Break(queue, "a command without room for the answer");
            return false;
        }

        bool good = _control.Execute(_controlChain, Features, out NetChange change);
        if (change == NetChange.Mac)
        {
            _control.Mac.CopyTo(_configuration.AsSpan());
        }
        else if (change == NetChange.Offloads)
        {
            _port.SetReceiver(_control.GuestAble);
        }
        else if (change == NetChange.Announced)
        {
            Volatile.Write(ref _announce, 0);
        }

        _controlChain.Write(0, [good ? (byte)0 : (byte)1]);
        Return(queue, _controlChain, 1);
        return true;
    }

    private void LinkChanged()
    {
        // Behind a cable that was out, others may have forgotten the guest. Section 5.1.6.5.4, "Gratuitous Packet Sending".
        if (_port.IsUp && _running && (Features & NetFeature.GuestAnnounce) != 0)
        {
            Volatile.Write(ref _announce, 1);
        }

        ConfigurationChanged();
    }

    /// <summary>The work of one transmit queue.</summary>
    private sealed class Sender(NetDevice owner, int pair)
    {
        private readonly DescriptorChain _chain = new();
        private readonly FrameFinisher _finisher = new();
        private readonly byte[] _frame = new byte[EthernetFrame.LargestUnsegmented];

        // Section 5.1.6.2, "Packet Transmission". What no port could send is taken and dropped.
        internal bool Step()
        {
            int queue = (2 * pair) + 1;
            if (queue == owner.ControlQueue || !owner.TryTake(queue, _chain, out _))
            {
                owner._port.Flush();
                return false;
            }

            Span<byte> header = stackalloc byte[HeaderBytes];
            ulong length = _chain.ReadableBytes - HeaderBytes;
            bool good = length is >= EthernetFrame.HeaderBytes and <= EthernetFrame.LargestUnsegmented;
            Span<byte> frame = good ? _frame.AsSpan(0, (int)length) : [];
            _chain.Read(0, header);
            _chain.Read(HeaderBytes, frame);
            owner.Return(queue, _chain, 0);
            if (good && FrameOffload.TryRead(header, frame.Length, out FrameOffload offload)
                && (offload.Needs & ~NetFeature.HostAble(owner.Features)) == 0)
            {
                if (owner._control.Pairs > 1)
                {
                    // The answers come back where the questions went out. Section 5.1.6.5.6.1, "Automatic receive steering".
                    Volatile.Write(ref owner._flows[EthernetFrame.GetFlow(frame)], (byte)pair);
                }

                IEthernetPort port = owner._port;
                _finisher.Finish(frame, offload with { ChecksumIsGood = false }, port.Takes, port.LargestFrame, port);
            }

            return true;
        }
    }
}
