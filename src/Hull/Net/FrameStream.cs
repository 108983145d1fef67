using System;
using System.Buffers.Binary;
using Hull.Host;

namespace Hull.Net;

/// <summary>
/// Frames over a stream socket, each behind its length in four bytes, big-endian: how passt and QEMU's stream netdev do it.
/// Frames are gathered, so that a system call carries many. One thread reads; those that write hold a lock.
/// </summary>
internal sealed class FrameStream(HostChannel channel)
{
    /// <summary>Bytes of the largest frame that passt takes.</summary>
    internal const int LargestFrame = 65535;

    private const int LengthBytes = 4;
    private const int Room = 256 << 10;

    // A reader that is slower than this loses frames, as on any network.
    private const int WaitMs = 200;

    private readonly byte[] _out = new byte[Room];
    private readonly byte[] _in = new byte[2 * Room];
    private int _outFilled;
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
            int count = channel.Write(_out.AsSpan(done, _outFilled - done), WaitMs);
            if (count <= 0)
            {
                done = count < 0 ? _outFilled : done;
                break;
            }

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
}
