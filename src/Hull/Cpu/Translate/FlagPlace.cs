namespace Hull.Cpu.Translate;

/// <summary>
/// Where the guest's six arithmetic flags are at a point of a block. A block has two entries, one for each place, so
/// that neighbours need not agree; the code that moves flags from one place to the other is emitted where the first
/// instruction cares.
/// </summary>
internal enum FlagPlace : byte
{
    /// <summary>Only in <see cref="State.CpuState.ArithmeticFlags"/>.</summary>
    Memory,

    /// <summary>Only in the host's flags.</summary>
    Host,

    /// <summary>In both.</summary>
    Both,
}
