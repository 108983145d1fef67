using System;
using System.Buffers.Binary;

namespace Hull.Net;

/// <summary>One direction of a TCP connection; the ports are the header's first four bytes.</summary>
internal readonly record struct TcpFlow(UInt128 From, UInt128 To, uint Ports)
{
    /// <summary>The other direction.</summary>
    internal TcpFlow Reverse => new(To, From, (Ports << 16) | (Ports >> 16));
}

/// <summary>What a TCP segment's header says. RFC 9293, section 3.1.</summary>
internal readonly record struct TcpSegment(
    TcpFlow Flow, byte Flags, uint Sequence, uint Acknowledges, ushort Window, int PayloadBytes)
{
    internal const byte Fin = 1;
    internal const byte Syn = 2;
    internal const byte Rst = 4;

    private const int LeastBytes = 20;

    internal bool IsFin => (Flags & Fin) != 0;

    internal bool IsSyn => (Flags & Syn) != 0;

    internal bool IsRst => (Flags & Rst) != 0;

    /// <summary>Reads a frame's headers.</summary>
    /// <param name="frame">At least an Ethernet header.</param>
    /// <param name="segment">What they say.</param>
    /// <returns>False when it is no TCP, or a fragment.</returns>
    internal static bool TryRead(ReadOnlySpan<byte> frame, out TcpSegment segment)
    {
        segment = default;
        int tcp = ChecksumPlace.FindTransport(frame, out byte protocol);
        if (tcp == 0 || protocol != ChecksumPlace.Tcp || frame.Length < tcp + LeastBytes)
        {
            return false;
        }

        // Behind the packet's end there may be padding. IPv6 does not count its first header.
        bool isIp4 = EthernetFrame.GetPayload(frame, out int ip) == EthernetFrame.TypeIp4;
        int end = isIp4
            ? ip + BinaryPrimitives.ReadUInt16BigEndian(frame[(ip + 2)..])
            : ip + 40 + BinaryPrimitives.ReadUInt16BigEndian(frame[(ip + 4)..]);
        (UInt128 from, UInt128 to) = isIp4
            ? (BinaryPrimitives.ReadUInt32BigEndian(frame[(ip + 12)..]), BinaryPrimitives.ReadUInt32BigEndian(frame[(ip + 16)..]))
            : (BinaryPrimitives.ReadUInt128BigEndian(frame[(ip + 8)..]), BinaryPrimitives.ReadUInt128BigEndian(frame[(ip + 24)..]));
        ReadOnlySpan<byte> header = frame[tcp..];
        segment = new(
            new(from, to, BinaryPrimitives.ReadUInt32BigEndian(header)),
            header[13],
            BinaryPrimitives.ReadUInt32BigEndian(header[4..]),
            BinaryPrimitives.ReadUInt32BigEndian(header[8..]),
            BinaryPrimitives.ReadUInt16BigEndian(header[14..]),
            end - tcp - (header[12] >> 4 << 2));
        return true;
    }
}
