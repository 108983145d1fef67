using Hull.Platform;

namespace Hull.Boot.Acpi;

/// <summary>The interrupt controllers. ACPI 6.4, "Multiple APIC Description Table (MADT)".</summary>
internal static class Madt
{
    private const int LocalApic = 0;
    private const int IoApic = 1;
    private const int SourceOverride = 2;
    private const int LocalApicNmi = 4;
    private const int LocalX2Apic = 9;
    private const int LocalX2ApicNmi = 10;
    private const int LevelActiveHigh = 0xD;
    private const int FirstX2ApicOnly = 255;

    /// <summary>Builds the table.</summary>
    internal static byte[] Build(AcpiConfig config)
    {
        AcpiTable table = new AcpiTable("APIC", 5)
            .Add32((uint)PlatformMap.LocalApicBase)
            .Add32(1); // there is a pair of 8259s
        for (int id = 0; id < config.VcpuCount; id++)
        {
            if (id < FirstX2ApicOnly)
            {
                table.Add8(LocalApic).Add8(8).Add8(id).Add8(id).Add32(1);
            }
            else
            {
                table.Add8(LocalX2Apic).Add8(16).Add16(0).Add32((uint)id).Add32(1).Add32((uint)id);
            }
        }

        table.Add8(IoApic).Add8(12).Add8(PlatformMap.IoApicId).Add8(0)
            .Add32((uint)PlatformMap.IoApicBase).Add32(0);
        table.Add8(SourceOverride).Add8(10).Add8(0).Add8(PlatformMap.PitIrq).Add32(2).Add16(0);
        table.Add8(SourceOverride).Add8(10).Add8(0).Add8(PlatformMap.AcpiSciIrq).Add32(PlatformMap.AcpiSciIrq)
            .Add16(LevelActiveHigh);
        table.Add8(LocalApicNmi).Add8(6).Add8(0xFF).Add16(0).Add8(1);
        if (config.VcpuCount > FirstX2ApicOnly)
        {
            table.Add8(LocalX2ApicNmi).Add8(12).Add16(0).Add32(uint.MaxValue).Add8(1).Add(new byte[3]);
        }

        return table.Finish();
    }
}
