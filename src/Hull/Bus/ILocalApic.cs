namespace Hull.Bus;

/// <summary>
/// What a vCPU sees of its local APIC. Called on the vCPU's own thread unless a member says otherwise; the APIC locks
/// itself, because other vCPUs and devices send it interrupts.
/// SDM vol. 3A, "Advanced Programmable Interrupt Controller".
/// </summary>
public interface ILocalApic
{
    /// <summary>IA32_APIC_BASE: base address, global enable (bit 11), x2APIC (bit 10), BSP (bit 8).</summary>
    ulong BaseMsr { get; }

    /// <summary>The page where the registers are mapped now, or ulong.MaxValue (disabled, or x2APIC mode).</summary>
    ulong MmioPage { get; }

    /// <summary>CR8: bits 7:4 of the task priority register. Get is free.</summary>
    byte TaskPriority { get; set; }

    /// <summary>
    /// True when an interrupt would be taken if RFLAGS.IF were 1: one in IRR above the processor priority, or the
    /// 8259's through LINT0 in ExtINT mode. Free of locks: read before each entry. Any thread.
    /// </summary>
    bool HasInterrupt { get; }

    /// <summary>Takes the interrupt: IRR to ISR, or an acknowledge cycle to the 8259.</summary>
    /// <returns>The vector, or -1 when it has gone meanwhile.</returns>
    int Acknowledge();

    /// <summary>Reads a register through memory; <paramref name="offset"/> is the byte offset in the page.</summary>
    uint ReadMmio(uint offset);

    /// <summary>Writes a register through memory.</summary>
    void WriteMmio(uint offset, uint value);

    /// <summary>
    /// Reads IA32_APIC_BASE, IA32_TSC_DEADLINE or an x2APIC register (0x800-0x8FF).
    /// </summary>
    /// <returns>False for #GP.</returns>
    bool TryReadMsr(uint index, out ulong value);

    /// <summary>Writes one of the MSRs that <see cref="TryReadMsr"/> reads.</summary>
    /// <returns>False for #GP.</returns>
    bool TryWriteMsr(uint index, ulong value);

    /// <summary>The vCPU was reset by INIT: registers go to their reset values, the identity stays.</summary>
    void Reset();
}

/// <summary>What a local APIC tells its vCPU. Every member may be called on any thread and does not block.</summary>
public interface IVcpuSignals
{
    /// <summary><see cref="ILocalApic.HasInterrupt"/> may have become true: leave HLT, look before the next block.</summary>
    void InterruptChanged();

    /// <summary>A non-maskable interrupt arrived.</summary>
    void Nmi();

    /// <summary>INIT: stop, reset, wait for a start-up message.</summary>
    void Init();

    /// <summary>SIPI: start in real mode at <paramref name="vector"/> * 4 KiB, if waiting for it.</summary>
    void Startup(byte vector);

    /// <summary>Suspension to RAM: as INIT, and the bootstrap processor too runs nothing before <see cref="Resume"/>.</summary>
    void Suspend();

    /// <summary>The end of a suspension, for the bootstrap processor.</summary>
    /// <param name="at">Where it goes on in real mode, below 1 MiB; null: where a processor starts after reset.</param>
    void Resume(uint? at);
}
