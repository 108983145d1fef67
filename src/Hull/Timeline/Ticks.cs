namespace Hull.Timeline;

/// <summary>Conversions between nanoseconds and the ticks of a chip's own clock, without overflow.</summary>
internal static class Ticks
{
    /// <summary>Nanoseconds in a second.</summary>
    internal const long NsPerSecond = 1_000_000_000;

    /// <summary>Whole ticks of <paramref name="hz"/> in a time; hz is below 2^34.</summary>
    internal static ulong FromNs(long ns, ulong hz)
    {
        ulong time = (ulong)ns;
        return (time / NsPerSecond * hz) + (time % NsPerSecond * hz / NsPerSecond);
    }

    /// <summary>
    /// The first nanosecond at which <see cref="FromNs"/> has reached <paramref name="ticks"/>; long.MaxValue when that
    /// lies beyond the clock.
    /// </summary>
    internal static long ToNs(ulong ticks, ulong hz)
    {
        ulong seconds = ticks / hz;
        if (seconds >= long.MaxValue / NsPerSecond)
        {
            return long.MaxValue;
        }

        ulong rest = ticks % hz;
        return (long)((seconds * NsPerSecond) + (((rest * NsPerSecond) + hz - 1) / hz));
    }
}
