using System.Collections.Generic;
using Hull.Platform;

namespace Hull.Boot.Acpi;

/// <summary>
/// The DSDT's terms for cards that come and go: the slots of PCI bus 0, each with what takes its card out, and the method of
/// the event that tells of changes. ACPI 6.4, "Device Insertion, Removal, and Status Objects".
/// </summary>
internal static class PciHotplug
{
    private const int Slots = 32;
    private const int DeviceCheck = 1;
    private const int EjectRequest = 3;

    /// <summary>The terms of the host bridge: registers, slots, and the method that looks for changes.</summary>
    internal static byte[] BridgeTerms()
    {
        List<byte[]> terms =
        [
            Aml.PortRegion("HPRG", PlatformMap.PciHotplugPort, PlatformMap.PciHotplugBytes),
            Aml.DwordFields("HPRG", "PCIU", "PCID", "PCIE"),
        ];
        List<byte[]> look =
        [
            Aml.Store(Aml.Path("PCIU"), Aml.Local0),
            Aml.Store(Aml.Path("PCID"), Aml.Local1),
        ];
        for (int slot = 1; slot < Slots; slot++)
        {
            string name = $"S{slot:X2}_";
            byte[] bit = Aml.Integer(1ul << slot);
            terms.Add(Aml.Device(
                name,
                Aml.Name("_ADR", Aml.Integer((ulong)slot << 16)),
                Aml.Name("_SUN", Aml.Integer((ulong)slot)),
                Aml.Method("_EJ0", 1, Aml.Store(bit, Aml.Path("PCIE")))));
            look.Add(Aml.If(Aml.And(Aml.Local0, bit), Aml.Notify(name, DeviceCheck)));
            look.Add(Aml.If(Aml.And(Aml.Local1, bit), Aml.Notify(name, EjectRequest)));
        }

        terms.Add(Aml.Method("PCNT", 0, [.. look]));
        return Aml.Join([.. terms]);
    }

    /// <summary>The event's method, in its scope. ACPI 6.4, "General-Purpose Event Handling".</summary>
    internal static byte[] EventScope() => Aml.Scope(
        "\\_GPE",
        Aml.Method($"_E{PlatformMap.AcpiGpePciHotplug:X2}", 0, Aml.Path("\\_SB.PCI0.PCNT")));
}
