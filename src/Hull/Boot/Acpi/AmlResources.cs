using System;
using System.Buffers.Binary;

namespace Hull.Boot.Acpi;

/// <summary>Resource descriptors of _CRS. ACPI 6.4, "Resource Data Types for ACPI".</summary>
internal static class AmlResources
{
    private const byte MemoryRange = 0;
    private const byte IoRange = 1;
    private const byte BusRange = 2;
    private const byte FixedBothEnds = 0x0C;

    /// <summary>A resource template: the descriptors, closed by an end tag without check sum.</summary>
    internal static byte[] Template(params byte[][] descriptors) =>
        Aml.Buffer(Aml.Join(Aml.Join(descriptors), [0x79, 0]));

    /// <summary>Fixed I/O ports, all 16 address bits decoded.</summary>
    internal static byte[] Io(ushort port, byte count)
    {
        byte[] raw = [0x47, 1, 0, 0, 0, 0, 1, count];
        BinaryPrimitives.WriteUInt16LittleEndian(raw.AsSpan(2), port);
        BinaryPrimitives.WriteUInt16LittleEndian(raw.AsSpan(4), port);
        return raw;
    }

    /// <summary>An ISA interrupt: edge, active high, not shared.</summary>
    internal static byte[] Irq(int irq)
    {
        byte[] raw = [0x22, 0, 0];
        BinaryPrimitives.WriteUInt16LittleEndian(raw.AsSpan(1), (ushort)(1 << irq));
        return raw;
    }

    /// <summary>An interrupt by its number at the I/O APIC: level, active high, not shared.</summary>
    internal static byte[] LevelInterrupt(int number)
    {
        const byte consumer = 1;
        byte[] raw = [0x89, 6, 0, consumer, 1, 0, 0, 0, 0];
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(5), (uint)number);
        return raw;
    }

    /// <summary>A fixed range of memory below 4 GiB, read and written.</summary>
    internal static byte[] Memory32(ulong start, ulong length)
    {
        byte[] raw = new byte[12];
        raw[0] = 0x86;
        raw[1] = 9;
        raw[3] = 1;
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(4), (uint)start);
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(8), (uint)length);
        return raw;
    }

    /// <summary>Bus numbers that a host bridge produces.</summary>
    internal static byte[] BusNumbers(ushort first, ushort last) => Word(BusRange, 0, first, last);

    /// <summary>I/O ports that a host bridge passes on.</summary>
    internal static byte[] IoWindow(ushort first, ushort last) => Word(IoRange, 3, first, last);

    /// <summary>Memory below 4 GiB that a host bridge passes on.</summary>
    internal static byte[] MemoryWindow32(ulong first, ulong last)
    {
        byte[] raw = Window(0x87, 26, MemoryRange, 1);
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(10), (uint)first);
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(14), (uint)last);
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(22), (uint)(last - first + 1));
        return raw;
    }

    /// <summary>Memory anywhere that a host bridge passes on.</summary>
    internal static byte[] MemoryWindow64(ulong first, ulong last)
    {
        byte[] raw = Window(0x8A, 46, MemoryRange, 1);
        BinaryPrimitives.WriteUInt64LittleEndian(raw.AsSpan(14), first);
        BinaryPrimitives.WriteUInt64LittleEndian(raw.AsSpan(22), last);
        BinaryPrimitives.WriteUInt64LittleEndian(raw.AsSpan(38), last - first + 1);
        return raw;
    }

    private static byte[] Word(byte kind, byte typeFlags, ushort first, ushort last)
    {
        byte[] raw = Window(0x88, 16, kind, typeFlags);
        BinaryPrimitives.WriteUInt16LittleEndian(raw.AsSpan(8), first);
        BinaryPrimitives.WriteUInt16LittleEndian(raw.AsSpan(10), last);
        BinaryPrimitives.WriteUInt16LittleEndian(raw.AsSpan(14), (ushort)(last - first + 1));
        return raw;
    }

    private static byte[] Window(byte tag, int size, byte kind, byte typeFlags)
    {
        byte[] raw = new byte[size];
        raw[0] = tag;
        raw[1] = (byte)(size - 3);
        raw[3] = kind;
        raw[4] = FixedBothEnds;
        raw[5] = typeFlags;
        return raw;
    }
}
