using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;
using Hull.Host;

namespace Hull.Cli.Xen;

/// <summary>
/// What a 64-bit ELF program or library asks of the dynamic linker. System V ABI, "Dynamic Section".
/// </summary>
internal static class ElfDynamic
{
    private const uint SegmentLoad = 1;
    private const uint SegmentDynamic = 2;
    private const int SegmentSize = 56;
    private const int EntrySize = 16;
    private const ulong TagNeeded = 1;
    private const ulong TagStrings = 5;

    /// <summary>The names of the libraries that a file needs; none for one that is no ELF file.</summary>
    /// <exception cref="HullException">It is a damaged one.</exception>
    internal static IReadOnlyList<string> ReadNeeded(string name, ReadOnlySpan<byte> file)
    {
        if (!file.StartsWith("\u007fELF"u8))
        {
            return [];
        }

        try
        {
            return Read(file);
        }
        catch (Exception e) when (e is ArgumentException or OverflowException)
        {
            throw new HullException($"{name} is a damaged program: remove its package from Hull's store, and it is fetched anew", e);
        }
    }

    private static List<string> Read(ReadOnlySpan<byte> file)
    {
        List<string> needed = [];
        ReadOnlySpan<byte> dynamic = FindSegment(file, SegmentDynamic, 0, out _);
        ulong strings = 0;
        for (int at = 0; at + EntrySize <= dynamic.Length; at += EntrySize)
        {
            if (BinaryPrimitives.ReadUInt64LittleEndian(dynamic[at..]) == TagStrings)
            {
                strings = BinaryPrimitives.ReadUInt64LittleEndian(dynamic[(at + 8)..]);
            }
        }

        ReadOnlySpan<byte> loaded = FindSegment(file, SegmentLoad, strings, out ulong start);
        for (int at = 0; at + EntrySize <= dynamic.Length; at += EntrySize)
        {
            if (BinaryPrimitives.ReadUInt64LittleEndian(dynamic[at..]) == TagNeeded)
            {
                ulong offset = BinaryPrimitives.ReadUInt64LittleEndian(dynamic[(at + 8)..]);
                ReadOnlySpan<byte> text = loaded[checked((int)(strings - start + offset))..];
                needed.Add(Encoding.UTF8.GetString(text[..text.IndexOf((byte)0)]));
            }
        }

        return needed;
    }

    // The segment of a type, and of those the one that holds an address if one is given.
    private static ReadOnlySpan<byte> FindSegment(ReadOnlySpan<byte> file, uint type, ulong address, out ulong start)
    {
        int table = checked((int)BinaryPrimitives.ReadUInt64LittleEndian(file[0x20..]));
        int count = BinaryPrimitives.ReadUInt16LittleEndian(file[0x38..]);
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> header = file.Slice(table + (i * SegmentSize), SegmentSize);
            start = BinaryPrimitives.ReadUInt64LittleEndian(header[16..]);
            ulong size = BinaryPrimitives.ReadUInt64LittleEndian(header[32..]);
            bool isIt = address == 0 || (address >= start && address - start < size);
            if (BinaryPrimitives.ReadUInt32LittleEndian(header) == type && isIt)
            {
                return file.Slice(checked((int)BinaryPrimitives.ReadUInt64LittleEndian(header[8..])), checked((int)size));
            }
        }

        start = 0;
        return default;
    }
}
