using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using Hull.Host;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Boot.Acpi;

/// <summary>
/// The ACPI tables of the PC, RSDP first. For a kernel without firmware they are laid out from
/// <see cref="PlatformMap.AcpiTablesBase"/>, where a kernel that scans the BIOS area finds them too. ACPI 6.4, "ACPI
/// Software Programming Model".
/// </summary>
internal static class AcpiTables
{
    /// <summary>Bytes of the root pointer.</summary>
    internal const int RsdpSize = 36;

    // The FACS is the first table behind the root pointer.
    private const ulong FacsAt = PlatformMap.AcpiTablesBase + 64;
    private const ulong WakingVectorAt = FacsAt + 12;
    private const int RsdtPointer = 16;
    private const int XsdtPointer = 24;
    private const int HeaderCheckSum = 9;

    /// <summary>Writes all tables.</summary>
    /// <returns>The guest-physical address of the RSDP.</returns>
    /// <exception cref="HullException">So many processors that the tables do not fit.</exception>
    internal static ulong Write(GuestMemory memory, AcpiConfig config)
    {
        byte[] area = Build(config);
        memory.TryWrite(new GuestPhysical(PlatformMap.AcpiTablesBase), area);
        return PlatformMap.AcpiTablesBase;
    }

    /// <summary>
    /// Where the guest wants to go on after a suspension to RAM, in real mode; zero when it named no place there. ACPI 6.4,
    /// "Firmware ACPI Control Structure (FACS)".
    /// </summary>
    internal static uint WakingVector(GuestMemory memory)
    {
        uint vector = memory.Read<uint>(new GuestPhysical(WakingVectorAt));
        return vector < 1 << 20 ? vector : 0;
    }

    /// <summary>Builds the whole area at its place, from the RSDP to the last table.</summary>
    internal static byte[] Build(AcpiConfig config)
    {
        byte[] area = Lay(config, PlatformMap.AcpiTablesBase).Bytes;
        return PlatformMap.AcpiTablesBase + (ulong)area.Length <= PlatformMap.AcpiTablesEnd ? area
            : throw new HullException("the ACPI tables of so many vCPUs do not fit: give fewer (-c)");
    }

    /// <summary>Lays the tables out for an address, and notes what in them depends on it.</summary>
    internal static AcpiImage Lay(AcpiConfig config, ulong at)
    {
        Area area = new(at);
        area.Reserve(RsdpSize);
        ulong facs = area.Add(FixedTables.Facs());
        AcpiTable dsdtTable = new("DSDT", 2);
        ulong dsdt = area.Add(dsdtTable.Add(Dsdt.Build(config)).Finish());
        ulong fadt = area.Add(FixedTables.Fadt(config, facs, dsdt));
        area.Note(fadt, FixedTables.FadtSize, [.. FixedTables.FadtPointers]);
        List<ulong> tables = [fadt, area.Add(Madt.Build(config)), area.Add(FixedTables.Mcfg(config))];
        if (config.HasHpet)
        {
            tables.Add(area.Add(FixedTables.Hpet()));
        }

        ulong rsdt = AddRoot(area, "RSDT", 4, tables);
        return area.Finish(Rsdp(rsdt, AddRoot(area, "XSDT", 8, tables)));
    }

    /// <summary>
    /// The list of the other tables, with addresses of 4 or 8 bytes: the RSDT is for kernels that know ACPI 1.0 only.
    /// </summary>
    private static ulong AddRoot(Area area, string signature, int size, List<ulong> tables)
    {
        AcpiTable root = new(signature, 1);
        List<AcpiPointer> pointers = [];
        foreach (ulong table in tables)
        {
            pointers.Add(new AcpiPointer(AcpiTable.HeaderSize + (size * pointers.Count), size));
            _ = size == 4 ? root.Add32((uint)table) : root.Add64(table);
        }

        byte[] bytes = root.Finish();
        ulong at = area.Add(bytes);
        area.Note(at, bytes.Length, [.. pointers]);
        return at;
    }

    /// <summary>ACPI 6.4, "Root System Description Pointer (RSDP) Structure".</summary>
    private static byte[] Rsdp(ulong rsdt, ulong xsdt)
    {
        byte[] raw = new byte[RsdpSize];
        "RSD PTR "u8.CopyTo(raw);
        "HULL  "u8.CopyTo(raw.AsSpan(9));
        raw[15] = 2;
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(RsdtPointer), (uint)rsdt);
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(20), RsdpSize);
        BinaryPrimitives.WriteUInt64LittleEndian(raw.AsSpan(XsdtPointer), xsdt);
        raw[8] = AcpiTable.CheckSum(raw.AsSpan(0, 20));
        raw[32] = AcpiTable.CheckSum(raw);
        return raw;
    }

    private sealed class Area(ulong start)
    {
        private const int Alignment = 64;
        private readonly List<byte> _bytes = [];
        private readonly List<AcpiPointer> _pointers = [new(RsdtPointer, 4), new(XsdtPointer, 8)];
        private readonly List<AcpiCheckSum> _checkSums = [new(8, 0, 20), new(32, 0, RsdpSize)];

        internal void Reserve(int length) => _bytes.AddRange(new byte[length]);

        internal ulong Add(byte[] table)
        {
            Reserve((Alignment - (_bytes.Count % Alignment)) % Alignment);
            ulong at = start + (ulong)_bytes.Count;
            _bytes.AddRange(table);
            return at;
        }

        /// <summary>A table that has addresses in it, counted from its start.</summary>
        internal void Note(ulong table, int length, ReadOnlySpan<AcpiPointer> pointers)
        {
            int at = (int)(table - start);
            foreach (AcpiPointer pointer in pointers)
            {
                _pointers.Add(pointer with { Offset = at + pointer.Offset });
            }

            _checkSums.Add(new AcpiCheckSum(at + HeaderCheckSum, at, length));
        }

        internal AcpiImage Finish(byte[] head)
        {
            byte[] all = [.. _bytes];
            head.CopyTo(all, 0);
            return new AcpiImage(all, _pointers, _checkSums);
        }
    }
}

/// <summary>Tables with what whoever moves them has to change. The root pointer comes first.</summary>
internal sealed record AcpiImage(
    byte[] Bytes, IReadOnlyList<AcpiPointer> Pointers, IReadOnlyList<AcpiCheckSum> CheckSums);

/// <summary>Where an address of a table is; sizes in bytes.</summary>
internal readonly record struct AcpiPointer(int Offset, int Size);

/// <summary>The byte at <paramref name="Offset"/> makes the sum of a range zero.</summary>
internal readonly record struct AcpiCheckSum(int Offset, int Start, int Length);
