using System;

namespace Hull.Host;

/// <summary>
/// A timerfd on CLOCK_MONOTONIC: one thread waits in <see cref="Wait"/>, any thread may move the deadline. The kernel
/// applies no timer slack here, unlike to ppoll and nanosleep (50 us).
/// </summary>
internal sealed unsafe class HostTimer : IDisposable
{
    private readonly int _fd;

    /// <summary>Makes the timer, disarmed.</summary>
    /// <exception cref="HullException">No file descriptor is left.</exception>
    internal HostTimer()
    {
        _fd = LibcTime.TimerFdCreate(LibcTime.ClockMonotonic, LibcTime.TimerCloexec);
        if (_fd < 0)
        {
            throw new HullException($"cannot make a timer: {Libc.LastErrorMessage()} (try a higher ulimit -n)");
        }
    }

    /// <summary>Expires at <paramref name="deadlineNs"/> of CLOCK_MONOTONIC; a past time expires at once.</summary>
    internal void Set(long deadlineNs)
    {
        // Zero would disarm.
        IntervalTimerSpec value = new() { Value = TimeSpec.FromNs(Math.Max(deadlineNs, 1)) };
        _ = LibcTime.TimerFdSetTime(_fd, LibcTime.TimerAbsolute, &value, null);
    }

    /// <summary>Waits for the deadline; may return early.</summary>
    internal void Wait()
    {
        ulong expirations;
        _ = LibcTime.Read(_fd, &expirations, sizeof(ulong));
    }

    /// <inheritdoc/>
    public void Dispose() => _ = Libc.Close(_fd);
}
