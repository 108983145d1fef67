using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using Hull.Host;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Boot.Acpi;

/// <summary>
/// The ACPI tables of the PC, laid out from <see cref="PlatformMap.AcpiTablesBase"/>: RSDP first, where a
/// kernel that scans the BIOS area finds it too. ACPI 6.4, "ACPI Software Programming Model".
/// </summary>
internal static class AcpiTables
{
    private const int RsdpSize = 36;

    /// <summary>Writes all tables.</summary>
    /// <returns>The guest-physical address of the RSDP.</returns>
    /// <exception cref="HullException">So many processors that the tables do not fit.</exception>
    internal static ulong Write(GuestMemory memory, AcpiConfig config)
    {
        byte[] area = Build(config);
        memory.TryWrite(new GuestPhysical(PlatformMap.AcpiTablesBase), area);
        return PlatformMap.AcpiTablesBase;
    }

    /// <summary>Builds the whole area, from the RSDP to the last table.</summary>
    internal static byte[] Build(AcpiConfig config)
    {
        Area area = new();
        area.Reserve(RsdpSize);
        ulong facs = area.Add(FixedTables.Facs());
        AcpiTable dsdtTable = new("DSDT", 2);
        ulong dsdt = area.Add(dsdtTable.Add(Dsdt.Build(config)).Finish());
        List<ulong> tables =
        [
            area.Add(FixedTables.Fadt(config, facs, dsdt)),
            area.Add(Madt.Build(config)),
            area.Add(FixedTables.Mcfg()),
        ];
        if (config.HasHpet)
        {
            tables.Add(area.Add(FixedTables.Hpet()));
        }

        AcpiTable xsdt = new("XSDT", 1);
        foreach (ulong table in tables)
        {
            xsdt.Add64(table);
        }

        return area.Finish(Rsdp(area.Add(xsdt.Finish())));
    }

    /// <summary>ACPI 6.4, "Root System Description Pointer (RSDP) Structure".</summary>
    private static byte[] Rsdp(ulong xsdt)
    {
        byte[] raw = new byte[RsdpSize];
        "RSD PTR "u8.CopyTo(raw);
        "HULL  "u8.CopyTo(raw.AsSpan(9));
        raw[15] = 2;
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(20), RsdpSize);
        BinaryPrimitives.WriteUInt64LittleEndian(raw.AsSpan(24), xsdt);
        raw[8] = AcpiTable.CheckSum(raw.AsSpan(0, 20));
        raw[32] = AcpiTable.CheckSum(raw);
        return raw;
    }

    private sealed class Area
    {
        private const int Alignment = 64;
        private readonly List<byte> _bytes = [];

        internal void Reserve(int length) => _bytes.AddRange(new byte[length]);

        internal ulong Add(byte[] table)
        {
            Reserve((Alignment - (_bytes.Count % Alignment)) % Alignment);
            ulong at = PlatformMap.AcpiTablesBase + (ulong)_bytes.Count;
            _bytes.AddRange(table);
            if (at + (ulong)table.Length > PlatformMap.AcpiTablesEnd)
            {
                throw new HullException("the ACPI tables of so many vCPUs do not fit: give fewer (-c)");
            }

            return at;
        }

        internal byte[] Finish(byte[] head)
        {
            byte[] all = [.. _bytes];
            head.CopyTo(all, 0);
            return all;
        }
    }
}
