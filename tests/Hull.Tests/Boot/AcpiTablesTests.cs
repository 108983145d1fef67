using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Hull.Boot.Acpi;
using Hull.Host;
using Hull.Platform;
using Xunit;

namespace Hull.Tests.Boot;

public sealed class AcpiTablesTests
{
    private static readonly AcpiConfig Two = new() { VcpuCount = 2, HasHpet = true };

    [Fact]
    public void RsdpAndAllTables_HaveGoodCheckSums()
    {
        byte[] area = AcpiTables.Build(Two);

        Assert.Equal(0, Sum(area.AsSpan(0, 20)));
        Assert.Equal(0, Sum(area.AsSpan(0, 36)));
        foreach ((string signature, byte[] table) in Tables(area))
        {
            Assert.True(Sum(table) == 0, signature);
        }
    }

    [Fact]
    public void Xsdt_LeadsToTheTablesInOrder() =>
        Assert.Equal(["FACP", "APIC", "MCFG", "HPET"], Tables(AcpiTables.Build(Two)).Keys.Where(x => x is not ("XSDT" or "DSDT")));

    [Fact]
    public void OnlyBusThatThereIs_IsTold()
    {
        Dictionary<string, byte[]> tables = Tables(AcpiTables.Build(Two));

        // MCFG: first and last bus of the only entry. DSDT: the host bridge's WordBusNumber, minimum to length.
        Assert.Equal((0, 0), (tables["MCFG"][54], tables["MCFG"][55]));
        int buses = tables["DSDT"].AsSpan().IndexOf(new byte[] { 0x88, 0x0D, 0x00, 0x02 });
        Assert.True(buses > 0);
        Assert.Equal("00000000000000000100", Convert.ToHexString(tables["DSDT"].AsSpan(buses + 6, 10)));
    }

    [Fact]
    public void Rsdt_LeadsToTheSameTables()
    {
        byte[] area = AcpiTables.Build(Two);
        byte[] rsdt = Table(area, BitConverter.ToUInt32(area, 16));
        byte[] xsdt = Table(area, BitConverter.ToUInt64(area, 24));

        Assert.Equal("RSDT", Encoding.ASCII.GetString(rsdt, 0, 4));
        Assert.Equal(0, Sum(rsdt));
        Assert.Equal((xsdt.Length - 36) / 8, (rsdt.Length - 36) / 4);
        for (int i = 0; i < (rsdt.Length - 36) / 4; i++)
        {
            Assert.Equal(BitConverter.ToUInt64(xsdt, 36 + (8 * i)), BitConverter.ToUInt32(rsdt, 36 + (4 * i)));
        }
    }

    [Fact]
    public void MachineWithoutHpet_HasNoHpetTable() =>
        Assert.DoesNotContain("HPET", Tables(AcpiTables.Build(new AcpiConfig())).Keys);

    [Fact]
    public void Fadt_NamesPortsResetAndSci()
    {
        byte[] fadt = Tables(AcpiTables.Build(Two))["FACP"];

        Assert.Equal(276, fadt.Length);
        Assert.Equal(PlatformMap.AcpiSciIrq, BitConverter.ToUInt16(fadt, 46));
        Assert.Equal(PlatformMap.AcpiPm1EventPort, BitConverter.ToUInt32(fadt, 56));
        Assert.Equal(PlatformMap.AcpiPm1ControlPort, BitConverter.ToUInt32(fadt, 64));
        Assert.Equal(PlatformMap.AcpiPmTimerPort, BitConverter.ToUInt32(fadt, 76));
        Assert.Equal(0x32, fadt[108]);
        Assert.Equal(3, BitConverter.ToUInt16(fadt, 109));
        Assert.Equal(PlatformMap.ResetPort, BitConverter.ToUInt64(fadt, 120));
        Assert.Equal(6, fadt[128]);
        Assert.Equal(PlatformMap.AcpiPm1EventPort, BitConverter.ToUInt64(fadt, 152));
    }

    [Fact]
    public void Facs_LiesWhereTheFadtSays_At64Bytes()
    {
        byte[] area = AcpiTables.Build(Two);
        uint facs = BitConverter.ToUInt32(Tables(area)["FACP"], 36);

        Assert.Equal(0u, facs % 64);
        Assert.Equal("FACS", Encoding.ASCII.GetString(area, (int)(facs - PlatformMap.AcpiTablesBase), 4));
    }

