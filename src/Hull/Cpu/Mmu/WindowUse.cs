namespace Hull.Cpu.Mmu;

/// <summary>Which programs get <see cref="Windows"/>.</summary>
internal enum WindowUse
{
    /// <summary>Those that run for some milliseconds.</summary>
    ForLongRuns,

    /// <summary>All, at once; for tests.</summary>
    Always,

    /// <summary>None.</summary>
    Never,
}
