using System;
using System.Buffers.Binary;
using Hull.Net;

namespace Hull.Devices.Virtio;

/// <summary>What a command of the control queue has changed, for the device to act on.</summary>
internal enum NetChange
{
    /// <summary>Nothing outside of <see cref="NetControl"/>.</summary>
    None,

    /// <summary>The card's address.</summary>
    Mac,

    /// <summary>What the guest can do itself.</summary>
    Offloads,

    /// <summary>The guest has made itself known.</summary>
    Announced,
}

/// <summary>
/// The commands of the control queue, and what they set. One thread executes; others read what is set at any time. Virtio
/// 1.2 section 5.1.6.5, "Control Virtqueue".
/// </summary>
internal sealed class NetControl(byte[] mac, int pairs)
{
    // Two bytes of class and command, then addresses: twice as many as are told apart are still read.
    private const int MostBytes = 2 + 8 + (4 * NetFilter.MostAddresses * EthernetFrame.AddressBytes);

    private readonly byte[] _request = new byte[MostBytes];
    private volatile int _pairs = 1;
    private volatile OffloadAbility _able;

    private enum Class : byte
    {
        Receive = 0,
        Mac = 1,
        Vlan = 2,
        Announce = 3,
        Queues = 4,
        GuestOffloads = 5,
    }

    /// <summary>The card's address, as the driver has set it.</summary>
    internal byte[] Mac { get; private set; } = [.. mac];

    /// <summary>Pairs of queues in use.</summary>
    internal int Pairs => _pairs;

    /// <summary>What the guest can do itself.</summary>
    internal OffloadAbility GuestAble
    {
        get => _able;
        set => _able = value;
    }

    /// <summary>Which frames the guest wants.</summary>
    internal NetFilter Filter { get; private set; } = new(mac);

    /// <summary>Back to the state after power-on.</summary>
    internal void Reset()
    {
        _pairs = 1;
        _able = OffloadAbility.None;
        Filter = new NetFilter(Mac);
    }

    /// <summary>Executes a command.</summary>
    /// <param name="chain">Class, command and data; the answer is written by the caller.</param>
    /// <param name="features">What driver and device have agreed on.</param>
    /// <param name="change">What is to be done outside.</param>
    /// <returns>False when it cannot be done (VIRTIO_NET_ERR); then nothing has changed.</returns>
    internal bool Execute(DescriptorChain chain, ulong features, out NetChange change)
    {
        change = NetChange.None;
        int length = chain.Read(0, _request);
        if (length < 2)
        {
            return false;
        }

        byte command = _request[1];
        ReadOnlySpan<byte> data = _request.AsSpan(2, length - 2);
        switch ((Class)_request[0])
        {
            case Class.Receive when Has(features, command < 2 ? NetFeature.ControlReceive : NetFeature.ControlReceiveExtra):
                return data.Length >= 1 && Filter.TrySetMode(command, (data[0] & 1) != 0);
            case Class.Mac when command == 0 && Has(features, NetFeature.ControlReceive):
                return Filter.TrySetTable(data, chain.ReadableBytes == (ulong)length);
            case Class.Mac when command == 1 && Has(features, NetFeature.ControlMac):
                change = NetChange.Mac;
                return TrySetMac(data);
            case Class.Vlan when command <= 1 && data.Length >= 2 && Has(features, NetFeature.ControlVlan):
                return Filter.TrySetVlan(BinaryPrimitives.ReadUInt16LittleEndian(data), command == 0);
            case Class.Announce when command == 0 && Has(features, NetFeature.GuestAnnounce):
                change = NetChange.Announced;
                return true;
            case Class.Queues when command == 0 && data.Length >= 2 && Has(features, NetFeature.Queues):
                return TrySetPairs(BinaryPrimitives.ReadUInt16LittleEndian(data));
            case Class.GuestOffloads when command == 0 && data.Length >= 8 && Has(features, NetFeature.ControlGuestOffloads):
                change = NetChange.Offloads;
                return TrySetOffloads(BinaryPrimitives.ReadUInt64LittleEndian(data), features);
            default:
                return false;
        }
    }

    private static bool Has(ulong features, ulong feature) => (features & feature) != 0;

    private bool TrySetMac(ReadOnlySpan<byte> data)
    {
        if (data.Length < EthernetFrame.AddressBytes || (data[0] & 1) != 0)
        {
            return false;
        }

        Mac = data[..EthernetFrame.AddressBytes].ToArray();
        Filter.SetMac(Mac);
        return true;
    }

    private bool TrySetPairs(ushort count)
    {
        if (count == 0 || count > pairs)
        {
            return false;
        }

        _pairs = count;
        return true;
    }

    // The bits are those of the features; only what was agreed on may be switched.
    private bool TrySetOffloads(ulong offloads, ulong features)
    {
        if ((offloads & ~features) != 0)
        {
            return false;
        }

        _able = NetFeature.GuestAble(offloads);
        return true;
    }
}