    [Fact]
    public void Madt_HasOneEntryEach_AndTheOverrides()
    {
        byte[] madt = Tables(AcpiTables.Build(Two))["APIC"];

        Assert.Equal([0, 0, 1, 2, 2, 4], Kinds(madt));
        int pit = 44 + 8 + 8 + 12;
        Assert.Equal([2, 10, 0, 0, 2, 0, 0, 0, 0, 0], madt[pit..(pit + 10)]);
        Assert.Equal([2, 10, 0, 9, 9, 0, 0, 0, 13, 0], madt[(pit + 10)..(pit + 20)]);
    }

    [Fact]
    public void Madt_UsesX2ApicEntriesAbove254()
    {
        List<int> kinds = Kinds(Tables(AcpiTables.Build(new AcpiConfig { VcpuCount = 257 }))["APIC"]);

        Assert.Equal((255, 2), (kinds.Count(x => x == 0), kinds.Count(x => x == 9)));
    }

    [Fact]
    public void TooManyProcessors_IsSaid() =>
        Assert.Throws<HullException>(() => AcpiTables.Build(new AcpiConfig { VcpuCount = 100_000 }));

    [Fact]
    public void Dsdt_TermsFillTheTableExactly()
    {
        byte[] dsdt = Tables(AcpiTables.Build(Two))["DSDT"];
        int at = AcpiTable.HeaderSize;

        Assert.Equal("085C5F53355F1208", Convert.ToHexString(dsdt, at, 8));
        at += 6 + 1 + dsdt[at + 7];
        while (at < dsdt.Length)
        {
            Assert.Equal(0x10, dsdt[at]);
            at += 1 + PackageLength(dsdt, at + 1);
        }

        Assert.Equal(dsdt.Length, at);
    }

    [Theory]
    [InlineData(10, "0B")]
    [InlineData(62, "3F")]
    [InlineData(63, "4104")]
    [InlineData(4093, "4FFF")]
    [InlineData(4094, "810001")]
    public void PackageLength_CountsItself(int body, string expected)
    {
        // A buffer's body is its size term and its bytes: two bytes of term up to 255, three above.
        int term = body <= 257 ? 2 : 3;

        byte[] buffer = Aml.Buffer(new byte[body - term]);

        Assert.Equal(expected, Convert.ToHexString(buffer, 1, expected.Length / 2));
    }

    [Fact]
    public void SerialPort_IsTheAmlThatIaslGives()
    {
        // Device (COM1) { Name (_HID, EisaId ("PNP0501")) Name (_UID, One) Name (_CRS, ResourceTemplate () {
        //     IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08) IRQNoFlags () {4} }) }, compiled by iasl 20200925.
        const string expected =
            "5B822B434F4D31085F4849440C41D00501085F55494401085F43525311100A0D4701F803F80301082210007900";

        string dsdt = Convert.ToHexString(Dsdt.Build(Two));

        Assert.Contains(expected, dsdt, StringComparison.Ordinal);
    }

    [Fact]
    public void EisaId_IsPackedAsTheSpecificationSays() =>
        Assert.Equal("0C41D00A08", Convert.ToHexString(Aml.EisaId("PNP0A08")));

    private static Dictionary<string, byte[]> Tables(byte[] area)
    {
        Dictionary<string, byte[]> tables = [];
        byte[] xsdt = Table(area, BitConverter.ToUInt64(area, 24));
        for (int at = 36; at < xsdt.Length; at += 8)
        {
            byte[] table = Table(area, BitConverter.ToUInt64(xsdt, at));
            tables[Encoding.ASCII.GetString(table, 0, 4)] = table;
        }

        tables["XSDT"] = xsdt;
        tables["DSDT"] = Table(area, BitConverter.ToUInt64(tables["FACP"], 140));
        return tables;
    }

    private static byte[] Table(byte[] area, ulong address)
    {
        int at = (int)(address - PlatformMap.AcpiTablesBase);
        return area[at..(at + BitConverter.ToInt32(area, at + 4))];
    }

    private static List<int> Kinds(byte[] madt)
    {
        List<int> kinds = [];
        for (int at = 44; at < madt.Length; at += madt[at + 1])
        {
            kinds.Add(madt[at]);
        }

        return kinds;
    }

    private static int PackageLength(byte[] aml, int at)
    {
        int extra = aml[at] >> 6;
        int length = extra == 0 ? aml[at] : aml[at] & 0xF;
        for (int i = 0; i < extra; i++)
        {
            length |= aml[at + 1 + i] << (4 + (8 * i));
        }

        return length;
    }

    /// <summary>All bytes added up: 0 where a table's check sum is right.</summary>
    internal static byte Sum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte one in bytes)
        {
            sum += one;
        }

        return sum;
    }
}
