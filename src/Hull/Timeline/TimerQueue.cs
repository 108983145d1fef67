using System;
using System.Threading;
using Hull.Host;

namespace Hull.Timeline;

/// <summary>
/// Timers in real time: a heap, a thread and one host timer. Arming a timer allocates nothing, and costs a system call
/// only when it becomes the earliest.
/// </summary>
internal sealed class TimerQueue : ITimerQueue, IDisposable
{
    private const long Never = long.MaxValue;

    private readonly Lock _lock = new();
    private readonly MachineClock _clock;
    private readonly HostTimer _host = new();
    private readonly TimerHeap _heap = new();
    private readonly Thread _thread;
    private long _programmedNs = Never;
    private volatile bool _stopping;

    /// <summary>Starts the timeline's thread.</summary>
    internal TimerQueue(MachineClock clock)
    {
        _clock = clock;
        _thread = new Thread(Loop) { Name = "hull-timeline", IsBackground = true };
        _thread.Start();
    }

    /// <inheritdoc/>
    public IMachineClock Clock => _clock;

    /// <inheritdoc/>
    public IMachineTimer CreateTimer(Action fired)
    {
        lock (_lock)
        {
            _heap.Reserve();
        }

        return new Timer(this, fired);
    }

    /// <summary>Stops the thread; timers that are armed never fire. Not to be called from a callback.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_stopping)
            {
                return;
            }

            _stopping = true;
            _host.Set(0);
        }

        _thread.Join();
        _host.Dispose();
    }

    private void Arm(Timer timer, long deadlineNs)
    {
        lock (_lock)
        {
            _heap.Set(timer.Entry, deadlineNs);

            // The timeline's own thread looks at the heap before it waits.
            if (Environment.CurrentManagedThreadId != _thread.ManagedThreadId)
            {
                Program();
            }
        }
    }

    private void Cancel(Timer timer)
    {
        lock (_lock)
        {
            // The host timer stays: a wake for nothing is cheaper than a system call for every cancel.
            _heap.Remove(timer.Entry);
        }
    }

    private void Program()
    {
        long first = _heap.FirstDeadlineNs;
        if (first < _programmedNs && !_stopping)
        {
            _programmedNs = first;
            _host.Set(first > Never - _clock.StartNs ? Never : first + _clock.StartNs);
        }
    }

    private void Loop()
    {
        while (!_stopping)
        {
            TimerHeap.Entry? due;
            lock (_lock)
            {
                due = _heap.TakeDue(_clock.NowNs);
                if (due is null)
                {
                    _programmedNs = Never;
                    Program();
                }
            }

            if (due is not null)
            {
                due.Fired();
            }
            else
            {
                _host.Wait();
            }
        }
    }

    private sealed class Timer(TimerQueue queue, Action fired) : IMachineTimer
    {
        internal TimerHeap.Entry Entry { get; } = new(fired);

        public void Arm(long deadlineNs) => queue.Arm(this, deadlineNs);

        public void Cancel() => queue.Cancel(this);
    }
}
