using System;
using System.Collections.Generic;
using System.Threading;

namespace Hull.Net;

/// <summary>
/// A switch in this process: network cards of several machines that are given the same one (<c>NetSpec.Switch</c>) are on
/// one Ethernet, with nobody else. It learns which address is where; a card that does not take its frames loses them, and
/// holds up nobody.
/// </summary>
public sealed class EthernetSwitch
{
    // Addresses that it remembers; a guest that makes up more only makes it flood.
    private const int MostAddresses = 1024;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, SwitchPort> _places = [];
    private SwitchPort[] _ports = [];

    /// <summary>A new port, which is there until it is disposed.</summary>
    internal IEthernetPort Attach(int mtu)
    {
        SwitchPort port = new(this, mtu);
        lock (_lock)
        {
            _ports = [.. _ports, port];
        }

        return port;
    }

    private void Forward(SwitchPort from, ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        ulong target = AddressAt(frame);
        ulong source = AddressAt(frame[EthernetFrame.AddressBytes..]);
        SwitchPort[] ports;
        SwitchPort? only;
        lock (_lock)
        {
            if ((source & 1) == 0 && (_places.Count < MostAddresses || _places.ContainsKey(source)))
            {
                _places[source] = from;
            }

            ports = _ports;
            only = (target & 1) == 0 ? _places.GetValueOrDefault(target) : null;
        }

        foreach (SwitchPort port in ports)
        {
            if (port != from && (only is null || only == port))
            {
                port.Deliver(frame, offload);
            }
        }
    }

    private void Detach(SwitchPort port)
    {
        lock (_lock)
        {
            _ports = Array.FindAll(_ports, other => other != port);
            foreach ((ulong address, SwitchPort place) in _places)
            {
                if (place == port)
                {
                    _places.Remove(address);
                }
            }
        }
    }

    // The group bit, the lowest of the first byte, is the lowest here.
    private static ulong AddressAt(ReadOnlySpan<byte> at) =>
        at[0] | ((ulong)at[1] << 8) | ((ulong)at[2] << 16) | ((ulong)at[3] << 24) | ((ulong)at[4] << 32) | ((ulong)at[5] << 40);

    private sealed class SwitchPort(EthernetSwitch owner, int mtu) : IEthernetPort
    {
        private const int RingBytes = 2 << 20;

        private readonly FrameFinisher _finisher = new();
        private readonly FrameRing _ring = new(RingBytes);
        private readonly Lock _deliver = new();
        private readonly byte[] _scratch = new byte[EthernetFrame.LargestUnsegmented];
        private volatile OffloadAbility _able;

        public OffloadAbility Takes => OffloadAbility.All;

        public int LargestFrame => EthernetFrame.LargestUnsegmented;

        public int Mtu => mtu;

        public bool IsUp => true;

        public Action? LinkChanged { get; set; }

        public void SetReceiver(OffloadAbility able) => _able = able;

        public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
        {
            if (frame.Length >= EthernetFrame.HeaderBytes)
            {
                owner.Forward(this, frame, offload);
            }
        }

        public void Flush()
        {
        }

        public Span<byte> Receive(out FrameOffload offload) => _ring.Take(out offload);

        public void Stop() => _ring.Stop();

        public void Dispose() => owner.Detach(this);

        // On the sender's thread: what the receiver cannot do is done here.
        internal void Deliver(ReadOnlySpan<byte> frame, in FrameOffload offload)
        {
            if ((offload.Needs & ~_able) == 0)
            {
                _ring.Put(frame, offload);
                return;
            }

            lock (_deliver)
            {
                frame.CopyTo(_scratch);
                _finisher.Finish(_scratch.AsSpan(0, frame.Length), offload, _able, LargestFrame, _ring);
            }
        }
    }
}
