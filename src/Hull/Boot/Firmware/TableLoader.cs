using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;
using Hull.Boot.Acpi;

namespace Hull.Boot.Firmware;

/// <summary>
/// The commands by which firmware puts ACPI tables into memory that it chose itself: allocate, add addresses, add check
/// sums. QEMU, hw/acpi/bios-linker-loader: entries of 128 bytes, little-endian.
/// </summary>
internal sealed class TableLoader
{
    private const int EntrySize = 128;
    private const int NameSize = 56;
    private const uint Allocate = 1;
    private const uint AddPointer = 2;
    private const uint AddCheckSum = 3;
    private const byte HighMemory = 1;
    private const byte BiosArea = 2;
    private const string RootName = "etc/acpi/rsdp";
    private const string TablesName = "etc/acpi/tables";
    private readonly List<byte> _entries = [];

    private TableLoader()
    {
    }

    /// <summary>The tables as files for fw_cfg, with the commands that join them.</summary>
    internal static List<FirmwareFile> Split(AcpiConfig config)
    {
        // Addresses count from the start of the file that has all tables, where the root pointer's bytes are left empty.
        AcpiImage image = AcpiTables.Lay(config, 0);
        byte[] tables = image.Bytes;
        foreach (AcpiCheckSum sum in image.CheckSums)
        {
            tables[sum.Offset] = 0;
        }

        byte[] root = tables[..AcpiTables.RsdpSize];
        tables.AsSpan(0, AcpiTables.RsdpSize).Clear();
        TableLoader loader = new();
        loader.AddAllocation(RootName, 16, BiosArea);
        loader.AddAllocation(TablesName, 64, HighMemory);
        foreach (AcpiPointer pointer in image.Pointers)
        {
            Span<byte> entry = Start(AddPointer, FileOf(pointer.Offset));
            Encoding.ASCII.GetBytes(TablesName, entry[(4 + NameSize)..]);
            BinaryPrimitives.WriteInt32LittleEndian(entry[(4 + (2 * NameSize))..], pointer.Offset);
            entry[8 + (2 * NameSize)] = (byte)pointer.Size;
            loader.Commit(entry);
        }

        foreach (AcpiCheckSum sum in image.CheckSums)
        {
            Span<byte> entry = Start(AddCheckSum, FileOf(sum.Offset));
            BinaryPrimitives.WriteInt32LittleEndian(entry[(4 + NameSize)..], sum.Offset);
            BinaryPrimitives.WriteInt32LittleEndian(entry[(8 + NameSize)..], sum.Start);
            BinaryPrimitives.WriteInt32LittleEndian(entry[(12 + NameSize)..], sum.Length);
            loader.Commit(entry);
        }

        return
        [
            new FirmwareFile(RootName, root),
            new FirmwareFile(TablesName, tables),
            new FirmwareFile("etc/table-loader", [.. loader._entries]),
        ];
    }

    private static string FileOf(int offset) => offset < AcpiTables.RsdpSize ? RootName : TablesName;

    private void AddAllocation(string name, uint alignment, byte zone)
    {
        Span<byte> entry = Start(Allocate, name);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[(4 + NameSize)..], alignment);
        entry[8 + NameSize] = zone;
        Commit(entry);
    }

    private static Span<byte> Start(uint command, string file)
    {
        Span<byte> entry = new byte[EntrySize];
        BinaryPrimitives.WriteUInt32LittleEndian(entry, command);
        Encoding.ASCII.GetBytes(file, entry[4..]);
        return entry;
    }

    private void Commit(ReadOnlySpan<byte> entry) => _entries.AddRange(entry);
}
