using Hull.Timeline;

namespace Hull.Xen;

/// <summary>
/// SCHEDOP_watchdog: two timers that end the domain if the guest does not set them anew in time. Under the domain's lock.
/// Xen, public/sched.h, "sched_watchdog".
/// </summary>
internal sealed class Watchdogs
{
    private const int Count = 2;
    private const long SecondNs = 1_000_000_000;

    private readonly Domain _domain;
    private readonly IMachineTimer[] _timers = new IMachineTimer[Count];

    // When each ends the domain; null: it is free.
    private readonly long?[] _deadlinesNs = new long?[Count];

    /// <summary>Makes the timers; none runs.</summary>
    internal Watchdogs(Domain domain)
    {
        _domain = domain;
        for (int i = 0; i < Count; i++)
        {
            int number = i;
            _timers[i] = domain.Timers.CreateTimer(() => domain.Act(() => Fired(number)));
        }
    }

    /// <summary>Starts one (0), sets one anew, or stops it (0 seconds).</summary>
    /// <param name="id">0, or a timer's number, from 1.</param>
    /// <param name="seconds">How long it waits.</param>
    /// <returns>The number of a new one, 0, or an error.</returns>
    internal long Set(uint id, uint seconds)
    {
        if (id > Count)
        {
            return XenError.Invalid;
        }

        if (id == 0)
        {
            int free = System.Array.IndexOf(_deadlinesNs, null);
            if (free < 0)
            {
                return unchecked((uint)XenError.NoSpace); // Xen makes a number without a sign of it
            }

            Start(free, seconds);
            return free + 1;
        }

        int index = (int)id - 1;
        if (_deadlinesNs[index] is null)
        {
            return XenError.Invalid;
        }

        if (seconds == 0)
        {
            Stop(index);
        }
        else
        {
            Start(index, seconds);
        }

        return 0;
    }

    /// <summary>The domain begins anew: none runs.</summary>
    internal void Restart()
    {
        for (int i = 0; i < Count; i++)
        {
            Stop(i);
        }
    }

    private void Start(int index, uint seconds)
    {
        _deadlinesNs[index] = _domain.Clock.NowNs + (seconds * SecondNs);
        _timers[index].Arm(_deadlinesNs[index]!.Value); // just set
    }

    private void Stop(int index)
    {
        _deadlinesNs[index] = null;
        _timers[index].Cancel();
    }

    // A timer that was set anew while this call was on its way fires again.
    private void Fired(int index)
    {
        if (_deadlinesNs[index] <= _domain.Clock.NowNs)
        {
            Stop(index);
            _domain.ShutDown(ShutdownReason.Watchdog);
        }
    }
}
