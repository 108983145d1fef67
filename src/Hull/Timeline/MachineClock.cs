using System;
using System.Diagnostics;
using Hull.Host;

namespace Hull.Timeline;

/// <summary>
/// The machine's time when it runs in real time: nanoseconds of CLOCK_MONOTONIC, and the host's time-stamp counter with
/// an offset that starts the guest's near zero.
/// </summary>
internal sealed class MachineClock : IMachineClock
{
    // .NET's Stopwatch is CLOCK_MONOTONIC in nanoseconds on Linux.
    private readonly long _startNs = Stopwatch.GetTimestamp();

    /// <summary>Starts the clock now.</summary>
    internal MachineClock() => TscOffset = 0 - HostTsc.Read();

    /// <inheritdoc/>
    public long NowNs => Stopwatch.GetTimestamp() - _startNs;

    /// <inheritdoc/>
    public ulong Tsc => HostTsc.Read() + TscOffset;

    /// <inheritdoc/>
    public ulong TscHz => HostTsc.Hz;

    /// <inheritdoc/>
    public DateTimeOffset UtcNow => DateTimeOffset.UtcNow;

    /// <summary>Guest counter = host counter + this, modulo 2^64. For engines.</summary>
    public ulong TscOffset { get; }

    /// <summary>The moment zero of this clock, on the host's CLOCK_MONOTONIC, in nanoseconds.</summary>
    internal long StartNs => _startNs;
}
