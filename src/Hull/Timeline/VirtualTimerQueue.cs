using System;
using System.Collections.Generic;
using System.Threading;

namespace Hull.Timeline;

/// <summary>
/// Timers in virtual time. Nothing happens by itself: the vCPU whose instructions are the time asks when to stop
/// (<see cref="NextStopNs"/>) and runs what is due there, on its own thread. What comes from the host waits in a queue
/// for the next point where it may enter: every <see cref="InputPeriodNs"/>, and whenever the vCPU is halted.
/// </summary>
internal sealed class VirtualTimerQueue : ITimerQueue
{
    /// <summary>The host's input enters at multiples of this.</summary>
    internal const long InputPeriodNs = 1_000_000;

    private readonly Lock _lock = new();
    private readonly VirtualClock _clock;
    private readonly TimerHeap _heap = new();
    private readonly Queue<Action> _posted = new();
    private long _nextInputNs = InputPeriodNs;

    /// <summary>Makes an empty queue.</summary>
    internal VirtualTimerQueue(VirtualClock clock) => _clock = clock;

    /// <inheritdoc/>
    public IMachineClock Clock => _clock;

    /// <summary>The same clock, for the engine that drives it.</summary>
    internal VirtualClock VirtualClock => _clock;

    /// <summary>The first deadline is earlier than the stop that the vCPU knows. On the vCPU's thread, or before it runs.</summary>
    internal event Action? StopMoved;

    /// <summary>Something waits in the queue of the host's input. Any thread.</summary>
    internal event Action? InputArrived;

    /// <summary>The machine is over: the vCPU is to run no further instruction.</summary>
    internal bool IsFrozen { get; private set; }

    /// <summary>The time of the next stop: a deadline, or the next point for input.</summary>
    internal long NextStopNs { get; private set; }

    /// <summary>True when a timer is armed.</summary>
    internal bool HasDeadline => _heap.FirstDeadlineNs != long.MaxValue;

    /// <inheritdoc/>
    public IMachineTimer CreateTimer(Action fired)
    {
        _heap.Reserve();
        return new Timer(this, fired);
    }

    /// <summary>Does something for the host at the next point for input. Any thread.</summary>
    internal void Post(Action action)
    {
        lock (_lock)
        {
            _posted.Enqueue(action);
        }

        InputArrived?.Invoke();
    }

    /// <summary>Power-off or reset, at exactly this instruction. On the vCPU's thread.</summary>
    internal void Freeze()
    {
        IsFrozen = true;
        StopMoved?.Invoke();
    }

    /// <summary>Takes the host's input if it is time, and runs the timers that are due; then the next stop lies ahead.</summary>
    internal void RunDue()
    {
        if (_clock.NowNs >= _nextInputNs)
        {
            RunPosted();
            _nextInputNs = ((_clock.NowNs / InputPeriodNs) + 1) * InputPeriodNs;
        }

        while (_heap.TakeDue(_clock.NowNs) is TimerHeap.Entry due)
        {
            due.Fired();
        }

        NextStopNs = Math.Min(_heap.FirstDeadlineNs, _nextInputNs);
    }

    /// <summary>The vCPU is halted: takes the host's input, then jumps to the first deadline.</summary>
    /// <returns>False when there is neither: only the host can go on.</returns>
    internal bool SkipIdle()
    {
        if (RunPosted())
        {
            return true;
        }

        if (!HasDeadline)
        {
            return false;
        }

        _clock.SkipTo(_heap.FirstDeadlineNs);
        return true;
    }

    private bool RunPosted()
    {
        bool any = false;
        while (true)
        {
            Action? action;
            lock (_lock)
            {
                if (!_posted.TryDequeue(out action))
                {
                    return any;
                }
            }

            any = true;
            action();
        }
    }

    private void Arm(Timer timer, long deadlineNs)
    {
        _heap.Set(timer.Entry, deadlineNs);
        if (deadlineNs < NextStopNs)
        {
            StopMoved?.Invoke();
        }
    }

    private sealed class Timer(VirtualTimerQueue queue, Action fired) : IMachineTimer
    {
        internal TimerHeap.Entry Entry { get; } = new(fired);

        public void Arm(long deadlineNs) => queue.Arm(this, deadlineNs);

        public void Cancel() => queue._heap.Remove(Entry);
    }
}
