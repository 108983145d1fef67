using System;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Hull.Net;

/// <summary>The parts of a frame that Hull looks at. IEEE 802.3 clause 3; RFC 791, 8200, 9293.</summary>
internal static class EthernetFrame
{
    /// <summary>Bytes of two addresses and a type.</summary>
    internal const int HeaderBytes = 14;

    /// <summary>Bytes of an address.</summary>
    internal const int AddressBytes = 6;

    /// <summary>Bytes of the largest frame before it is cut: an IP packet of 64 KiB less one, a VLAN tag and the header.</summary>
    internal const int LargestUnsegmented = 65535 + HeaderBytes + 4;

    /// <summary>Type of IPv4.</summary>
    internal const ushort TypeIp4 = 0x0800;

    /// <summary>Type of IPv6.</summary>
    internal const ushort TypeIp6 = 0x86DD;

    /// <summary>Type of a VLAN tag.</summary>
    internal const ushort TypeVlan = 0x8100;

    /// <summary>The type of the payload, behind a VLAN tag if there is one.</summary>
    /// <param name="frame">At least a header.</param>
    /// <param name="payload">Where the payload begins.</param>
    internal static ushort GetPayload(ReadOnlySpan<byte> frame, out int payload)
    {
        payload = HeaderBytes;
        ushort type = BinaryPrimitives.ReadUInt16BigEndian(frame[12..]);
        if (type == TypeVlan && frame.Length >= HeaderBytes + 4)
        {
            payload += 4;
            type = BinaryPrimitives.ReadUInt16BigEndian(frame[16..]);
        }

        return type;
    }

    /// <summary>The VLAN's number; -1 for a frame without a tag.</summary>
    internal static int GetVlan(ReadOnlySpan<byte> frame) =>
        frame.Length >= HeaderBytes + 4 && BinaryPrimitives.ReadUInt16BigEndian(frame[12..]) == TypeVlan
            ? BinaryPrimitives.ReadUInt16BigEndian(frame[14..]) & 0xFFF
            : -1;

    /// <summary>A number that both directions of a connection share, and few other connections.</summary>
    internal static byte GetFlow(ReadOnlySpan<byte> frame)
    {
        ushort type = GetPayload(frame, out int at);
        (int addresses, int length, int ports) = type switch
        {
            TypeIp4 when frame.Length >= at + 24 => (at + 12, 4, at + ((frame[at] & 15) * 4)),
            TypeIp6 when frame.Length >= at + 44 => (at + 8, 16, at + 40),
            _ => (0, 0, 0),
        };
        uint flow = 0;
        for (int i = addresses; i < addresses + (2 * length); i += 4)
        {
            flow ^= BinaryPrimitives.ReadUInt32BigEndian(frame[i..]);
        }

        if (ports != 0 && ports + 4 <= frame.Length)
        {
            flow ^= (uint)(BinaryPrimitives.ReadUInt16BigEndian(frame[ports..])
                ^ BinaryPrimitives.ReadUInt16BigEndian(frame[(ports + 2)..]));
        }

        flow *= 0x9E37_79B1;
        return (byte)(flow >> 24);
    }

    /// <summary>The sum of 16-bit words in big-endian order, for <see cref="Fold"/>; an odd byte counts as the high half.</summary>
    internal static ulong Sum(ReadOnlySpan<byte> bytes)
    {
        // The end-around carry makes the sum independent of the word's size and, up to a final swap, of the byte order
        // (RFC 1071, section 2).
        ulong sum = 0;
        ReadOnlySpan<Vector256<uint>> wide = MemoryMarshal.Cast<byte, Vector256<uint>>(bytes);
        Vector256<ulong> sums = default;
        foreach (Vector256<uint> one in wide)
        {
            sums += Vector256.WidenLower(one) + Vector256.WidenUpper(one);
        }

        for (int i = 0; i < Vector256<ulong>.Count; i++)
        {
            sum += sums[i];
        }

        bytes = bytes[(wide.Length * 32)..];
        for (; bytes.Length >= 4; bytes = bytes[4..])
        {
            sum += BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        }

        for (int i = 0; i < bytes.Length; i++)
        {
            sum += (uint)bytes[i] << (8 * i);
        }

        return BinaryPrimitives.ReverseEndianness(FoldTo16(sum));
    }

    /// <summary>The Internet checksum of a sum.</summary>
    internal static ushort Fold(ulong sum) => (ushort)~FoldTo16(sum);

    private static ushort FoldTo16(ulong sum)
    {
        sum = (sum & 0xFFFF_FFFF) + (sum >> 32);
        sum = (sum & 0xFFFF_FFFF) + (sum >> 32);
        sum = (sum & 0xFFFF) + (sum >> 16);
        sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)sum;
    }
}
