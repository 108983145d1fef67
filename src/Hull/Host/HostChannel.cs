using System;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>
/// A socket or a device node of the host's that one thread reads and others write, with a way out of every wait: no
/// write takes longer than its time, and <see cref="Stop"/> ends a read.
/// </summary>
internal sealed class HostChannel : IDisposable
{
    private const int TryAgain = 11;
    private const int Interrupted = 4;
    private const int SetFlags = 4;
    private readonly int _fd;
    private readonly int _wake;

    /// <summary>Takes a descriptor over.</summary>
    /// <exception cref="HullException">No file descriptor is left.</exception>
    internal HostChannel(int fd)
    {
        _fd = fd;
        _ = LibcNet.Fcntl(fd, SetFlags, LibcNet.NonBlocking | LibcNet.OpenReadWrite);
        _wake = LibcNet.EventFd(0, LibcNet.CloseOnExec);
        if (_wake < 0)
        {
            string reason = Libc.LastErrorMessage();
            _ = Libc.Close(fd);
            throw new HullException($"cannot make an event descriptor: {reason} (try a higher ulimit -n)");
        }
    }

    /// <summary>The descriptor, for ioctl.</summary>
    internal int Descriptor => _fd;

    /// <summary>Reads what is there, and waits when nothing is.</summary>
    /// <param name="buffer">Gets the bytes.</param>
    /// <param name="waitMs">For how long to wait, in milliseconds; -1: for ever.</param>
    /// <returns>Bytes; 0 at the end of a stream, on an error, when the time is over, or after <see cref="Stop"/>.</returns>
    internal int Read(Span<byte> buffer, int waitMs = -1)
    {
        while (true)
        {
            nint count = LibcStreams.Read(_fd, buffer, (nuint)buffer.Length);
            if (count >= 0)
            {
                return (int)count;
            }

            int error = Marshal.GetLastPInvokeError();
            if (error != Interrupted && (error != TryAgain || !Wait(LibcNet.PollIn, waitMs)))
            {
                return 0;
            }
        }
    }

    /// <summary>Writes as much as there is room for.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <param name="waitMs">How long to wait for room, in milliseconds.</param>
    /// <returns>Bytes written; 0 when there was no room in time; -1 when the other side is gone, or refuses them.</returns>
    internal int Write(ReadOnlySpan<byte> bytes, int waitMs)
    {
        while (true)
        {
            nint count = LibcStreams.Write(_fd, bytes, (nuint)bytes.Length);
            if (count >= 0)
            {
                return (int)count;
            }

            int error = Marshal.GetLastPInvokeError();
            if (error != Interrupted && error != TryAgain)
            {
                return -1;
            }

            if (error == TryAgain && !Wait(LibcNet.PollOut, waitMs))
            {
                return 0;
            }
        }
    }

    /// <summary>Ends the reader's wait, now and for ever. Any thread.</summary>
    internal void Stop() => _ = LibcStreams.Write(_wake, [1, 0, 0, 0, 0, 0, 0, 0], 8);

    /// <summary>Closes; nobody may be in a call any more.</summary>
    public void Dispose()
    {
        _ = Libc.Close(_fd);
        _ = Libc.Close(_wake);
    }

    // False when the time is over, or the channel is stopped.
    private bool Wait(short events, int milliseconds)
    {
        Span<ulong> polled = [(uint)_fd | ((ulong)(ushort)events << 32), (uint)_wake | ((ulong)LibcNet.PollIn << 32)];
        int ready = LibcStreams.Poll(polled, 2, milliseconds);
        return (ready > 0 && polled[1] >> 48 == 0) || (ready < 0 && Marshal.GetLastPInvokeError() == Interrupted);
    }
}
