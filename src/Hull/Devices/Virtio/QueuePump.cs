using System;
using System.Threading;
using Hull.Bus;

namespace Hull.Devices.Virtio;

/// <summary>
/// Works on a queue's requests away from the vCPUs: up to <c>threads</c> at once, each taking one request after the
/// other, so they end in any order. In a deterministic machine there are no threads: the notification does the work.
/// </summary>
internal sealed class QueuePump : IDisposable
{
    private readonly Func<bool> _step;
    private readonly string _name;
    private readonly int _most;
    private readonly SemaphoreSlim _wake = new(0);
    private readonly Doorbell? _bell;
    private readonly Lock _lock = new();
    private readonly Thread?[] _threads;
    private int _signalled;
    private int _idle;
    private int _started;
    private int _callers;
    private volatile bool _stopping;

    /// <summary>Makes a pump without threads yet.</summary>
    /// <param name="name">For the threads' names.</param>
    /// <param name="threads">At the most; 0: the caller of <see cref="Notify"/> does the work.</param>
    /// <param name="step">Takes one request and ends it; false when there is none. On several threads at once.</param>
    /// <param name="bell">
    /// What the threads wait at, so that an engine can wake them; the pump's from now on. Null: nobody but
    /// <see cref="Notify"/> does.
    /// </param>
    internal QueuePump(string name, int threads, Func<bool> step, Doorbell? bell = null)
    {
        _name = name;
        _most = threads;
        _step = step;
        _threads = new Thread?[threads];
        if (bell is not null)
        {
            _bell = bell;
            bell.Opened = StartIfAllAreBusy;
        }
    }

    /// <summary>What the threads wait at; null when no engine can ring.</summary>
    internal Doorbell? Bell => _bell;

    /// <summary>Another thread can work while one does. Where not, requests end in their order, whatever they take.</summary>
    internal bool HasThreads => _most > 0;

    /// <summary>There may be something to do. Any thread; returns at once if there are threads.</summary>
    internal void Notify()
    {
        if (_most == 0)
        {
            WorkHere();
            return;
        }

        if (!_stopping && Interlocked.Exchange(ref _signalled, 1) == 0)
        {
            StartIfAllAreBusy();
            Wake();
        }
    }

    /// <summary>Does the work on the caller's thread: for a driver that would only wait for it meanwhile.</summary>
    internal void WorkHere()
    {
        Interlocked.Increment(ref _callers);
        while (_step())
        {
        }

        Interlocked.Decrement(ref _callers);
    }

    /// <summary>Waits until no step is under way. No new one begins if there is nothing to take. Not on a pump's thread.</summary>
    internal void Drain()
    {
        SpinWait spin = default;
        while (Volatile.Read(ref _idle) != Volatile.Read(ref _started) || Volatile.Read(ref _callers) != 0)
        {
            spin.SpinOnce();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            _stopping = true;
        }

        // Its own notifications may still come, from a device's other threads: the semaphore is left to the collector.
        if (_bell is null)
        {
            _wake.Release(Math.Max(_most, 1));
        }
        else
        {
            _bell.Ring(); // and each thread for the next one
        }

        foreach (Thread? thread in _threads)
        {
            thread?.Join();
        }

        _bell?.Dispose();
    }

    private void Wake()
    {
        if (_bell is null)
        {
            _wake.Release();
        }
        else
        {
            _bell.Ring();
        }
    }

    private void StartIfAllAreBusy()
    {
        lock (_lock)
        {
            if (!_stopping && _started < _most && Volatile.Read(ref _idle) == 0)
            {
                Thread thread = new(Run, 512 << 10) { Name = _name, IsBackground = true };
                _threads[_started] = thread;

                // Idle until it runs, or Drain would wait for it.
                Interlocked.Increment(ref _idle);
                Interlocked.Increment(ref _started);
                thread.Start();
            }
        }
    }

    private void Run()
    {
        while (true)
        {
            if (_bell is null)
            {
                _wake.Wait();
            }
            else
            {
                _bell.Wait();
            }

            if (_stopping)
            {
                _bell?.Ring();
                return;
            }

            // Busy before the signal is taken: who sees no signal sees the work.
            Interlocked.Decrement(ref _idle);
            bool isAsked = Interlocked.Exchange(ref _signalled, 0) != 0 || _bell is null || _bell.IsOpen;
            if (_bell is not null)
            {
                StartIfAllAreBusy(); // who rings from the kernel starts no thread: one has to wait while this one works
            }

            while (isAsked && _step())
            {
            }

            Interlocked.Increment(ref _idle);
        }
    }
}
