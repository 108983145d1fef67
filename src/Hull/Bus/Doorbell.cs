using System;
using System.Threading;
using Hull.Host;

namespace Hull.Bus;

/// <summary>
/// What a guest's write rings where that write only wakes a thread of the host. An engine may take the write over
/// (<see cref="IDoorbells"/>), so that it wakes the thread without an exit of the vCPU. eventfd(2); of several threads that
/// wait, one wakes for a ring: epoll(7), "Level-triggered and edge-triggered".
/// </summary>
internal sealed class Doorbell : IDisposable
{
    private readonly HostDescriptor _event;
    private readonly int _poll;
    private bool _disposed;

    /// <summary>Makes the descriptors.</summary>
    /// <exception cref="HullException">None is left.</exception>
    internal Doorbell()
    {
        Descriptor = LibcNet.EventFd(0, LibcNet.CloseOnExec | LibcNet.NonBlocking);
        _poll = Descriptor < 0 ? -1 : HostPoll.CreateEdgeTriggered(Descriptor);
        _event = new HostDescriptor(Descriptor);
        if (_poll < 0)
        {
            string error = Libc.LastErrorMessage();
            _event.Release();
            throw new HullException($"cannot make an event descriptor: {error} (try a higher ulimit -n)");
        }
    }

    /// <summary>Becomes readable with a ring.</summary>
    internal int Descriptor { get; }

    /// <summary>The driver is ready; what rings before, or after its end, counts nothing.</summary>
    internal bool IsOpen
    {
        get => Volatile.Read(ref field);
        set
        {
            Volatile.Write(ref field, value);
            if (value)
            {
                Opened?.Invoke();
            }
        }
    }

    /// <summary>Called when it opens: somebody has to wait from now on.</summary>
    internal Action? Opened { get; set; }

    /// <summary>Rings. Any thread, also after the end.</summary>
    internal void Ring()
    {
        if (_event.TryAdd())
        {
            _ = LibcStreams.Write(Descriptor, [1, 0, 0, 0, 0, 0, 0, 0], 8);
            _event.Release();
        }
    }

    /// <summary>Waits for a ring, or for one that nobody waited for. On several threads at once.</summary>
    internal void Wait() => HostPoll.WaitForEdge(_poll);

    /// <summary>When nobody waits any more.</summary>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _ = Libc.Close(_poll);
            _event.Release();
        }
    }
}
