using System;

namespace Hull.Timeline;

/// <summary>Counts what virtual time is made of: the guest instructions that have started.</summary>
internal interface IInstructionCounter
{
    /// <summary>Instructions that were run, or raised an exception, since the machine started.</summary>
    long Executed { get; }
}

/// <summary>
/// Virtual time: a nanosecond, and a tick of the guest's time-stamp counter, for each instruction, and what a halted
/// vCPU has skipped. Nothing of the host's clocks is in it, so two runs of the same guest see the same times.
/// </summary>
internal sealed class VirtualClock : IMachineClock
{
    /// <summary>Nanoseconds that an instruction takes.</summary>
    internal const long NsPerInstruction = 1;

    // Any fixed moment would do; a kernel that finds itself before its own build complains.
    private static readonly DateTimeOffset Epoch = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private IInstructionCounter? _counter;
    private long _skippedNs;

    /// <inheritdoc/>
    public long NowNs => _skippedNs + ((_counter?.Executed ?? 0) * NsPerInstruction);

    /// <inheritdoc/>
    public ulong Tsc => (ulong)NowNs;

    /// <inheritdoc/>
    public ulong TscOffset => 0;

    /// <inheritdoc/>
    public ulong TscHz => (ulong)Ticks.NsPerSecond;

    /// <inheritdoc/>
    public DateTimeOffset UtcNow => Epoch.AddTicks(NowNs / 100);

    /// <summary>Names the vCPU whose instructions are time.</summary>
    internal void CountBy(IInstructionCounter counter) => _counter = counter;

    /// <summary>The vCPU is halted: time goes on to <paramref name="ns"/> at once, unless it is there already.</summary>
    internal void SkipTo(long ns) => _skippedNs += Math.Max(0, ns - NowNs);
}
