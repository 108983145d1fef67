using System;
using System.Buffers.Binary;
using Hull.Host;

namespace Hull.Net;

/// <summary>
/// Frames over a stream socket, each behind its length in four bytes, big-endian: how passt and QEMU's stream netdev do it.
/// Frames are gathered, so that a system call carries many. One thread reads; those that write hold a lock.
/// </summary>
/// <remarks>
/// passt before 2024 takes what a read finds: it loses its place in the stream, for good, when that ends inside a length,
/// and when the rest of a frame does not come with the next read. So a write carries whole frames, and no more than the
/// kernel takes as one message, which the other side sees whole or not at all; a longer frame goes alone, as two.
/// </remarks>
internal sealed class FrameStream(HostChannel channel)
{
    /// <summary>Bytes of the largest frame that passt takes.</summary>
    internal const int LargestFrame = 65535;

    private const int LengthBytes = 4;
    private const int Room = 256 << 10;

    // Linux, unix_stream_sendmsg: a message has 32 KiB, and some more in its head.
    private const int MessageBytes = 32 << 10;

    // A reader that is slower than this loses frames, as on any network.
    private const int WaitMs = 200;

    private readonly byte[] _out = new byte[Room];
    private readonly byte[] _in = new byte[2 * Room];
    private int _outFilled;
    private int _owed;
    private int _inFilled;
    private int _inTaken;

    /// <summary>Adds a frame to those that go next.</summary>
    internal void Put(ReadOnlySpan<byte> frame)
    {
        if (frame.Length is < EthernetFrame.HeaderBytes or > LargestFrame)
        {
            return;
        }

        if (_outFilled + LengthBytes + frame.Length > Room)
        {
            Flush();
        }

        if (_outFilled + LengthBytes + frame.Length <= Room)
        {
            BinaryPrimitives.WriteInt32BigEndian(_out.AsSpan(_outFilled), frame.Length);
            frame.CopyTo(_out.AsSpan(_outFilled + LengthBytes));
            _outFilled += LengthBytes + frame.Length;
        }
    }

    /// <summary>Writes what is gathered, as far as it goes.</summary>
    internal void Flush()
    {
        // A part of a frame that is out obliges to the rest, so what did not go stays.
        int done = 0;
        while (done < _outFilled)
        {
            int length = _owed != 0 ? _owed : FramesAt(done);
            int count = channel.Write(_out.AsSpan(done, length), WaitMs);
            if (count < 0)
            {
                done = _outFilled;
                _owed = 0;
            }

            if (count <= 0)
            {
                break;
            }

            _owed = _owed != 0 ? _owed - count : FrameEnd(done, count) - count;
            done += count;
        }

        _out.AsSpan(done, _outFilled - done).CopyTo(_out);
        _outFilled -= done;
    }

    /// <summary>The next frame; waits for it.</summary>
    /// <param name="waitMs">For how long, in milliseconds; -1: for ever.</param>
    /// <returns>Empty when the stream has ended or makes no sense, or the time is over.</returns>
    internal Span<byte> Read(int waitMs = -1)
    {
        while (true)
        {
            Span<byte> waiting = _in.AsSpan(_inTaken, _inFilled - _inTaken);
            if (waiting.Length >= LengthBytes)
            {
                int length = BinaryPrimitives.ReadInt32BigEndian(waiting);
                if (length is < EthernetFrame.HeaderBytes or > EthernetFrame.LargestUnsegmented)
                {
                    return [];
                }

                if (waiting.Length >= LengthBytes + length)
                {
                    _inTaken += LengthBytes + length;
                    return waiting.Slice(LengthBytes, length);
                }
            }

            waiting.CopyTo(_in);
            _inFilled = waiting.Length;
            _inTaken = 0;
            int count = channel.Read(_in.AsSpan(_inFilled), waitMs);
            if (count == 0)
            {
                return [];
            }

            _inFilled += count;
        }
    }

    // Bytes of the frames that one write carries: those that fit a message, or one that does not.
    private int FramesAt(int start)
    {
        int length = BytesAt(start);
        while (start + length < _outFilled && length + BytesAt(start + length) <= MessageBytes)
        {
            length += BytesAt(start + length);
        }

        return length;
    }

    // Bytes from a frame's start to the end of the frame in which `count` lies.
    private int FrameEnd(int start, int count)
    {
        int length = 0;
        while (length < count)
        {
            length += BytesAt(start + length);
        }

        return length;
    }

    private int BytesAt(int frame) => LengthBytes + BinaryPrimitives.ReadInt32BigEndian(_out.AsSpan(frame));
}
