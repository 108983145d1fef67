using System.Collections.Generic;
using Hull.Engine;

namespace Hull.Boot;

/// <summary>What to boot and how: all that a loader needs to know.</summary>
public sealed record BootRequest
{
    /// <summary>The kernel: a bzImage, a Multiboot kernel, or an ELF vmlinux with a PVH note.</summary>
    public BootBlob? Kernel { get; init; }

    /// <summary>
    /// The initial RAM disk in parts, which the guest sees as one: Linux unpacks archives that follow each
    /// other. Each part starts at a multiple of four bytes.
    /// </summary>
    public IReadOnlyList<BootBlob> Initrd { get; init; } = [];

    /// <summary>What a Multiboot kernel gets behind the RAM disk, which is its first module.</summary>
    public IReadOnlyList<BootModule> Modules { get; init; } = [];

    /// <summary>The kernel's command line; Multiboot puts the kernel's name before it.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>Virtual processors.</summary>
    public int VcpuCount { get; init; } = 1;

    /// <summary>True when the machine has an HPET, so that ACPI names it.</summary>
    public bool Hpet { get; init; }

    /// <summary>Serial ports that ACPI names, COM1 first, 0-4.</summary>
    public int SerialPorts { get; init; } = 4;

    /// <summary>Virtio devices behind MMIO that ACPI names.</summary>
    public int MmioDevices { get; init; }

    /// <summary>
    /// True when guest memory holds only zeros, as after its making: uninitialised data need not be cleared,
    /// which would cost a host page each.
    /// </summary>
    public bool MemoryIsFresh { get; init; }

    /// <summary>The tables say that the machine can be suspended to RAM.</summary>
    public bool HasS3 { get; init; }

    /// <summary>True to start Linux by its PVH entry, as Xen does, and not by its own boot protocol.</summary>
    public bool StartAsPvh { get; init; }

    /// <summary>Keeps unpacked kernels from one start to the next; null: unpack each time.</summary>
    public IBootCache? Cache { get; init; }
}

/// <summary>A file that a Multiboot kernel finds in its memory.</summary>
/// <param name="File">The file, as it is.</param>
/// <param name="CommandLine">What the kernel is told about it: by custom its name, then words.</param>
public sealed record BootModule(BootBlob File, string CommandLine)
{
    /// <summary>What follows it, each at a multiple of four bytes, as one file with it: archives of a RAM disk.</summary>
    public IReadOnlyList<BootBlob> More { get; init; } = [];
}

/// <summary>A kernel in guest memory, ready to run.</summary>
internal sealed record LoadedKernel
{
    /// <summary>How the bootstrap processor starts.</summary>
    internal required ArchState InitialState { get; init; }

    /// <summary>
    /// The protocol taken: "Linux 64-bit" or "Linux 32-bit", with ", unpacked by the guest" where it is; "PVH",
    /// "Multiboot 1" or "Multiboot 2".
    /// </summary>
    internal required string Protocol { get; init; }

    /// <summary>Where the kernel starts, guest-physical.</summary>
    internal required ulong Entry { get; init; }

    /// <summary>First byte of the kernel in guest memory.</summary>
    internal required ulong KernelStart { get; init; }

    /// <summary>End (exclusive) of the kernel with its uninitialised data.</summary>
    internal required ulong KernelEnd { get; init; }

    /// <summary>Where the initial RAM disk starts; 0 when there is none.</summary>
    internal ulong InitrdStart { get; init; }

    /// <summary>Bytes of the initial RAM disk.</summary>
    internal ulong InitrdSize { get; init; }

    /// <summary>The kernel finds the chips as a BIOS leaves them, and not as a reset does.</summary>
    internal bool FollowsBios { get; init; }

    /// <summary>What the kernel asks for and does not get, for the user; null: nothing.</summary>
    internal string? Notice { get; init; }
}
