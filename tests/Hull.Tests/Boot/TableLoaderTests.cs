using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Hull.Boot.Acpi;
using Hull.Boot.Firmware;
using Hull.Platform;
using Xunit;

namespace Hull.Tests.Boot;

/// <summary>The commands for ACPI tables, carried out as firmware does it.</summary>
public sealed class TableLoaderTests
{
    private static readonly AcpiConfig Config = new() { VcpuCount = 3, EcamBase = PlatformMap.FirmwareLowLimit };

    [Fact]
    public void TablesThatFirmwareMoved_LeadFromTheRootToEachOther_WithGoodSums()
    {
        const ulong tablesAt = 0x1FFE_0000;
        Dictionary<string, byte[]> files = Load(out _, root: 0xF_5000, tablesAt);
        byte[] root = files["etc/acpi/rsdp"];
        byte[] tables = files["etc/acpi/tables"];
        Span<byte> At(ulong address) => tables.AsSpan((int)(address - tablesAt));

        Assert.Equal(0, Sum(root.AsSpan(0, 20)));
        Assert.Equal(0, Sum(root));
        Span<byte> xsdt = At(BitConverter.ToUInt64(root, 24));
        Assert.Equal("XSDT", Encoding.ASCII.GetString(xsdt[..4]));
        int length = BinaryPrimitives.ReadInt32LittleEndian(xsdt[4..]);
        Assert.Equal(0, Sum(xsdt[..length]));
        List<string> found = [];
        for (int at = 36; at < length; at += 8)
        {
            Span<byte> table = At(BinaryPrimitives.ReadUInt64LittleEndian(xsdt[at..]));
            found.Add(Encoding.ASCII.GetString(table[..4]));
            Assert.Equal(0, Sum(table[..BinaryPrimitives.ReadInt32LittleEndian(table[4..])]));
            if (found[^1] == "FACP")
            {
                Assert.Equal("FACS", Encoding.ASCII.GetString(At(BinaryPrimitives.ReadUInt32LittleEndian(table[36..]))[..4]));
                Assert.Equal("DSDT", Encoding.ASCII.GetString(At(BinaryPrimitives.ReadUInt32LittleEndian(table[40..]))[..4]));
                Assert.Equal("DSDT", Encoding.ASCII.GetString(At(BinaryPrimitives.ReadUInt64LittleEndian(table[140..]))[..4]));
            }
        }

        Assert.Equal(["FACP", "APIC", "MCFG"], found);
    }

    [Fact]
    public void RootGoesToTheBiosArea_AndTablesToMemoryAlignedFor64Bytes()
    {
        Load(out List<(string Name, uint Alignment, byte Zone)> allocations, 0xF_5000, 0x1000);

        Assert.Equal([("etc/acpi/rsdp", 16u, (byte)2), ("etc/acpi/tables", 64u, (byte)1)], allocations);
    }

    private static Dictionary<string, byte[]> Load(
        out List<(string Name, uint Alignment, byte Zone)> allocations, ulong root, ulong tables)
    {
        Dictionary<string, byte[]> files = TableLoader.Split(Config).ToDictionary(file => file.Name, file => file.Content);
        Dictionary<string, ulong> places = new() { ["etc/acpi/rsdp"] = root, ["etc/acpi/tables"] = tables };
        allocations = [];
        byte[] commands = files["etc/table-loader"];
        Assert.Equal(0, commands.Length % 128);
        for (int at = 0; at < commands.Length; at += 128)
        {
            Span<byte> entry = commands.AsSpan(at, 128);
            string name = Name(entry[4..]);
            int first = BinaryPrimitives.ReadInt32LittleEndian(entry[60..]);
            switch (BinaryPrimitives.ReadUInt32LittleEndian(entry))
            {
                case 1:
                    allocations.Add((name, (uint)first, entry[64]));
                    break;
                case 2:
                    int offset = BinaryPrimitives.ReadInt32LittleEndian(entry[116..]);
                    Add(files[name].AsSpan(offset, entry[120]), places[Name(entry[60..])]);
                    break;
                case 3:
                    int start = BinaryPrimitives.ReadInt32LittleEndian(entry[64..]);
                    int length = BinaryPrimitives.ReadInt32LittleEndian(entry[68..]);
                    files[name][first] = (byte)-Sum(files[name].AsSpan(start, length));
                    break;
                default:
                    Assert.Fail("an unknown command");
                    break;
            }
        }

        return files;
    }

    private static void Add(Span<byte> field, ulong value)
    {
        Span<byte> raw = stackalloc byte[8];
        raw.Clear();
        field.CopyTo(raw);
        BinaryPrimitives.WriteUInt64LittleEndian(raw, BinaryPrimitives.ReadUInt64LittleEndian(raw) + value);
        raw[..field.Length].CopyTo(field);
    }

    private static string Name(ReadOnlySpan<byte> field) => Encoding.ASCII.GetString(field[..field.IndexOf((byte)0)]);

    private static byte Sum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte one in bytes)
        {
            sum += one;
        }

        return sum;
    }
}
