using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using Hull.Host;

namespace Hull.Boot;

/// <summary>A program header that a kernel loader acts on. Offsets and sizes in bytes.</summary>
internal readonly record struct ElfSegment(
    bool IsNote,
    ulong Offset,
    ulong Virtual,
    ulong Physical,
    ulong FileSize,
    ulong MemorySize)
{
    /// <summary>End (exclusive) in the file; checked not to wrap.</summary>
    internal ulong FileEnd => Offset + FileSize;

    /// <summary>End (exclusive) in guest-physical memory; checked not to wrap.</summary>
    internal ulong PhysicalEnd => Physical + MemorySize;
}

/// <summary>
/// The headers of an x86 ELF executable, 64-bit or 32-bit (Xen's), checked against themselves; whether they
/// fit guest memory is <see cref="ElfLoader"/>'s question. System V ABI, "Object Files".
/// </summary>
internal sealed class ElfImage
{
    /// <summary>Bytes of the file's head that must hold the program headers.</summary>
    internal const int HeadSize = 64 << 10;

    // An unpacked kernel without its debug sections is below 200 MiB; the bound stops decompression bombs.
    private const ulong FileLimit = 1UL << 30;
    private const int SegmentLimit = 64;
    private const uint TypeLoad = 1;
    private const uint TypeNote = 4;

    private ElfImage(string name, bool is64, ulong entry, List<ElfSegment> segments)
    {
        Name = name;
        Is64 = is64;
        Entry = entry;
        Segments = segments;
    }

    /// <summary>What messages call it.</summary>
    internal string Name { get; }

    /// <summary>True for ELFCLASS64.</summary>
    internal bool Is64 { get; }

    /// <summary>e_entry: physical in Linux, but see <see cref="PhysicalEntry"/>.</summary>
    internal ulong Entry { get; }

    /// <summary>PT_LOAD with memory, and PT_NOTE, in the order of the file.</summary>
    internal IReadOnlyList<ElfSegment> Segments { get; }

    /// <summary>End (exclusive) of what must be read of the file.</summary>
    internal ulong FileEnd
    {
        get
        {
            ulong end = 0;
            foreach (ElfSegment segment in Segments)
            {
                end = Math.Max(end, segment.FileEnd);
            }

            return end;
        }
    }

    /// <summary>True when the bytes start as an ELF file does.</summary>
    internal static bool HasMagic(ReadOnlySpan<byte> head) => head.StartsWith("\u007FELF"u8);

    /// <summary>Reads the headers.</summary>
    /// <param name="head">The first bytes of the file, <see cref="HeadSize"/> if it has so many.</param>
    /// <param name="name">What messages call the file.</param>
    /// <exception cref="HullException">Not an x86 executable, or the headers are damaged.</exception>
    internal static ElfImage Parse(ReadOnlySpan<byte> head, string name)
    {
        if (head.Length < 52 || !HasMagic(head) || head[5] != 1 || head[4] is not (1 or 2))
        {
            throw new HullException($"{name} is not a little-endian ELF file: give a bzImage or an x86 vmlinux");
        }

        bool is64 = head[4] == 2;
        if (is64 && head.Length < 64)
        {
            throw new HullException($"{name} is truncated inside its ELF header: copy or build it again");
        }

        ushort kind = U16(head, 16);
        ushort machine = U16(head, 18);
        if (kind is not (2 or 3) || machine != (is64 ? 62 : 3))
        {
            throw new HullException(
                $"{name} is not an x86 executable (ELF type {kind}, machine {machine}): give a kernel for x86-64");
        }

        ulong entry = is64 ? U64(head, 24) : U32(head, 24);
        ulong table = is64 ? U64(head, 32) : U32(head, 28);
        int entrySize = U16(head, is64 ? 54 : 42);
        int count = U16(head, is64 ? 56 : 44);
        if (entrySize != (is64 ? 56 : 32) || count is 0 or > SegmentLimit ||
            table > (ulong)head.Length || (ulong)(count * entrySize) > (ulong)head.Length - table)
        {
            throw new HullException(
                $"{name} has no usable program headers ({count} of {entrySize} bytes at 0x{table:x}): " +
                "the file is damaged, or is an object file and not a linked kernel");
        }

        List<ElfSegment> segments = [];
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> raw = head.Slice((int)table + (i * entrySize), entrySize);
            uint type = U32(raw, 0);
            ElfSegment segment = is64
                ? new(type == TypeNote, U64(raw, 8), U64(raw, 16), U64(raw, 24), U64(raw, 32), U64(raw, 40))
                : new(type == TypeNote, U32(raw, 4), U32(raw, 8), U32(raw, 12), U32(raw, 16), U32(raw, 20));
            if (type is not (TypeLoad or TypeNote) || (type == TypeLoad && segment.MemorySize == 0))
            {
                continue;
            }

            CheckSegment(segment, i, name);
            segments.Add(segment);
        }

        return new ElfImage(name, is64, entry, segments);
    }

    /// <summary>
    /// e_entry as a guest-physical address: as it is, or through the segment whose virtual range has it.
    /// </summary>
    /// <exception cref="HullException">It lies in no segment.</exception>
    internal ulong PhysicalEntry()
    {
        foreach (ElfSegment segment in Segments)
        {
            if (!segment.IsNote && Entry >= segment.Physical && Entry < segment.PhysicalEnd)
            {
                return Entry;
            }
        }

        foreach (ElfSegment segment in Segments)
        {
            if (!segment.IsNote && Entry >= segment.Virtual && Entry - segment.Virtual < segment.MemorySize)
            {
                return segment.Physical + (Entry - segment.Virtual);
            }
        }

        throw new HullException($"{Name}: the entry 0x{Entry:x} lies in no loaded segment: the file is damaged");
    }

    private static void CheckSegment(ElfSegment segment, int index, string name)
    {
        if (segment.Offset > FileLimit || segment.FileSize > FileLimit - segment.Offset)
        {
            throw new HullException(
                $"{name}: program header {index} asks for bytes 0x{segment.Offset:x} + 0x{segment.FileSize:x} " +
                "of the file: the file is damaged");
        }

        if (!segment.IsNote && (segment.FileSize > segment.MemorySize ||
            segment.Physical + segment.MemorySize < segment.Physical))
        {
            throw new HullException(
                $"{name}: program header {index} has impossible sizes (file 0x{segment.FileSize:x}, memory " +
                $"0x{segment.MemorySize:x} at 0x{segment.Physical:x}): the file is damaged");
        }
    }

    private static ushort U16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    private static ulong U64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt64LittleEndian(bytes[at..]);
}
