using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Net;
using Hull.Xen.Events;
using Hull.Xen.PvDevices;

namespace Hull.Xen.Network;

/// <summary>
/// A network card of a domain's: what a toolstack writes into the store for it, the talk with the guest's driver about its
/// rings, and the frames that come in. Xen, public/io/netif.h.
/// </summary>
internal sealed class NetBackend : IPvBackend, IFrameSink, IOtherDevice
{
    private const int Flows = 256;
    private const int LargestWithoutSg = 1500 + EthernetFrame.HeaderBytes + 4;

    private readonly Domain _domain;
    private readonly IEthernetPort _port;
    private readonly DeviceNodes _nodes;
    private readonly BackendHandshake _handshake;
    private readonly int _mostQueues;
    private readonly byte[] _flows = new byte[Flows];
    private readonly FrameFinisher _finisher = new();
    private readonly Lock _delivery = new();
    private readonly ManualResetEventSlim _room = new();
    private volatile Pair[] _pairs = [];
    private OffloadAbility _able;
    private OffloadAbility _ableIp6;
    private int _largest;
    private Thread? _receiver;
    private volatile bool _stopping;

    /// <summary>Writes the nodes of a card, eth0 for index 0; owns its port from now on. Under the domain's lock.</summary>
    internal NetBackend(Domain domain, NetCard card, int index)
    {
        _domain = domain;
        _port = card.Port;
        _mostQueues = card.Pairs;
        _nodes = new DeviceNodes(domain, "vif", index);
        string mac = string.Join(':', Array.ConvertAll(card.Mac, static part => part.ToString("x2", null)));
        string handle = DeviceNodes.Text($"{index}");
        _nodes.WriteFront("handle", handle);
        _nodes.WriteFront("mac", mac);
        foreach ((string key, string value) in (ReadOnlySpan<(string, string)>)[
            ("handle", handle), ("mac", mac), ("type", "vif"), ("hotplug-status", "connected"),
            ("feature-sg", "1"), ("feature-gso-tcpv4", "1"), ("feature-gso-tcpv6", "1"), ("feature-ipv6-csum-offload", "1"),
            ("feature-rx-copy", "1"), ("feature-rx-flip", "0"), ("feature-split-event-channels", "1"),
            ("multi-queue-max-queues", DeviceNodes.Text($"{_mostQueues}"))])
        {
            _nodes.WriteBack(key, value);
        }

        if (_port.Mtu != 0)
        {
            _nodes.WriteFront("mtu", DeviceNodes.Text($"{_port.Mtu}"));
        }

        _handshake = new BackendHandshake(domain, _nodes, this);
    }

    /// <inheritdoc/>
    public void Leave(Action gone) => _handshake.Leave(gone);

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping = true;
        _port.Stop();
        _room.Set();
        _receiver?.Join();
        _handshake.Dispose();
        foreach (Pair pair in _pairs)
        {
            pair.Transmit.Dispose();
        }

