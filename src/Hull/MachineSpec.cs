using System;
using System.Collections.Generic;
using System.Collections.Immutable;
using Hull.Boot;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Engine;
using Hull.Host;

namespace Hull;

/// <summary>Gets what a guest sends through a serial port. Called on a vCPU's thread; must not block for long.</summary>
public delegate void SerialOutput(ReadOnlySpan<byte> bytes);

/// <summary>All that makes a machine. Checked by <see cref="Machine.StartAsync"/>.</summary>
public sealed record MachineSpec
{
    /// <summary>Serial ports of a machine: COM1 to COM4.</summary>
    public const int SerialPortCount = 4;

    /// <summary>The smallest memory that Hull starts a kernel with, in bytes.</summary>
    public const ulong LeastMemory = 16UL << 20;

    /// <summary>The most virtual processors of a machine.</summary>
    public const int MaximumVcpus = 64;

    /// <summary>A name for messages and lists.</summary>
    public string Name { get; init; } = "guest";

    /// <summary>Guest RAM, in bytes; a multiple of 4 KiB.</summary>
    public ulong MemoryBytes { get; init; } = 512UL << 20;

    /// <summary>Virtual processors, 1 to <see cref="MaximumVcpus"/>; each runs on a host thread of its own.</summary>
    public int VcpuCount { get; init; } = 1;

    /// <summary>The CPU engine.</summary>
    public EngineKind Engine { get; init; } = EngineKind.Auto;

    /// <summary>The CPU that the guest is shown.</summary>
    public CpuModel Cpu { get; init; } = CpuModel.HostSafe;

    /// <summary>The kernel: a bzImage, a Multiboot kernel, or an ELF vmlinux with a PVH note; null: firmware boots.</summary>
    public BootBlob? Kernel { get; init; }

    /// <summary>A ROM (SeaBIOS, OVMF) that starts in place of a kernel, and boots from the disks in their order.</summary>
    public BootBlob? Firmware { get; init; }

    /// <summary>Where the firmware's log goes; null: it writes none.</summary>
    public SerialOutput? FirmwareLog { get; init; }

    /// <summary>The initial RAM disk in parts, which the guest sees as one.</summary>
    public IReadOnlyList<BootBlob> Initrd { get; init; } = [];

    /// <summary>What a Multiboot kernel gets behind the RAM disk, which is its first module.</summary>
    public IReadOnlyList<BootModule> Modules { get; init; } = [];

    /// <summary>Devices beyond the PC's own: disks, network cards and so on, in the order of their PCI slots.</summary>
    public IReadOnlyList<DeviceSpec> Devices { get; init; } = [];

    /// <summary>The kernel's command line; Multiboot puts the kernel's name before it.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>
    /// The first of four ports where a guest's write ends the machine (QEMU's isa-debug-exit); null: there are none.
    /// </summary>
    public ushort? ExitPort { get; init; }

    /// <summary>Gives the machine the ports and memory of QEMU's pc-testdev.</summary>
    public bool TestDevice { get; init; }

    /// <summary>Stop at an instruction that the soft engine does not know, instead of raising #UD in the guest.</summary>
    public bool Strict { get; init; }

    /// <summary>Keeps what <see cref="EngineKind.Auto"/> measured of /dev/kvm; null measures at each start.</summary>
    public IVerdictStore? Verdicts { get; init; }

    /// <summary>Keeps unpacked kernels from one start to the next; null unpacks each time.</summary>
    public IBootCache? BootCache { get; init; }

    /// <summary>Where the output of COM1 to COM4 goes; a missing or null entry drops it.</summary>
    public IReadOnlyList<SerialOutput?> Serial { get; init; } = [];

    /// <summary>Where the output of the virtio console on the user's terminal goes; null drops it.</summary>
    public SerialOutput? Terminal { get; init; }

    /// <summary>
    /// Named console ports whose host's end is the program that makes the machine, each with what gets the guest's output; for
    /// <c>NAME=program</c> of a <see cref="ConsoleSpec"/>. Called on a thread of the port's: one that waits holds up the guest's writer.
    /// </summary>
    public IReadOnlyDictionary<string, SerialOutput> Ports { get; init; } = ImmutableDictionary<string, SerialOutput>.Empty;

