using System;
using Hull.Platform;

namespace Hull.Boot.Acpi;

/// <summary>Tables whose content hardly depends on the machine: FADT, FACS, MCFG, HPET.</summary>
internal static class FixedTables
{
    private const int ResetValue = 6;
    private const int CenturyRegister = 0x32;

    // IA-PC boot architecture flags: legacy devices, 8042, no VGA, no CMOS clock.
    private const int LegacyDevices = 1;
    private const int Has8042 = 2;
    private const int NoVga = 4;
    private const int NoRtc = 32;

    // Fixed feature flags: WBINVD, C1 on all processors, no fixed sleep button, reset register.
    private const uint Features = (1 << 0) | (1 << 2) | (1 << 5) | (1 << 10);

    /// <summary>Bytes of the FADT.</summary>
    internal const int FadtSize = 276;

    /// <summary>Where the FADT has addresses of tables: FIRMWARE_CTRL, DSDT, X_DSDT.</summary>
    internal static ReadOnlySpan<AcpiPointer> FadtPointers => new AcpiPointer[] { new(36, 4), new(40, 4), new(140, 8) };

    /// <summary>
    /// ACPI 6.4, "Fixed ACPI Description Table (FADT)". There is no SMI command port: the machine is always
    /// in ACPI mode. The power button is fixed hardware.
    /// </summary>
    internal static byte[] Fadt(AcpiConfig config, ulong facs, ulong dsdt)
    {
        int bootFlags = (config.HasI8042 ? LegacyDevices | Has8042 : 0) | (config.HasVga ? 0 : NoVga) | (config.HasRtc ? 0 : NoRtc);
        AcpiTable table = new AcpiTable("FACP", 6)
            .Add32((uint)facs)
            .Add32((uint)dsdt)
            .Add8(0)
            .Add8(0)
            .Add16(PlatformMap.AcpiSciIrq)
            .Add32(0)
            .Add(new byte[4])
            .Add32(PlatformMap.AcpiPm1EventPort)
            .Add32(0)
            .Add32(PlatformMap.AcpiPm1ControlPort)
            .Add32(0)
            .Add32(0)
            .Add32(PlatformMap.AcpiPmTimerPort)
            .Add32(PlatformMap.AcpiGpePort)
            .Add32(0)
            .Add8(4)
            .Add8(2)
            .Add8(0)
            .Add8(4)
            .Add8(PlatformMap.AcpiGpeBytes)
            .Add8(0)
            .Add8(0)
            .Add8(0)
            .Add16(0xFFFF) // C2 and C3 latencies that mean "none"
            .Add16(0xFFFF)
            .Add16(0)
            .Add16(0)
            .Add8(0)
            .Add8(0)
            .Add8(0)
            .Add8(0)
            .Add8(config.HasRtc ? CenturyRegister : 0)
            .Add16(bootFlags)
            .Add8(0)
            .Add32(Features)
            .AddIo(PlatformMap.ResetPort, 8, 1)
            .Add8(ResetValue)
            .Add16(0)
            .Add8(4) // minor version: 6.4
            .Add64(0) // FIRMWARE_CTRL has the FACS; only one of both may be set
            .Add64(dsdt);
        return table
            .AddIo(PlatformMap.AcpiPm1EventPort, 32, 2)
            .AddNoAddress()
            .AddIo(PlatformMap.AcpiPm1ControlPort, 16, 2)
            .AddNoAddress()
            .AddNoAddress()
            .AddIo(PlatformMap.AcpiPmTimerPort, 32, 3)
            .AddIo(PlatformMap.AcpiGpePort, PlatformMap.AcpiGpeBytes * 8, 1)
            .AddNoAddress()
            .AddNoAddress()
            .AddNoAddress()
            .Add64(0)
            .Finish();
    }

    /// <summary>ACPI 6.4, "Firmware ACPI Control Structure (FACS)"; it has no check sum.</summary>
    internal static byte[] Facs()
    {
        byte[] raw = new byte[64];
        "FACS"u8.CopyTo(raw);
        raw[4] = 64;
        raw[32] = 2;
        return raw;
    }

    /// <summary>PCI Firmware Specification, "MCFG Table Description".</summary>
    internal static byte[] Mcfg(AcpiConfig config) => new AcpiTable("MCFG", 1)
        .Add64(0)
        .Add64(config.EcamBase)
        .Add16(0)
        .Add8(0)
        .Add8(PlatformMap.LastPciBus)
        .Add32(0)
        .Finish();

    /// <summary>IA-PC HPET Specification, "The ACPI 2.0 HPET Description Table".</summary>
    internal static byte[] Hpet() => new AcpiTable("HPET", 1)
        .Add32(0x8086_A201)
        .Add8(0)
        .Add8(64)
        .Add8(0)
        .Add8(0)
        .Add64(PlatformMap.HpetBase)
        .Add8(0)
        .Add16(0x80)
        .Add8(0)
        .Finish();
}
