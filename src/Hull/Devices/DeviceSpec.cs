using System;
using System.Collections.Generic;
using System.Collections.Immutable;
using System.Text.Json.Serialization;
using Hull.Bus;
using Hull.Devices.Virtio;
using Hull.Host;
using Hull.Memory;

namespace Hull.Devices;

/// <summary>
/// A device that the user adds to a machine. The record and the device are in one file; the line here makes them known to
/// the command line (<c>--device KIND,NAME=VALUE...</c>) and to JSON. What is left out is zero, false or null, so those
/// have to mean the default.
/// </summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "kind")]
[JsonDerivedType(typeof(BalloonSpec), "balloon")]
[JsonDerivedType(typeof(ConsoleSpec), "console")]
[JsonDerivedType(typeof(DiskSpec), "disk")]
[JsonDerivedType(typeof(FsSpec), "fs")]
[JsonDerivedType(typeof(NetSpec), "net")]
[JsonDerivedType(typeof(P9Spec), "p9")]
[JsonDerivedType(typeof(PmemSpec), "pmem")]
[JsonDerivedType(typeof(RngSpec), "rng")]
[JsonDerivedType(typeof(VsockSpec), "vsock")]
public abstract record DeviceSpec
{
    /// <summary>The device's name among the machine's; one that Hull makes when null.</summary>
    public string? Id { get; init; }

    /// <summary>The device is not a PCI card but a page of registers, for guests without PCI (virtio over MMIO).</summary>
    public bool Mmio { get; init; }

    /// <summary>The driver may have packed rings; Linux's then does.</summary>
    public bool Packed { get; init; }

    /// <summary>Linux's name of the driver, for Hull's own init to load; several with blanks between them.</summary>
    [JsonIgnore]
    public abstract string LinuxDriver { get; }

    /// <summary>Makes the device, in its state after power-on.</summary>
    /// <exception cref="HullException">What it needs of the host is not there.</exception>
    internal abstract VirtioDevice Create(DeviceContext context);
}

/// <summary>What a device may know of its machine.</summary>
internal sealed record DeviceContext
{
    /// <summary>The guest's RAM.</summary>
    internal required GuestMemory Memory { get; init; }

    /// <summary>The machine's vCPUs.</summary>
    internal int VcpuCount { get; init; } = 1;

    /// <summary>Nothing may happen on a thread of the device's own: see <see cref="QueuePump"/>.</summary>
    internal bool IsDeterministic { get; init; }

    /// <summary>The engine takes doorbells over.</summary>
    internal bool HasDoorbells { get; init; }

    /// <summary>A doorbell for a pump; null where no engine could ring it.</summary>
    internal Doorbell? NewBell() => HasDoorbells && !IsDeterministic ? new Doorbell() : null;

    /// <summary>Gets a line for the user when something of the host's fails or comes back. Any thread; seldom.</summary>
    internal Action<string> Notice { get; init; } = static _ => { };

    /// <summary>The user's terminal; what goes there is dropped where there is none.</summary>
    internal TerminalLink Terminal { get; init; } = new(static _ => { });

    /// <summary>The ends of the console ports that are the program's, by the ports' names.</summary>
    internal IReadOnlyDictionary<string, ProgramEnd> Ports { get; init; } = ImmutableDictionary<string, ProgramEnd>.Empty;

    /// <summary>The device's number among all of the machine, from 0; for names.</summary>
    internal int Index { get; init; }
}