    /// <summary>
    /// Gets a line for the user: why <see cref="EngineKind.Auto"/> does not take KVM, and when something of the host's that
    /// the guest uses fails, or comes back, while the machine runs. Any thread; returns soon.
    /// </summary>
    public Action<string>? Notice { get; init; }

    /// <summary>What to do when the guest resets the machine without having crashed: true starts it again.</summary>
    public bool RestartOnReset { get; init; } = true;

    /// <summary>
    /// Virtual time: each instruction takes a nanosecond, a halted guest jumps to its next timer, and nothing of the
    /// host's clocks is visible. Two runs with the same input are the same, instruction for instruction. One vCPU.
    /// </summary>
    public bool Deterministic { get; init; }

    /// <summary>In deterministic mode: looks at the state at fixed moments.</summary>
    public CheckpointSpec? Checkpoints { get; init; }

    /// <summary>Instructions in a translated block at the most: 1 for comparisons of blocks with single steps.</summary>
    public int BlockLimit { get; init; } = Hull.Cpu.Translate.Translator.MaximumInstructions;

    /// <summary>The guest finds Xen 4.17 instead of KVM's clock, starts by PVH, and its console is Xen's.</summary>
    public bool Xen { get; init; }

    /// <summary>With <see cref="Xen"/>: gets a line for each hypercall. On vCPUs' threads; must not block for long.</summary>
    public Action<string>? HypercallTrace { get; init; }

    /// <summary>What of this specification only the soft engine has; null: nothing.</summary>
    internal string? NeedsSoftEngine => this switch
    {
        { Deterministic: true } => "--deterministic",
        { Strict: true } => "HULL_STRICT",
        { BlockLimit: < Hull.Cpu.Translate.Translator.MaximumInstructions } => "--block-limit",
        _ => null,
    };

    /// <summary>Checks what can be checked before anything is made. <see cref="Machine.StartAsync"/> does it too.</summary>
    /// <exception cref="HullException">A value cannot work; the message names it.</exception>
    public void Validate()
    {
        if (MemoryBytes < LeastMemory || MemoryBytes % 4096 != 0)
        {
            throw new HullException(
                $"{MemoryBytes} bytes of memory: give at least {LeastMemory >> 20} MiB, in steps of 4 KiB (-m 512M)");
        }

        if (Kernel is null == Firmware is null)
        {
            throw new HullException("a machine starts with a kernel or with firmware: give one of both");
        }

        if (VcpuCount is < 1 or > MaximumVcpus)
        {
            throw new HullException($"{VcpuCount} vCPUs: give 1 to {MaximumVcpus} (-c 2)");
        }

        if (Deterministic && VcpuCount != 1)
        {
            throw new HullException("--deterministic: one vCPU (-c 1)");
        }

        if (Deterministic && Ports.Count > 0)
        {
            throw new HullException("--deterministic: nobody outside keeps virtual time: a program has no console port then");
        }

        if (Deterministic && Xen)
        {
            throw new HullException("--xen runs in real time: leave out --deterministic");
        }

        if (Xen && Firmware is not null)
        {
            throw new HullException("--xen starts a kernel by PVH: leave out --firmware");
        }

        if (Checkpoints is { } checkpoints && (!Deterministic || checkpoints.PeriodNs <= 0))
        {
            throw new HullException("checkpoints need --deterministic, and at least a nanosecond between them");
        }

        if (BlockLimit is < 1 or > Hull.Cpu.Translate.Translator.MaximumInstructions)
        {
            throw new HullException(
                $"blocks of {BlockLimit} instructions: give 1 to {Hull.Cpu.Translate.Translator.MaximumInstructions}");
        }

        if (Engine != EngineKind.Kvm)
        {
            CpuidPolicy.Check(Cpu);
        }
        else if (NeedsSoftEngine is string option)
        {
            throw new HullException($"{option} is the soft engine's: use --engine soft");
        }

        if (Serial.Count > SerialPortCount)
        {
            throw new HullException($"{Serial.Count} serial ports: a machine has {SerialPortCount}");
        }
    }
}
