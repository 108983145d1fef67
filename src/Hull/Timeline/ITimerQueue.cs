using System;

namespace Hull.Timeline;

/// <summary>The machine's time. Devices read this clock, never the host's.</summary>
public interface IMachineClock
{
    /// <summary>Nanoseconds since the machine started; never goes back.</summary>
    long NowNs { get; }

    /// <summary>The guest's time-stamp counter now.</summary>
    ulong Tsc { get; }

    /// <summary>Guest time-stamp counter minus the host's, for engines whose guests read the host's counter.</summary>
    ulong TscOffset { get; }

    /// <summary>Ticks of the guest's time-stamp counter in a second.</summary>
    ulong TscHz { get; }

    /// <summary>Wall-clock time, for the RTC and the paravirtual wall clock.</summary>
    DateTimeOffset UtcNow { get; }
}

/// <summary>A one-shot timer. Made by <see cref="ITimerQueue"/>.</summary>
public interface IMachineTimer
{
    /// <summary>Fires once at <paramref name="deadlineNs"/> of the machine's clock; replaces an earlier deadline. Any thread.</summary>
    void Arm(long deadlineNs);

    /// <summary>Forgets the deadline; a callback that already started still ends.</summary>
    void Cancel();
}

/// <summary>The timers of a machine. Callbacks come one at a time, on the timeline's thread, with no lock held.</summary>
public interface ITimerQueue
{
    /// <summary>The clock that deadlines refer to.</summary>
    IMachineClock Clock { get; }

    /// <summary>Makes a timer; <paramref name="fired"/> gets no argument: it reads the clock if it needs the time.</summary>
    IMachineTimer CreateTimer(Action fired);
}
