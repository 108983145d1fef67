using System.Collections.Generic;
using Hull.Engine;

namespace Hull.Kvm;

/// <summary>What a vCPU counts; written on its own thread.</summary>
internal sealed class KvmCounters
{
    /// <summary>Times that KVM_RUN was called.</summary>
    internal ulong Entries { get; set; }

    internal ulong PortExits { get; set; }

    internal ulong MmioExits { get; set; }

    internal ulong MsrExits { get; set; }

    /// <summary>Ends of level-triggered interrupts, for the I/O APIC.</summary>
    internal ulong EoiExits { get; set; }

    /// <summary>The guest was ready for an interrupt of the 8259s.</summary>
    internal ulong WindowExits { get; set; }

    /// <summary>Hypercalls of a personality.</summary>
    internal ulong HypercallExits { get; set; }

    /// <summary>A dirty ring was full.</summary>
    internal ulong RingExits { get; set; }

    /// <summary>All of them, by name.</summary>
    internal IEnumerable<EngineCounter> Read() =>
    [
        new("kvm-entries", Entries),
        new("exits-port", PortExits),
        new("exits-mmio", MmioExits),
        new("exits-msr", MsrExits),
        new("exits-eoi", EoiExits),
        new("exits-interrupt-window", WindowExits),
        new("exits-hypercall", HypercallExits),
        new("exits-ring-full", RingExits),
    ];
}
