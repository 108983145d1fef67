using System;
using System.Buffers.Binary;
using System.Net.Sockets;
using System.Threading;
using Hull.Host;
using Hull.Net;
using Xunit;

namespace Hull.Tests.Net;

/// <summary>Frames over a stream, to a reader as strict as passt.</summary>
public sealed unsafe class FrameStreamTests
{
    private const int Frames = 400_000;

    /// <summary>
    /// passt's way to read: what is there; when its last frame is not whole, the rest with one more read. It is lost when a
    /// read ends inside a length, or the rest does not come at once. This took a guest's network away in the middle of long
    /// transfers on a busy host.
    /// </summary>
    [Theory]
    [InlineData(60, 1_500)] // acknowledgements
    [InlineData(60, FrameStream.LargestFrame)]
    [InlineData(30_000, FrameStream.LargestFrame)] // long segments
    public void ReaderThatTakesWhatItFinds_FindsWholeFrames(int least, int most)
    {
        int* sockets = stackalloc int[2];
        Assert.Equal(0, LibcNet.SocketPair(LibcNet.FamilyUnix, LibcNet.SocketStream | LibcNet.CloseOnExec, 0, sockets));
        using HostChannel channel = new(sockets[0]);
        using Socket reader = new(new SafeSocketHandle(sockets[1], ownsHandle: true));
        bool ended = false;
        int frames = most > 10_000 ? Frames / 100 : Frames;
        Thread writer = new(() =>
        {
            FrameStream stream = new(channel);
            Random random = new(1);
            byte[] frame = new byte[FrameStream.LargestFrame];
            for (int i = 0; i < frames; i++)
            {
                int length = random.Next(8) == 0 ? random.Next(least, most + 1) : least + random.Next(20);
                frame.AsSpan(0, length).Fill((byte)length);
                stream.Put(frame.AsSpan(0, length));
                if (random.Next(20_000) == 0)
                {
                    stream.Flush();
                }
            }

            stream.Flush();
            Volatile.Write(ref ended, true);
        });
        writer.Start();

        int found = Read(reader, () => Volatile.Read(ref ended));
        writer.Join();
        Assert.InRange(found, frames / 2, frames); // what the reader was too slow for is lost
    }

    private static int Read(Socket socket, Func<bool> hasEnded)
    {
        byte[] buffer = new byte[8 << 20];
        int found = 0;
        while (true)
        {
            bool last = hasEnded();
            if (socket.Available == 0)
            {
                if (last)
                {
                    return found;
                }

                Thread.Yield();
                continue;
            }

            int filled = socket.Receive(buffer);
            int at = 0;
            while (at < filled)
            {
                Assert.True(filled - at > 4, $"a read ends after {filled - at} bytes of a length");
                int length = BinaryPrimitives.ReadInt32BigEndian(buffer.AsSpan(at));
                Assert.InRange(length, EthernetFrame.HeaderBytes, FrameStream.LargestFrame);
                at += 4;
                if (at + length > filled)
                {
                    int missing = at + length - filled;
                    Assert.Equal(missing, socket.Receive(buffer.AsSpan(filled, missing)));
                    filled += missing;
                }

                Assert.Equal(-1, buffer.AsSpan(at, length).IndexOfAnyExcept((byte)length));
                at += length;
                found++;
            }
        }
    }
}
