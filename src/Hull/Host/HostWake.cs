using System;

namespace Hull.Host;

/// <summary>Wakes a thread that waits in poll(2). eventfd(2).</summary>
internal sealed class HostWake : IDisposable
{
    /// <summary>Makes the descriptor.</summary>
    /// <exception cref="HullException">None is left.</exception>
    internal HostWake()
    {
        Descriptor = LibcNet.EventFd(0, LibcNet.CloseOnExec | LibcNet.NonBlocking);
        if (Descriptor < 0)
        {
            throw new HullException($"cannot make an event descriptor: {Libc.LastErrorMessage()} (try a higher ulimit -n)");
        }
    }

    /// <summary>Readable when set.</summary>
    internal int Descriptor { get; }

    /// <summary>Wakes the thread, now or at its next wait. Any thread.</summary>
    internal void Set() => _ = LibcStreams.Write(Descriptor, [1, 0, 0, 0, 0, 0, 0, 0], 8);

    /// <summary>The thread is awake.</summary>
    internal void Take()
    {
        Span<byte> count = stackalloc byte[8];
        _ = LibcStreams.Read(Descriptor, count, 8);
    }

    /// <inheritdoc/>
    public void Dispose() => _ = Libc.Close(Descriptor);
}
