using System;

namespace Hull;

/// <summary>
/// Looks at a machine in deterministic mode at fixed moments of its virtual time, to compare two runs: with an equal
/// guest and equal input every checkpoint is equal.
/// </summary>
public sealed record CheckpointSpec
{
    /// <summary>The first moment, in nanoseconds of virtual time.</summary>
    public long FromNs { get; init; }

    /// <summary>From one to the next, in nanoseconds of virtual time.</summary>
    public long PeriodNs { get; init; } = 10_000_000;

    /// <summary>The machine is stopped at the first checkpoint that is not earlier than this.</summary>
    public long UntilNs { get; init; } = long.MaxValue;

    /// <summary>Include RAM, which takes some 100 ms for each GiB in use.</summary>
    public bool HashMemory { get; init; } = true;

    /// <summary>Gets each checkpoint, on the vCPU's thread.</summary>
    public required Action<Checkpoint> Reached { get; init; }
}

/// <summary>A machine at one moment of its virtual time.</summary>
/// <param name="Instructions">Guest instructions run so far.</param>
/// <param name="Ns">Virtual time.</param>
/// <param name="Rip">The next instruction.</param>
/// <param name="Registers">A hash of the registers.</param>
/// <param name="Memory">A hash of RAM; 0 when it is not wanted.</param>
public readonly record struct Checkpoint(long Instructions, long Ns, ulong Rip, ulong Registers, ulong Memory);
