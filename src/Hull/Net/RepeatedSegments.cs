using System;
using System.Buffers.Binary;
using System.Collections.Generic;

namespace Hull.Net;

/// <summary>
/// Finds segments that say a second time what a TCP connection's end or start has said (RFC 9293). Debian 12's passt takes
/// what it reads of a connection at once as one, and loops for ever when the first segment of such a batch closes the
/// connection, or opens it, and another one follows. So what follows a FIN and brings nothing new, and a SYN that comes
/// again, must not go out too soon; TCP sends it again if it was needed. For one thread.
/// </summary>
internal sealed class RepeatedSegments
{
    /// <summary>For how long a repetition counts as one, in milliseconds: Linux sends a SYN again after 1 s, and after 3 s.</summary>
    internal const long WindowMs = 2000;

    /// <summary>The most connections that are remembered.</summary>
    internal const int Most = 1024;

    private const byte Tcp = 6;
    private const int LeastTcpBytes = 20;
    private const int FragmentBits = 0x3FFF; // "more fragments" and the offset
    private const byte Fin = 1;
    private const byte Syn = 2;
    private const byte Rst = 4;
    private const byte Ack = 16;

    private readonly Dictionary<Flow, Segment> _last = [];

    /// <summary>Whether a frame should be left out; remembers it otherwise.</summary>
    /// <param name="frame">From the guest, at least a header.</param>
    /// <param name="nowMs">The time, in milliseconds.</param>
    internal bool Contains(ReadOnlySpan<byte> frame, long nowMs)
    {
        if (!TryParse(frame, nowMs, out Flow flow, out Segment segment))
        {
            return false;
        }

        if ((segment.Flags & Rst) != 0)
        {
            _last.Remove(flow);
            return false;
        }

        bool opens = (segment.Flags & (Syn | Ack)) == Syn;
        bool isKnown = _last.TryGetValue(flow, out Segment last);
        if (!opens && (segment.Flags & Fin) == 0 && !isKnown)
        {
            return false;
        }

        if (isKnown && nowMs - last.AtMs < WindowMs && IsRepetition(segment, last))
        {
            return true;
        }

        if (opens || (segment.Flags & Fin) != 0 || (last.Flags & Fin) != 0)
        {
            Remember(flow, segment with { Flags = (byte)(segment.Flags | (opens ? 0 : last.Flags & Fin)) }, nowMs);
        }
        else
        {
            // The connection stands: nothing is repeated before its end.
            _last.Remove(flow);
        }

        return false;
    }

    private static bool IsRepetition(in Segment segment, in Segment last) =>
        (segment.Flags & Syn) != 0
            ? (last.Flags & Syn) != 0 && segment.Sequence == last.Sequence
            : (last.Flags & Fin) != 0 && segment.PayloadBytes == 0
                && (segment.Acknowledges == last.Acknowledges
                    ? segment.Window <= last.Window
                    : (int)(segment.Acknowledges - last.Acknowledges) < 0);

    private static bool TryParse(ReadOnlySpan<byte> frame, long nowMs, out Flow flow, out Segment segment)
    {
        (flow, segment) = (default, default);
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

        if (frame.Length < tcp + LeastTcpBytes)
        {
            return false;
        }

        ReadOnlySpan<byte> header = frame[tcp..];
        flow = new(from, to, BinaryPrimitives.ReadUInt32BigEndian(header));
        segment = new(
            header[13],
            BinaryPrimitives.ReadUInt32BigEndian(header[4..]),
            BinaryPrimitives.ReadUInt32BigEndian(header[8..]),
            BinaryPrimitives.ReadUInt16BigEndian(header[14..]),
            end - tcp - (header[12] >> 4 << 2),
            nowMs);
        return true;
    }

    private void Remember(in Flow flow, in Segment segment, long nowMs)
    {
        if (_last.Count >= Most && !_last.ContainsKey(flow))
        {
            foreach ((Flow old, Segment last) in _last)
            {
                if (nowMs - last.AtMs >= WindowMs)
                {
                    _last.Remove(old);
                }
            }

            if (_last.Count >= Most)
            {
                _last.Clear();
            }
        }

        _last[flow] = segment;
    }

    /// <summary>One direction of a connection.</summary>
    private readonly record struct Flow(UInt128 From, UInt128 To, uint Ports);

    /// <summary>What a segment says.</summary>
    private readonly record struct Segment(
        byte Flags, uint Sequence, uint Acknowledges, ushort Window, int PayloadBytes, long AtMs);
}
