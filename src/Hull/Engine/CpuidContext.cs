namespace Hull.Engine;

/// <summary>What CPUID depends on besides the leaf: the vCPU's state at the moment.</summary>
public readonly record struct CpuidContext
{
    /// <summary>CR4.OSXSAVE.</summary>
    public bool Osxsave { get; init; }

    /// <summary>XCR0.</summary>
    public ulong Xcr0 { get; init; }

    /// <summary>The (x2)APIC id.</summary>
    public uint ApicId { get; init; }

    /// <summary>IA32_APIC_BASE bit 11.</summary>
    public bool ApicEnabled { get; init; }
}
