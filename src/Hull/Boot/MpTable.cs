using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using Hull.Boot.Acpi;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Boot;

/// <summary>
/// The table in which systems that know no ACPI find processors and interrupts: small and old kernels, and Linux with
/// <c>acpi=off</c>. Intel MultiProcessor Specification 1.4, chapter 4.
/// </summary>
internal static class MpTable
{
    private const int PointerBytes = 16;
    private const int HeaderBytes = 44;
    private const byte Revision = 4; // 1.4
    private const int PciBus = 0;
    private const int IsaBus = 1;
    private const int IsaInterrupts = 16;
    private const int CascadeIrq = 2; // the second 8259
    private const int MostProcessors = 255; // identities have a byte, and 255 is all
    private const int LevelActiveHigh = 0xD;

    /// <summary>Writes the floating pointer and the configuration table below <see cref="PlatformMap.BiosStubBase"/>.</summary>
    internal static void Write(GuestMemory memory, AcpiConfig config)
    {
        byte[] table = Build(config);
        ulong pointerAt = PlatformMap.BiosStubBase - PointerBytes;
        ulong tableAt = (pointerAt - (ulong)table.Length) & ~15UL;
        memory.TryWrite(new GuestPhysical(tableAt), table);
        memory.TryWrite(new GuestPhysical(pointerAt), Pointer((uint)tableAt));
    }

    /// <summary>The configuration table.</summary>
    internal static byte[] Build(AcpiConfig config)
    {
        List<byte> table = [.. new byte[HeaderBytes]];
        int entries = AddProcessors(table, Math.Min(config.VcpuCount, MostProcessors));
        entries += Add(table, [1, PciBus, .. "PCI   "u8]);
        entries += Add(table, [1, IsaBus, .. "ISA   "u8]);
        byte[] address = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(address, (uint)PlatformMap.IoApicBase);
        entries += Add(table, [2, PlatformMap.IoApicId, 0x11, 1, .. address]);
        entries += AddInputs(table, config);

        // LINT0 of the first processor is the 8259s', LINT1 of all is NMI.
        entries += Add(table, [4, (byte)InterruptKind.ExtInt, 0, 0, IsaBus, 0, 0, 0]);
        entries += Add(table, [4, (byte)InterruptKind.Nmi, 0, 0, IsaBus, 0, 0xFF, 1]);
        return Finish(table, entries);
    }

    private static int AddProcessors(List<byte> table, int count)
    {
        const int enabled = 1;
        const int bootstrap = 2;
        const int apicVersion = 0x14;
        const int fpuAndApic = 0x201; // CPUID.1:EDX
        for (int id = 0; id < count; id++)
        {
            byte[] entry = new byte[20];
            entry[1] = (byte)id;
            entry[2] = apicVersion;
            entry[3] = (byte)(id == 0 ? enabled | bootstrap : enabled);
            entry[5] = 6; // family
            BinaryPrimitives.WriteUInt16LittleEndian(entry.AsSpan(8), fpuAndApic);
            table.AddRange(entry);
        }

        return count;
    }

    // As the MADT and _PRT tell the same.
    private static int AddInputs(List<byte> table, AcpiConfig config)
    {
        int entries = 0;
        for (int slot = 0; slot < Dsdt.Slots; slot++)
        {
            for (int pin = 0; pin < Dsdt.Pins; pin++)
            {
                entries += Add(table, Input(0, PciBus, (slot << 2) | pin, Dsdt.InputOf(slot, pin)));
            }
        }

        HashSet<int> levels = [PlatformMap.AcpiSciIrq];
        for (int device = 0; device < config.MmioDevices; device++)
        {
            levels.Add(PlatformMap.VirtioMmioIrq(device));
        }

        for (int irq = 0; irq < IsaInterrupts; irq++)
        {
            if (irq != CascadeIrq)
            {
                int input = irq == PlatformMap.PitIrq ? CascadeIrq : irq;
                entries += Add(table, Input(levels.Contains(irq) ? LevelActiveHigh : 0, IsaBus, irq, input));
            }
        }

        return entries;
    }

    private static byte[] Input(int flags, int bus, int irq, int input) =>
        [3, (byte)InterruptKind.Int, (byte)flags, 0, (byte)bus, (byte)irq, PlatformMap.IoApicId, (byte)input];

    private static int Add(List<byte> table, ReadOnlySpan<byte> entry)
    {
        table.AddRange(entry);
        return 1;
    }

    private static byte[] Finish(List<byte> table, int entries)
    {
        byte[] bytes = [.. table];
        "PCMP"u8.CopyTo(bytes);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(4), (ushort)bytes.Length);
        bytes[6] = Revision;
        "HULL    HULLPC      "u8.CopyTo(bytes.AsSpan(8));
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(34), (ushort)entries);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(36), (uint)PlatformMap.LocalApicBase);
        bytes[7] = AcpiTable.CheckSum(bytes);
        return bytes;
    }

    private static byte[] Pointer(uint table)
    {
        byte[] bytes = new byte[PointerBytes];
        "_MP_"u8.CopyTo(bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4), table);
        bytes[8] = 1; // of 16 bytes
        bytes[9] = Revision;
        bytes[10] = AcpiTable.CheckSum(bytes);
        return bytes;
    }

    // Table 4-11.
    private enum InterruptKind : byte
    {
        Int = 0,
        Nmi = 1,
        ExtInt = 3,
    }
}
