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

    private const byte Tcp = 6;
    private const int LeastBytes = 20;
    private const int FragmentBits = 0x3FFF; // "more fragments" and the offset

    internal bool IsFin => (Flags & Fin) != 0;

    internal bool IsSyn => (Flags & Syn) != 0;

    internal bool IsRst => (Flags & Rst) != 0;

    /// <summary>Reads a frame's headers.</summary>
    /// <param name="frame">At least an Ethernet header.</param>
    /// <param name="segment">What they say.</param>
    /// <returns>False when it is no TCP, a fragment, or behind headers that Hull does not read.</returns>
    internal static bool TryRead(ReadOnlySpan<byte> frame, out TcpSegment segment)
    {
        segment = default;
        int tcp;
        int end;
        UInt128 from;
        UInt128 to;
        switch (EthernetFrame.GetPayload(frame, out int ip))
        {
            case EthernetFrame.TypeIp4 when frame.Length >= ip + 20 && frame[ip + 9] == Tcp
                && (BinaryPrimitives.ReadUInt16BigEndian(frame[(ip + 6)..]) & FragmentBits) == 0:
                tcp = ip + ((frame[ip] & 15) * 4);
                end = ip + BinaryPrimitives.ReadUInt16BigEndian(frame[(ip + 2)..]);
                from = BinaryPrimitives.ReadUInt32BigEndian(frame[(ip + 12)..]);
                to = BinaryPrimitives.ReadUInt32BigEndian(frame[(ip + 16)..]);
                break;
            case EthernetFrame.TypeIp6 when frame.Length >= ip + 40 && frame[ip + 6] == Tcp:
                tcp = ip + 40;
                end = tcp + BinaryPrimitives.ReadUInt16BigEndian(frame[(ip + 4)..]);
                from = BinaryPrimitives.ReadUInt128BigEndian(frame[(ip + 8)..]);
                to = BinaryPrimitives.ReadUInt128BigEndian(frame[(ip + 24)..]);
                break;
            default:
                return false;
        }

        if (frame.Length < tcp + LeastBytes)
        {
            return false;
        }

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
