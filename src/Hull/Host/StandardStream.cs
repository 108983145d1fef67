using System;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>
/// Standard input, output and error as they are: bytes through read(2) and write(2), without System.Console and the
/// time that it takes to start.
/// </summary>
public sealed class StandardStream
{
    private const int Interrupted = 4;
    private const int TryAgain = 11;
    private const int BrokenPipe = 32;
    private const ulong PollIn = 1;
    private const ulong PollOut = 4;

    private const int GetDescriptorFlags = 1;
    private const int CloseOnExec = 1;

    private readonly int _fd;
    private readonly bool _isClosed;

    // A stream that was closed when the process started has its number for the next file that opens, be it the runtime's or a
    // disk image of the guest's. Such a file closes on exec(2), which no stream that came through exec(2) does.
    private StandardStream(int fd)
    {
        _fd = fd;
        int flags = LibcNet.Fcntl(fd, GetDescriptorFlags, 0);
        _isClosed = flags < 0 || (flags & CloseOnExec) != 0;
    }

    /// <summary>Standard input.</summary>
    public static StandardStream Input { get; } = new(0);

    /// <summary>Standard output.</summary>
    public static StandardStream Output { get; } = new(1);

    /// <summary>Standard error.</summary>
    public static StandardStream Error { get; } = new(2);

    /// <summary>True when a terminal is behind it.</summary>
    public bool IsTerminal => !_isClosed && LibcStreams.IsATty(_fd) == 1;

    /// <summary>True when it is closed, or /dev/null: nothing will ever come.</summary>
    public bool IsNull => _isClosed || File == "/dev/null";

    /// <summary>The file behind it, or what the kernel calls a pipe or a socket.</summary>
    public string? File => System.IO.File.ResolveLinkTarget($"/proc/self/fd/{_fd}", false)?.FullName;

    /// <summary>Reads what is there, waiting for the first byte.</summary>
    /// <returns>Bytes read; 0 at the end, and when the stream is closed or broken.</returns>
    public int Read(Span<byte> buffer)
    {
        while (!_isClosed)
        {
            nint got = LibcStreams.Read(_fd, buffer, (nuint)buffer.Length);
            if (got >= 0)
            {
                return (int)got;
            }

            if (!WaitAfter(Marshal.GetLastPInvokeError(), PollIn))
            {
                break;
            }
        }

        return 0;
    }

    /// <summary>Writes all bytes, waiting for a slow reader.</summary>
    /// <returns>False when the other end is gone, or the host cannot.</returns>
    public bool TryWrite(ReadOnlySpan<byte> bytes) => TryWrite(bytes, out _);

    /// <summary>Writes all bytes, waiting for a slow reader.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <param name="reason">Why the host cannot; null when the other end is gone, which is nobody's fault.</param>
    /// <returns>False when not all are written.</returns>
    public bool TryWrite(ReadOnlySpan<byte> bytes, out string? reason)
    {
        reason = null;
        if (_isClosed)
        {
            return bytes.Length == 0;
        }

        while (bytes.Length > 0)
        {
            nint put = LibcStreams.Write(_fd, bytes, (nuint)bytes.Length);
            if (put >= 0)
            {
                bytes = bytes[(int)put..];
            }
            else if (Marshal.GetLastPInvokeError() is var error && !WaitAfter(error, PollOut))
            {
                // A terminal that is gone gives EIO.
                bool isGone = error is BrokenPipe or Errno.BadDescriptor || (error == Errno.InputOutput && File?.StartsWith("/dev/", StringComparison.Ordinal) != false);
                reason = isGone ? null : Marshal.GetPInvokeErrorMessage(error);
                return false;
            }
        }

        return true;
    }

    // A terminal shared with another program may be in non-blocking mode: wait, then try again.
    private bool WaitAfter(int errno, ulong events)
    {
        if (errno == TryAgain)
        {
            Span<ulong> descriptor = [(uint)_fd | (events << 32)];
            _ = LibcStreams.Poll(descriptor, 1, -1);
        }

        return errno is Interrupted or TryAgain;
    }
}
