using System.Collections.Generic;
using Hull.Platform;

namespace Hull.Boot.Acpi;

/// <summary>
/// The DSDT's terms: soft-off, the PCI host bridge with its interrupt routing, and the ISA devices.
/// </summary>
internal static class Dsdt
{
    /// <summary>Slots of the PCI bus.</summary>
    internal const int Slots = 32;

    /// <summary>INTA to INTD.</summary>
    internal const int Pins = 4;
    private const int PciIrqs = 8;

    /// <summary>Builds the terms, without the table header.</summary>
    internal static byte[] Build(AcpiConfig config)
    {
        List<byte[]> devices = [HostBridge(config), Motherboard(config)];
        if (config.HasRtc)
        {
            devices.Add(Rtc());
        }

        if (config.HasI8042)
        {
            devices.Add(Keyboard());
            devices.Add(Mouse());
        }

        for (int i = 0; i < config.SerialPorts; i++)
        {
            devices.Add(SerialPort(i));
        }

        for (int i = 0; i < config.MmioDevices; i++)
        {
            devices.Add(VirtioMmio(i));
        }

        byte[] s5 = Aml.Integer(PlatformMap.AcpiSleepTypeS5);
        byte[] s3 = Aml.Integer(PlatformMap.AcpiSleepTypeS3);
        return Aml.Join(
            config.HasS3 ? Aml.Name("\\_S3", Aml.Package(s3, s3, Aml.Integer(0), Aml.Integer(0))) : [],
            Aml.Name("\\_S5", Aml.Package(s5, s5, Aml.Integer(0), Aml.Integer(0))),
            Aml.Scope("\\_SB", [.. devices]),
            PciHotplug.EventScope());
    }

    private static byte[] HostBridge(AcpiConfig config)
    {
        List<byte[]> windows =
        [
            AmlResources.BusNumbers(0, PlatformMap.LastPciBus),
            AmlResources.Io(PlatformMap.PciConfigAddressPort, 8),
            AmlResources.IoWindow(0, PlatformMap.PciConfigAddressPort - 1),
            AmlResources.IoWindow(PlatformMap.PciConfigDataPort + 4, 0xFFFF),
            AmlResources.MemoryWindow32(0xA_0000, 0xB_FFFF),
            AmlResources.MemoryWindow32(PlatformMap.PciMemoryBase, config.PciMemoryEnd - 1),
            AmlResources.MemoryWindow64(
                config.PciMemory64Base,
                config.PciMemory64Base + PlatformMap.PciMemory64Alignment - 1),
        ];
        return Aml.Device(
            "PCI0",
            Aml.Name("_HID", Aml.EisaId("PNP0A08")),
            Aml.Name("_CID", Aml.EisaId("PNP0A03")),
            Aml.Name("_UID", Aml.Integer(0)),
            Aml.Name("_SEG", Aml.Integer(0)),
            Aml.Name("_BBN", Aml.Integer(0)),
            Aml.Name("_CRS", AmlResources.Template([.. windows])),
            Aml.Name("_PRT", Routing()),
            PciHotplug.BridgeTerms());
    }

    /// <summary>The I/O APIC's input of a slot's pin, INTA being 0.</summary>
    internal static int InputOf(int slot, int pin) => PlatformMap.PciIrqBase + ((slot + pin) % PciIrqs);

    /// <summary>
    /// Each pin of each slot goes straight to an I/O APIC input. ACPI 6.4, "_PRT (PCI Routing Table)".
    /// </summary>
    private static byte[] Routing()
    {
        byte[][] rows = new byte[Slots * Pins][];
        for (int slot = 0; slot < Slots; slot++)
        {
            for (int pin = 0; pin < Pins; pin++)
            {
                int input = InputOf(slot, pin);
                rows[(slot * Pins) + pin] = Aml.Package(
                    Aml.Integer(((ulong)slot << 16) | 0xFFFF),
                    Aml.Integer((ulong)pin),
                    Aml.Integer(0),
                    Aml.Integer((ulong)input));
            }
        }

        return Aml.Package(rows);
    }

    /// <summary>
    /// Claims ECAM and the platform's own ports, so that no driver takes them for free space.
    /// </summary>
    private static byte[] Motherboard(AcpiConfig config) => Aml.Device(
        "MBRD",
        Aml.Name("_HID", Aml.EisaId("PNP0C02")),
        Aml.Name("_UID", Aml.Integer(0)),
        Aml.Name("_CRS", AmlResources.Template(
            AmlResources.Memory32(config.EcamBase, PlatformMap.EcamSize),
            AmlResources.Io(PlatformMap.AcpiPm1EventPort, 0x10),
            AmlResources.Io(PlatformMap.AcpiGpePort, PlatformMap.AcpiGpeBytes),
            AmlResources.Io(PlatformMap.PciHotplugPort, PlatformMap.PciHotplugBytes),
            AmlResources.Io(PlatformMap.ElcrPort, 2))));

    private static byte[] Rtc() => Aml.Device(
        "RTC0",
        Aml.Name("_HID", Aml.EisaId("PNP0B00")),
        Aml.Name("_CRS", AmlResources.Template(
            AmlResources.Io(PlatformMap.RtcPort, 2),
            AmlResources.Irq(PlatformMap.RtcIrq))));

    private static byte[] Keyboard() => Aml.Device(
        "KBD0",
        Aml.Name("_HID", Aml.EisaId("PNP0303")),
        Aml.Name("_CRS", AmlResources.Template(
            AmlResources.Io(PlatformMap.I8042DataPort, 1),
            AmlResources.Io(PlatformMap.I8042CommandPort, 1),
            AmlResources.Irq(PlatformMap.KeyboardIrq))));

    private static byte[] Mouse() => Aml.Device(
        "MOU0",
        Aml.Name("_HID", Aml.EisaId("PNP0F13")),
        Aml.Name("_CRS", AmlResources.Template(AmlResources.Irq(12))));

    // The identity under which Linux's virtio_mmio driver looks for its devices.
    private static byte[] VirtioMmio(int index) => Aml.Device(
        $"VM{index:D2}",
        Aml.Name("_HID", Aml.Text("LNRO0005")),
        Aml.Name("_UID", Aml.Integer((ulong)index)),
        Aml.Name("_CRS", AmlResources.Template(
            AmlResources.Memory32(
                PlatformMap.VirtioMmioBase + ((ulong)index * PlatformMap.VirtioMmioBytes),
                PlatformMap.VirtioMmioBytes),
            AmlResources.LevelInterrupt(PlatformMap.VirtioMmioIrq(index)))));

    private static byte[] SerialPort(int index)
    {
        (ushort port, int irq) = index switch
        {
            0 => (PlatformMap.Com1Port, PlatformMap.Com1Irq),
            1 => (PlatformMap.Com2Port, PlatformMap.Com2Irq),
            2 => (PlatformMap.Com3Port, PlatformMap.Com1Irq),
            _ => (PlatformMap.Com4Port, PlatformMap.Com2Irq),
        };
        return Aml.Device(
            $"COM{index + 1}",
            Aml.Name("_HID", Aml.EisaId("PNP0501")),
            Aml.Name("_UID", Aml.Integer((ulong)index + 1)),
            Aml.Name("_CRS", AmlResources.Template(AmlResources.Io(port, 8), AmlResources.Irq(irq))));
    }
}
