using System;
using Hull.Cli.Guest;
using Hull.Devices;
using Hull.Engine;

namespace Hull.Cli.Run;

/// <summary>What the user asked of `hull run`.</summary>
internal sealed record RunRequest
{
    /// <summary>The word that asks for no RAM disk at all.</summary>
    internal const string NoInitrd = "none";

    /// <summary>Guest memory when the user names none.</summary>
    internal const ulong DefaultMemory = 512UL << 20;

    /// <summary>The kernel file; null: Hull finds one.</summary>
    internal string? Kernel { get; init; }

    /// <summary>"bios", "uefi" or a ROM's file; null: a kernel starts. See <see cref="FirmwareChoice"/>.</summary>
    internal string? Firmware { get; init; }

    /// <summary>The initial RAM disk, "none", or null for Hull's own.</summary>
    internal string? Initrd { get; init; }

    /// <summary>Words to add to the kernel's command line.</summary>
    internal string? Append { get; init; }

    /// <summary>Guest memory.</summary>
    internal ulong MemoryBytes { get; init; }

    /// <summary>Virtual processors.</summary>
    internal int VcpuCount { get; init; }

    /// <summary>The CPU that the guest is shown.</summary>
    internal CpuModel Cpu { get; init; } = CpuModel.HostSafe;

    /// <summary>The engine.</summary>
    internal EngineKind Engine { get; init; }

    /// <summary>The time limit; null: none.</summary>
    internal TimeSpan? Timeout { get; init; }

    /// <summary>The machine's name; null: Hull makes one.</summary>
    internal string? Name { get; init; }

    /// <summary>Disks and other devices.</summary>
    internal DeviceSpec[] Devices { get; init; } = [];

    /// <summary>Network cards, as the user named them; empty: Hull decides. See <see cref="Networks"/>.</summary>
    internal string[] Nets { get; init; } = [];

    /// <summary>The host's ports that lead to the guest.</summary>
    internal string[] Publish { get; init; } = [];

    /// <summary>Where the first card's frames are written; null: nowhere.</summary>
    internal string? Pcap { get; init; }

    /// <summary>Folders of the host's.</summary>
    internal ShareRequest[] Shares { get; init; } = [];

    /// <summary>What the guest's root is a view of: "host", or a folder; null: Hull's own initramfs.</summary>
    internal string? Root { get; init; }

    /// <summary>Modules for a Multiboot kernel: each a file's path, then words behind a blank.</summary>
    internal string[] Modules { get; init; } = [];

    /// <summary>The first of four ports where a guest's write ends the run; null: there are none.</summary>
    internal ushort? ExitPort { get; init; }

    /// <summary>True for the ports and memory of QEMU's pc-testdev.</summary>
    internal bool TestDevice { get; init; }

    /// <summary>True to print what the engine counted when the run is over.</summary>
    internal bool Stat { get; init; }

    /// <summary>The form of that.</summary>
    internal OutputForm StatForm { get; init; }

    /// <summary>Virtual time: the same run each time.</summary>
    internal bool Deterministic { get; init; }

    /// <summary>Where checkpoints go, and which; null: none. See <see cref="CheckpointFile"/>.</summary>
    internal string? Checkpoints { get; init; }

    /// <summary>The guest finds Xen.</summary>
    internal bool Xen { get; init; }

    /// <summary>What is written down of what the guest does, and where. See <see cref="TraceOutput"/>; null: nothing.</summary>
    internal string? Trace { get; init; }

    /// <summary>Where the console's text of a run with a command goes; null: nowhere.</summary>
    internal string? Log { get; init; }

    /// <summary>Instructions in a translated block at the most; null: as many as the engine likes.</summary>
    internal int? BlockLimit { get; init; }

    /// <summary>The command for the guest; empty: a console.</summary>
    internal string[] Command { get; init; } = [];
}
