using System;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Hull.Host;

/// <summary>The libc calls on open files: terminals, standard streams, device nodes.</summary>
internal static partial class LibcStreams
{
    /// <summary>Bytes of glibc's struct termios on x86-64.</summary>
    internal const int TermiosSize = 60;

    /// <summary>tcsetattr: at once.</summary>
    internal const int Now = 0;

    /// <summary>tcsetattr: when output has gone out; drops unread input.</summary>
    internal const int Flush = 2;

    /// <summary>ioctl: get the window size.</summary>
    internal const nuint GetWindowSize = 0x5413;

    /// <summary>isatty(3): 1 for a terminal.</summary>
    [LibraryImport("libc", EntryPoint = "isatty", SetLastError = true)]
    internal static partial int IsATty(int fd);

    /// <summary>tcgetattr(3); the buffer has <see cref="TermiosSize"/> bytes.</summary>
    [LibraryImport("libc", EntryPoint = "tcgetattr", SetLastError = true)]
    internal static partial int TcGetAttr(int fd, Span<byte> termios);

    /// <summary>tcsetattr(3).</summary>
    [LibraryImport("libc", EntryPoint = "tcsetattr", SetLastError = true)]
    internal static partial int TcSetAttr(int fd, int when, ReadOnlySpan<byte> termios);

    /// <summary>cfmakeraw(3).</summary>
    [LibraryImport("libc", EntryPoint = "cfmakeraw")]
    internal static partial void MakeRaw(Span<byte> termios);

    /// <summary>ioctl(2) with a buffer.</summary>
    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Ioctl(int fd, nuint request, Span<ushort> buffer);

    /// <summary>ioctl(2) with a number, or none.</summary>
    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Ioctl(SafeFileHandle file, nuint request, nint argument);

    /// <summary>read(2).</summary>
    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    internal static partial nint Read(int fd, Span<byte> buffer, nuint count);

    /// <summary>write(2).</summary>
    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    internal static partial nint Write(int fd, ReadOnlySpan<byte> buffer, nuint count);

    /// <summary>poll(2); each entry is fd (32 bits), events (16), revents (16).</summary>
    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    internal static partial int Poll(Span<ulong> descriptors, nuint count, int timeoutMs);
}
