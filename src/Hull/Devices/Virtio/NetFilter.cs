using System;
using System.Buffers.Binary;
using Hull.Net;

namespace Hull.Devices.Virtio;

/// <summary>
/// Which frames the guest wants. Set by the control queue's thread and read by the receiving one: a change is seen a frame
/// earlier or later. Virtio 1.2 sections 5.1.6.5.1 to 5.1.6.5.3, "Packet Receive Filtering", "Setting MAC Address Filtering",
/// "VLAN Filtering".
/// </summary>
internal sealed class NetFilter
{
    /// <summary>Addresses of a kind that are told apart; with more, all of the kind pass.</summary>
    internal const int MostAddresses = 64;

    private const ulong Broadcast = 0xFFFF_FFFF_FFFF;

    private readonly ulong[] _vlans = new ulong[4096 / 64];
    private readonly bool[] _modes = new bool[6];
    private Table _unicast = new([], false);
    private Table _multicast = new([], false);
    private ulong _mac;
    private volatile bool _hasVlans;

    /// <summary>Passes everything, until the driver says otherwise.</summary>
    internal NetFilter(ReadOnlySpan<byte> mac)
    {
        SetMac(mac);
        _modes[(int)Mode.Promiscuous] = true;
    }

    private enum Mode : byte
    {
        Promiscuous = 0,
        AllMulticast = 1,
        AllUnicast = 2,
        NoMulticast = 3,
        NoUnicast = 4,
        NoBroadcast = 5,
    }

    /// <summary>True for a frame that the guest is to get; the frame has at least a header.</summary>
    internal bool Passes(ReadOnlySpan<byte> frame)
    {
        int vlan = EthernetFrame.GetVlan(frame);
        if (vlan > 0 && _hasVlans && (_vlans[vlan >> 6] & (1UL << (vlan & 63))) == 0)
        {
            return false;
        }

        if (_modes[(int)Mode.Promiscuous])
        {
            return true;
        }

        ulong target = AddressAt(frame);
        if (target == Broadcast)
        {
            return !_modes[(int)Mode.NoBroadcast];
        }

        return (frame[0] & 1) != 0
            ? !_modes[(int)Mode.NoMulticast] && (_modes[(int)Mode.AllMulticast] || _multicast.Has(target))
            : !_modes[(int)Mode.NoUnicast] && (_modes[(int)Mode.AllUnicast] || target == _mac || _unicast.Has(target));
    }

    /// <summary>Changes the card's own address.</summary>
    internal void SetMac(ReadOnlySpan<byte> mac) => _mac = AddressAt(mac);

    /// <summary>Switches a mode.</summary>
    /// <returns>False when there is no such mode.</returns>
    internal bool TrySetMode(byte mode, bool on)
    {
        if (mode >= _modes.Length)
        {
            return false;
        }

        _modes[mode] = on;
        return true;
    }

    /// <summary>Replaces the addresses: a count and so many unicast ones, then the same for multicast.</summary>
    /// <param name="data">What was read of it.</param>
    /// <param name="isWhole">False when there is more than anybody reads.</param>
    /// <returns>False when the counts do not fit the data.</returns>
    internal bool TrySetTable(ReadOnlySpan<byte> data, bool isWhole)
    {
        if (!isWhole || !TryReadTable(ref data, out Table unicast) || !TryReadTable(ref data, out Table multicast))
        {
            return false;
        }

        _unicast = unicast;
        _multicast = multicast;
        return true;
    }

    /// <summary>Lets a VLAN in or keeps it out; with the first one the others are out.</summary>
    /// <returns>False when there is no such VLAN.</returns>
    internal bool TrySetVlan(ushort vlan, bool on)
    {
        if (vlan >= 4096)
        {
            return false;
        }

        ulong bit = 1UL << (vlan & 63);
        _vlans[vlan >> 6] = on ? _vlans[vlan >> 6] | bit : _vlans[vlan >> 6] & ~bit;
        _hasVlans = true;
        return true;
    }

    private static bool TryReadTable(ref ReadOnlySpan<byte> data, out Table table)
    {
        table = new Table([], false);
        if (data.Length < 4)
        {
            return false;
        }

        uint count = BinaryPrimitives.ReadUInt32LittleEndian(data);
        data = data[4..];
        if (count > (uint)data.Length / EthernetFrame.AddressBytes)
        {
            return false;
        }

        ulong[] addresses = new ulong[Math.Min(count, MostAddresses)];
        for (int i = 0; i < addresses.Length; i++)
        {
            addresses[i] = AddressAt(data[(i * EthernetFrame.AddressBytes)..]);
        }

        table = new Table(addresses, count > MostAddresses);
        data = data[((int)count * EthernetFrame.AddressBytes)..];
        return true;
    }

    private static ulong AddressAt(ReadOnlySpan<byte> at) =>
        ((ulong)BinaryPrimitives.ReadUInt32BigEndian(at) << 16) | BinaryPrimitives.ReadUInt16BigEndian(at[4..]);

    // Replaced whole, so that a reader sees one or the other.
    private sealed record Table(ulong[] Addresses, bool HasAll)
    {
        internal bool Has(ulong address) => HasAll || Addresses.AsSpan().Contains(address);
    }
}
