using System;
using System.Threading;

namespace Hull.Net;

/// <summary>
/// Keeps from Debian 12's passt the segments of TCP that it takes amiss; all of them say only what has been said, and TCP
/// sends again what was needed after all. It sees both directions, each on a thread of its own.
/// </summary>
/// <remarks>
/// passt looks at what it has read of a connection as a whole. If the first segment of such a batch closes the connection, or
/// opens it, and another one follows, it loops for ever: a FIN that its acknowledgements follow (they came through another
/// queue), a FIN or SYN that is sent again while passt had no time. And it takes each acknowledgement that comes twice for a
/// loss and sends the whole window again, which makes the guest acknowledge twice, and so on. Losses are seen here, where all
/// that passt sends goes by, so an acknowledgement may come twice only where passt has left out something.
/// </remarks>
internal sealed class PasstFilter
{
    /// <summary>For how long a FIN or SYN counts as repeated, in milliseconds: Linux sends a SYN again after 1 s, and after 3 s.</summary>
    internal const long EndsMs = 2000;

    /// <summary>For how long an acknowledgement does, in milliseconds: Linux sends nothing again sooner.</summary>
    internal const long AcknowledgementsMs = 200;

    /// <summary>How often the guest may ask for what is missing: RFC 5681, section 3.2.</summary>
    internal const int Asks = 3;

    // A connection that shares its place with another one goes unfiltered at times; no more.
    private const int Places = 1024;

    private readonly Lock _lock = new();
    private readonly Connection[] _connections = new Connection[Places];

    /// <summary>Whether a frame from the guest may go on.</summary>
    /// <param name="frame">At least a header.</param>
    /// <param name="nowMs">The time, in milliseconds.</param>
    internal bool Passes(ReadOnlySpan<byte> frame, long nowMs)
    {
        if (!TcpSegment.TryRead(frame, out TcpSegment segment))
        {
            return true;
        }

        lock (_lock)
        {
            ref Connection connection = ref Find(segment.Flow);
            if (segment.IsRst)
            {
                connection = default;
                return true;
            }

            bool isKnown = connection.HasLast && connection.Flow == segment.Flow;
            if (isKnown && IsRepeated(segment, ref connection, nowMs - connection.AtMs))
            {
                return false;
            }

            if (connection.Flow != segment.Flow || segment.IsSyn)
            {
                connection = new() { Flow = segment.Flow };
                isKnown = false;
            }

            connection.IsClosing |= segment.IsFin;
            connection.Last = isKnown && !connection.Last.IsSyn && IsBefore(segment.Acknowledges, connection.Last.Acknowledges)
                ? segment with { Acknowledges = connection.Last.Acknowledges }
                : segment;
            connection.HasLast = true;
            connection.AtMs = nowMs;
            return true;
        }
    }

    /// <summary>Looks at a frame from passt: where does it leave out something?</summary>
    /// <param name="frame">At least a header.</param>
    internal void Watch(ReadOnlySpan<byte> frame)
    {
        if (!TcpSegment.TryRead(frame, out TcpSegment segment) || segment.PayloadBytes <= 0)
        {
            return;
        }

        lock (_lock)
        {
            TcpFlow flow = segment.Flow.Reverse;
            ref Connection connection = ref Find(flow);
            if (connection.Flow != flow)
            {
                connection = new() { Flow = flow };
            }

            if (connection.HasNext && segment.Sequence != connection.Next)
            {
                Jump(ref connection, segment.Sequence);
            }

            connection.Next = segment.Sequence + (uint)segment.PayloadBytes;
            connection.HasNext = true;
        }
    }

    // On: what lies between is missing. Back: passt sends again from what the guest has asked for, if that fits the socket.
    private static void Jump(ref Connection connection, uint sequence)
    {
        if (IsBefore(connection.Next, sequence))
        {
            connection.Hole = connection.HasHole ? connection.Hole : connection.Next;
            connection.HasHole = true;
        }
        else
        {
            connection.Hole = connection.Last.Acknowledges;
            connection.HasHole = connection.Asked > 0 && IsBefore(connection.Hole, sequence);
        }

        connection.HoleEnd = sequence;
        connection.Asked = 0;
    }

    private static bool IsRepeated(in TcpSegment segment, ref Connection connection, long ageMs)
    {
        TcpSegment last = connection.Last;
        if (segment.IsSyn || last.IsSyn)
        {
            return segment.IsSyn && last.IsSyn && segment.Sequence == last.Sequence && ageMs < EndsMs;
        }

        if (segment.PayloadBytes > 0)
        {
            return false;
        }

        if (connection.IsClosing)
        {
            return ageMs < EndsMs && (segment.Acknowledges == last.Acknowledges
                ? segment.Window <= last.Window
                : IsBefore(segment.Acknowledges, last.Acknowledges));
        }

        if (segment.IsFin || ageMs >= AcknowledgementsMs)
        {
            return false;
        }

        if (segment.Acknowledges != last.Acknowledges || segment.Window != last.Window)
        {
            return IsBefore(segment.Acknowledges, last.Acknowledges);
        }

        // The guest asks for what passt has left out.
        bool asks = connection.HasHole && connection.Asked < Asks
            && !IsBefore(segment.Acknowledges, connection.Hole) && IsBefore(segment.Acknowledges, connection.HoleEnd);
        connection.Asked += asks ? 1 : 0;
        return !asks;
    }

    // Sequence numbers are compared modulo 2^32: RFC 9293, section 3.4.
    private static bool IsBefore(uint one, uint other) => (int)(one - other) < 0;

    private ref Connection Find(in TcpFlow flow) => ref _connections[(uint)flow.GetHashCode() % Places];

    private struct Connection
    {
        internal TcpFlow Flow;

        // The guest's last segment, with the newest acknowledgement, and when it went.
        internal bool HasLast;
        internal bool IsClosing;
        internal TcpSegment Last;
        internal long AtMs;

        // passt's next byte, if it goes on; what it has left out, and how often the guest has asked for it.
        internal bool HasNext;
        internal uint Next;
        internal bool HasHole;
        internal uint Hole;
        internal uint HoleEnd;
        internal int Asked;
    }
}
