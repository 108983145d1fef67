using System;
using System.Buffers.Binary;

namespace Hull.Net;

/// <summary>
/// Where a frame's transport checksum is, for a sender who leaves it to others without saying where. RFC 791, 8200, 9293, 768.
/// </summary>
internal static class ChecksumPlace
{
    /// <summary>IP's number of TCP.</summary>
    internal const byte Tcp = 6;

    private const byte Udp = 17;
    private const byte HopByHop = 0;
    private const byte Routing = 43;
    private const byte DestinationOptions = 60;
    private const int Ip6HeaderBytes = 40;
    private const int MostExtensions = 8;

    /// <summary>Finds it in a TCP or UDP packet that is no fragment.</summary>
    /// <param name="frame">The frame, at least an Ethernet header.</param>
    /// <param name="start">Where the summed bytes begin.</param>
    /// <param name="offset">Where the checksum is, from there.</param>
    /// <returns>False when the frame is none such.</returns>
    internal static bool TryFind(ReadOnlySpan<byte> frame, out ushort start, out ushort offset)
    {
        int transport = FindTransport(frame, out byte protocol);
        start = (ushort)transport;
        offset = (ushort)(protocol == Tcp ? 16 : 6);
        int header = protocol switch
        {
            Tcp => 20,
            Udp => 8,
            _ => 0,
        };
        return transport != 0 && header != 0 && transport + header <= frame.Length;
    }

    /// <summary>Finds the header behind IP's, and IPv6's extensions.</summary>
    /// <param name="frame">The frame, at least an Ethernet header.</param>
    /// <param name="protocol">Whose it is, by IP's number.</param>
    /// <returns>Where; 0 for a fragment, and where there is no IP.</returns>
    internal static int FindTransport(ReadOnlySpan<byte> frame, out byte protocol)
    {
        (int transport, protocol) = EthernetFrame.GetPayload(frame, out int at) switch
        {
            EthernetFrame.TypeIp4 => SkipIp4(frame, at),
            EthernetFrame.TypeIp6 => SkipIp6(frame, at),
            _ => (0, (byte)0),
        };
        return transport;
    }

    private static (int At, byte Protocol) SkipIp4(ReadOnlySpan<byte> frame, int at)
    {
        const int moreFragmentsAndOffset = 0x3FFF;
        if (frame.Length < at + 20)
        {
            return default;
        }

        int length = (frame[at] & 15) * 4;
        bool isFragment = (BinaryPrimitives.ReadUInt16BigEndian(frame[(at + 6)..]) & moreFragmentsAndOffset) != 0;
        return length < 20 || isFragment ? default : (at + length, frame[at + 9]);
    }

    private static (int At, byte Protocol) SkipIp6(ReadOnlySpan<byte> frame, int at)
    {
        if (frame.Length < at + Ip6HeaderBytes)
        {
            return default;
        }

        byte next = frame[at + 6];
        at += Ip6HeaderBytes;
        for (int i = 0; i < MostExtensions && next is HopByHop or Routing or DestinationOptions; i++)
        {
            if (frame.Length < at + 8)
            {
                return default;
            }

            next = frame[at];
            at += (frame[at + 1] + 1) * 8;
        }

        return (at, next);
    }
}