        _port.Dispose();
        _room.Dispose();
    }

    /// <summary>Waits until nothing that the guest sends is under way. Not under the domain's lock.</summary>
    internal void Drain() => Array.ForEach(_pairs, static pair => pair.Transmit.Drain());

    /// <inheritdoc/>
    public bool TryConnect()
    {
        int count = _nodes.ReadFrontNumber("multi-queue-num-queues") ?? 1;
        if (count < 1 || count > _mostQueues || !Says("request-rx-copy"))
        {
            return false;
        }

        bool multi = _nodes.ReadFront("multi-queue-num-queues") is not null;
        List<Pair> pairs = [];
        for (int i = 0; i < count; i++)
        {
            if (TryConnectPair(multi && count > 1 ? DeviceNodes.Text($"queue-{i}/") : "", i) is not Pair pair)
            {
                _pairs = [.. pairs];
                return false;
            }

            pairs.Add(pair);
        }

        bool hasSg = Says("feature-sg");
        OffloadAbility sum = Says("feature-no-csum-offload") ? OffloadAbility.None : OffloadAbility.Checksum;
        _able = sum | (hasSg && sum != 0 && Says("feature-gso-tcpv4") ? OffloadAbility.Tcp4 : 0);
        _ableIp6 = !Says("feature-ipv6-csum-offload") ? OffloadAbility.None
            : OffloadAbility.Checksum | (hasSg && Says("feature-gso-tcpv6") ? OffloadAbility.Tcp6 : 0);
        _largest = hasSg ? EthernetFrame.LargestUnsegmented : LargestWithoutSg;
        _port.SetReceiver(_able | _ableIp6);
        Array.Clear(_flows);
        _pairs = [.. pairs];
        if (_receiver is null)
        {
            _receiver = new Thread(Receive, 512 << 10) { Name = "hull-vif-rx", IsBackground = true };
            _receiver.Start();
        }

        return true;
    }

    /// <inheritdoc/>
    public Action Disconnect()
    {
        Pair[] pairs = _pairs;
        _pairs = [];
        _port.SetReceiver(OffloadAbility.None);
        return () =>
        {
            // Out of the wait for room; then whoever is still copying.
            _room.Set();
            lock (_delivery)
            {
            }

            Array.ForEach(pairs, static pair => pair.Release());
        };
    }

    /// <summary>Copies a frame that the guest can take as it is into its pages; waits for room. The receiving thread.</summary>
    public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        byte flow = EthernetFrame.GetFlow(frame);
        while (!_stopping)
        {
            ReceiveQueue queue;
            bool done;
            lock (_delivery)
            {
                Pair[] pairs = _pairs;
                if (pairs.Length == 0)
                {
                    return;
                }

                // The answers come back where the questions went out.
                _room.Reset();
                queue = pairs[Volatile.Read(ref _flows[flow]) % pairs.Length].Receive;
                done = queue.TryDeliver(frame, offload);
            }

            if (done)
            {
                queue.Publish();
                return;
            }

            _room.Wait();
        }
    }

    private bool Says(string feature) => _nodes.ReadFrontNumber(feature) is > 0;

    private Pair? TryConnectPair(string keys, int index)
    {
        EventPort? transmit = _nodes.FindPort(keys + "event-channel-tx") ?? _nodes.FindPort(keys + "event-channel");
        EventPort? receive = _nodes.FindPort(keys + "event-channel-rx") ?? transmit;
        if (transmit is null || receive is null
            || GrantedPages.TryHold(_domain.Grants, Reference(keys + "tx-ring-ref")) is not GrantedPages sent)
        {
            return null;
        }

        if (GrantedPages.TryHold(_domain.Grants, Reference(keys + "rx-ring-ref")) is not GrantedPages received)
        {
            sent.Dispose();
            return null;
        }

        SharedRing sentRing = new(_domain.Memory, sent.Pages, TransmitRequest.Bytes);
        SharedRing receivedRing = new(_domain.Memory, received.Pages, ReceiveQueue.SlotBytes);
        bool isOne = transmit == receive;
        TransmitQueue sender = new(
            _domain, _port, sentRing, transmit, isOne ? _room.Set : null,
            flow => Volatile.Write(ref _flows[flow], (byte)index));
        EventReceiver told = isOne ? sender.Receiver : _room.Set;
        if (!isOne)
        {
            EventChannels.Join(receive, told, "vif rx");
        }

        return new Pair(sender, new ReceiveQueue(_domain, receivedRing, receive, told), sent, received);
    }

    private uint Reference(string key) => (uint?)_nodes.ReadFrontNumber(key) ?? uint.MaxValue; // granted by nobody

    private void Receive()
    {
        while (!_stopping)
        {
            Span<byte> frame = _port.Receive(out FrameOffload offload);
            if (frame.Length == 0)
            {
                return;
            }

            if (_pairs.Length > 0)
            {
                bool isIp6 = EthernetFrame.GetPayload(frame, out _) == EthernetFrame.TypeIp6;
                _finisher.Finish(frame, offload, isIp6 ? _ableIp6 : _able, _largest, this);
            }
        }
    }

    /// <summary>Two rings that belong together.</summary>
    private sealed record Pair(TransmitQueue Transmit, ReceiveQueue Receive, GrantedPages SentPages, GrantedPages ReceivedPages)
    {
        internal void Release()
        {
            Transmit.Dispose();
            SentPages.Dispose();
            ReceivedPages.Dispose();
        }
    }
}
