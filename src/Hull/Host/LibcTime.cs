using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>struct timespec.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TimeSpec
{
    internal long Seconds;
    internal long Nanoseconds;

    internal static TimeSpec FromNs(long ns) => new() { Seconds = ns / 1_000_000_000, Nanoseconds = ns % 1_000_000_000 };
}

/// <summary>struct itimerspec.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IntervalTimerSpec
{
    internal TimeSpec Interval;
    internal TimeSpec Value;
}

/// <summary>The libc calls about clocks and timers.</summary>
internal static unsafe partial class LibcTime
{
    internal const int ClockMonotonic = 1;
    internal const int ClockThreadCpu = 3;
    internal const int ClockMonotonicRaw = 4;
    internal const int TimerCloexec = 0x80000;
    internal const int TimerAbsolute = 1;

    /// <summary>clock_gettime(2).</summary>
    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    internal static partial int ClockGetTime(int clock, TimeSpec* now);

    /// <summary>timerfd_create(2).</summary>
    [LibraryImport("libc", EntryPoint = "timerfd_create", SetLastError = true)]
    internal static partial int TimerFdCreate(int clock, int flags);

    /// <summary>timerfd_settime(2).</summary>
    [LibraryImport("libc", EntryPoint = "timerfd_settime")]
    internal static partial int TimerFdSetTime(int fd, int flags, IntervalTimerSpec* value, IntervalTimerSpec* old);

    /// <summary>read(2).</summary>
    [LibraryImport("libc", EntryPoint = "read")]
    internal static partial nint Read(int fd, void* buffer, nuint length);
}
