using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Hull.Boot;
using Hull.Boot.Acpi;
using Hull.Memory;
using Hull.Platform;
using Xunit;

namespace Hull.Tests.Boot;

public sealed class MpTableTests
{
    private static readonly int[] Sizes = [20, 8, 8, 8, 8];

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(300)]
    public void Pointer_IsFoundAsTheSpecificationSays_AndLeadsToTheTable(int vcpus)
    {
        using GuestMemory memory = new(64 << 20);
        MpTable.Write(memory, new AcpiConfig { VcpuCount = vcpus });

        // 4.: on 16 bytes in the BIOS's area.
        ulong at = Enumerable.Range(0, 0x1000).Select(static i => 0xF_0000UL + (16UL * (ulong)i))
            .Single(at => Encoding.ASCII.GetString(Read(memory, at, 4)) == "_MP_");
        byte[] pointer = Read(memory, at, 16);
        Assert.Equal(0, AcpiTablesTests.Sum(pointer));
        Assert.Equal([1, 4], pointer[8..10]);
        uint tableAt = BitConverter.ToUInt32(pointer, 4);
        Assert.InRange(tableAt, PlatformMap.AcpiTablesEnd, at);
        byte[] table = Read(memory, tableAt, BitConverter.ToUInt16(Read(memory, tableAt + 4, 2)));
        Assert.Equal("PCMP", Encoding.ASCII.GetString(table, 0, 4));
        Assert.Equal(0, AcpiTablesTests.Sum(table));
        List<byte[]> entries = Entries(table);
        Assert.Equal(BitConverter.ToUInt16(table, 34), entries.Count);
        Assert.Equal(Math.Min(vcpus, 255), entries.Count(static entry => entry[0] == 0));
        Assert.Equal([3], entries.Where(static entry => entry[0] == 0 && entry[1] == 0).Select(static entry => (int)entry[3]));
    }

    [Fact]
    public void Interrupts_AreWhereTheChipsetHasThem()
    {
        byte[][] inputs = [.. Entries(MpTable.Build(new AcpiConfig { MmioDevices = 1 })).Where(static entry => entry[0] == 3)];
        byte[] Of(int bus, int irq) => inputs.Single(entry => entry[4] == bus && entry[5] == irq);

        Assert.Equal(2, Of(1, PlatformMap.PitIrq)[7]);
        Assert.Equal((PlatformMap.Com1Irq, 0), (Of(1, PlatformMap.Com1Irq)[7], Of(1, PlatformMap.Com1Irq)[2]));
        Assert.Equal(0xD, Of(1, PlatformMap.AcpiSciIrq)[2]);
        Assert.Equal(0xD, Of(1, PlatformMap.VirtioMmioIrq(0))[2]);
        Assert.Equal(PlatformMap.PciIrqBase + 5, Of(0, (3 << 2) | 2)[7]); // INTC of slot 3
        Assert.DoesNotContain(inputs, static entry => entry[7] >= PlatformMap.IoApicInputs);
    }

    private static List<byte[]> Entries(byte[] table)
    {
        List<byte[]> entries = [];
        for (int at = 44; at < table.Length; at += entries[^1].Length)
        {
            entries.Add(table[at..(at + Sizes[table[at]])]);
        }

        return entries;
    }

    private static byte[] Read(GuestMemory memory, ulong at, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(memory.TryRead(new GuestPhysical(at), bytes));
        return bytes;
    }
}
