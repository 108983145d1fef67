using Hull.Memory;
using Hull.Platform;

namespace Hull.Boot.Acpi;

/// <summary>What the tables must know of the machine.</summary>
internal sealed record AcpiConfig
{
    /// <summary>Virtual processors; their APIC identities are 0, 1, 2 and so on.</summary>
    internal int VcpuCount { get; init; } = 1;

    /// <summary>True: an HPET table.</summary>
    internal bool HasHpet { get; init; }

    /// <summary>True: keyboard and mouse controller.</summary>
    internal bool HasI8042 { get; init; } = true;

    /// <summary>True: a VGA adapter may be probed.</summary>
    internal bool HasVga { get; init; } = true;

    /// <summary>True: a CMOS clock.</summary>
    internal bool HasRtc { get; init; } = true;

    /// <summary>True: the machine can be suspended to RAM (S3).</summary>
    internal bool HasS3 { get; init; }

    /// <summary>Serial ports, 0-4.</summary>
    internal int SerialPorts { get; init; } = 4;

    /// <summary>Where ECAM is.</summary>
    internal ulong EcamBase { get; init; } = PlatformMap.EcamBase;

    /// <summary>End (exclusive) of PCI memory below 4 GiB.</summary>
    internal ulong PciMemoryEnd { get; init; } = PlatformMap.PciMemoryEnd;

    /// <summary>Virtio devices behind MMIO.</summary>
    internal int MmioDevices { get; init; }

    /// <summary>Where PCI memory above RAM starts.</summary>
    internal ulong PciMemory64Base { get; init; } = PlatformMap.PciMemory64Alignment;

    /// <summary>What a boot request says of the machine.</summary>
    internal static AcpiConfig For(GuestMemory memory, BootRequest request)
    {
        const ulong step = PlatformMap.PciMemory64Alignment;
        return new AcpiConfig
        {
            VcpuCount = request.VcpuCount,
            HasHpet = request.Hpet,
            SerialPorts = request.SerialPorts,

            // What tells a guest that its machine is none of before: Linux then takes itself for a PVH guest, also when a
            // boot loader has started it in the old way.
            HasI8042 = !request.StartAsPvh,
            HasVga = !request.StartAsPvh,
            HasRtc = !request.StartAsPvh,
            HasS3 = request.HasS3,
            MmioDevices = request.MmioDevices,
            PciMemory64Base = (memory.End + step - 1) / step * step,
        };
    }
}
