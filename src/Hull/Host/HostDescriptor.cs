using System;
using System.Runtime.InteropServices;
using System.Threading;

namespace Hull.Host;

/// <summary>
/// A file descriptor that several threads use, and that closes behind the last of them: a number that is closed too early
/// would be another file's by the time it is used.
/// </summary>
internal sealed class HostDescriptor
{
    private readonly int _fd;
    private int _users = 1;

    /// <summary>Takes over an open descriptor; the caller is its first user.</summary>
    internal HostDescriptor(int fd) => _fd = fd;

    /// <summary>Another user comes.</summary>
    /// <returns>False when it is closed already.</returns>
    internal bool TryAdd()
    {
        int users = Volatile.Read(ref _users);
        while (users != 0)
        {
            int seen = Interlocked.CompareExchange(ref _users, users + 1, users);
            if (seen == users)
            {
                return true;
            }

            users = seen;
        }

        return false;
    }

    /// <summary>A user goes.</summary>
    internal void Release()
    {
        if (Interlocked.Decrement(ref _users) == 0)
        {
            Libc.Close(_fd);
        }
    }

    /// <summary>The use of a descriptor; ends it when disposed. The one that is default has none.</summary>
    internal readonly ref struct Lease(HostDescriptor? descriptor)
    {
        /// <summary>The number; only inside the lease.</summary>
        internal int Fd => descriptor!._fd; // who gets no descriptor gets an error and does not ask

        /// <summary>What is leased.</summary>
        internal HostDescriptor? Descriptor => descriptor;

        /// <summary>Ends the use.</summary>
        public void Dispose() => descriptor?.Release();
    }

    /// <summary>0, or the error number of the libc call that has just returned this.</summary>
    internal static int ErrorOf(nint result) => result < 0 ? Marshal.GetLastPInvokeError() : 0;

    /// <summary>Writes the path under which procfs has an open descriptor: how one is opened again, or named.</summary>
    internal static ReadOnlySpan<byte> PathOf(int fd, Span<byte> buffer)
    {
        "/proc/self/fd/"u8.CopyTo(buffer);
        System.Buffers.Text.Utf8Formatter.TryFormat(fd, buffer[14..], out int digits);
        buffer[14 + digits] = 0;
        return buffer[..(15 + digits)];
    }
}
