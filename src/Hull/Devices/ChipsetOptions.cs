using System;
using System.Collections.Generic;
using Hull.Bus;
using Hull.Devices.Serial;
using Hull.Memory;

namespace Hull.Devices;

/// <summary>What a <see cref="Chipset"/> needs to know of its machine.</summary>
internal sealed record ChipsetOptions
{
    /// <summary>How many vCPUs; as many local APICs, with ids from 0.</summary>
    internal required int Vcpus { get; init; }

    /// <summary>Bytes of RAM below 4 GiB, for CMOS.</summary>
    internal required ulong LowMemory { get; init; }

    /// <summary>Bytes of RAM from 4 GiB on, for CMOS.</summary>
    internal ulong HighMemory { get; init; }

    /// <summary>The guest's RAM, for fw_cfg's requests; null: it takes none.</summary>
    internal GuestMemory? Memory { get; init; }

    /// <summary>The kernel's command line, for fw_cfg.</summary>
    internal string CommandLine { get; init; } = "";

    /// <summary>
    /// Says where the guest wants to go on after a suspension to RAM (see <see cref="Bus.IVcpuSignals.Resume"/>), or zero when it
    /// named no place; null: the machine cannot be suspended.
    /// </summary>
    internal Func<uint?>? WakingVector { get; init; }

    /// <summary>True for the ports and memory of <see cref="Test.PcTestDevice"/>.</summary>
    internal bool TestDevice { get; init; }

    /// <summary>The first port of <see cref="Test.ExitPort"/>; null: there is none.</summary>
    internal ushort? ExitPort { get; init; }

    /// <summary>Where COM1-COM4 send to; a port that is missing or null sends to nobody.</summary>
    internal IReadOnlyList<ISerialOutput?> SerialOutputs { get; init; } = [];

    /// <summary>Where firmware's log goes; null: firmware finds no port for it.</summary>
    internal ISerialOutput? DebugOutput { get; init; }

    /// <summary>
    /// Where interrupt messages go when the engine has the local APICs (KVM's split irqchip); then
    /// <see cref="Chipset.LocalApics"/> is empty. Null: local APICs are made here.
    /// </summary>
    internal IMsiSink? ExternalMessages { get; init; }
}
