using System;
using System.Threading;
using Hull.Bus;
using Hull.Devices.Power;
using Hull.Platform;

namespace Hull.Devices.Pci;

/// <summary>
/// What the DSDT's methods read and write when a card comes or goes while the guest runs: a bit for each slot. The guest is
/// told by a general-purpose event, and says itself when a card may be taken out (_EJ0). Hull's own registers; ACPI 6.4,
/// "Device Insertion, Removal, and Status Objects".
/// </summary>
internal sealed class PciHotplugPorts(AcpiGpe events) : IPortDevice
{
    private uint _added;
    private uint _unwanted;

    /// <summary>The guest has let go of the card in a slot. On a vCPU's thread.</summary>
    internal Action<int> Ejected { get; set; } = static _ => { };

    /// <summary>Puts the registers on their ports.</summary>
    internal void Map(IoBus bus) => bus.MapPorts(PlatformMap.PciHotplugPort, PlatformMap.PciHotplugBytes, this);

    /// <summary>Tells the guest that a card is in a slot. Any thread.</summary>
    internal void Add(int slot) => Tell(ref _added, slot);

    /// <summary>Asks the guest to let go of a card. Any thread.</summary>
    internal void AskFor(int slot) => Tell(ref _unwanted, slot);

    /// <inheritdoc/>
    public uint ReadPort(ushort offset, int size) => size != 4 ? 0 : offset switch
    {
        // What is read is told; the next event tells of the next.
        PlatformMap.PciHotplugAddedOffset => Interlocked.Exchange(ref _added, 0),
        PlatformMap.PciHotplugUnwantedOffset => Interlocked.Exchange(ref _unwanted, 0),
        _ => 0,
    };

    /// <inheritdoc/>
    public void WritePort(ushort offset, int size, uint value)
    {
        for (int slot = 1; slot < 32 && offset == PlatformMap.PciHotplugEjectOffset && size == 4; slot++)
        {
            if ((value & (1u << slot)) != 0)
            {
                Ejected(slot);
            }
        }
    }

    private void Tell(ref uint slots, int slot)
    {
        Interlocked.Or(ref slots, 1u << slot);
        events.Raise(PlatformMap.AcpiGpePciHotplug);
    }
}
