using System;
using System.Buffers.Binary;
using System.IO;

namespace Hull.BootTests;

/// <summary>
/// An ELF64 kernel of one page whose PVH note points at 32-bit code: protected mode, flat segments, no paging,
/// no IDT. Xen, "x86/HVM direct boot ABI".
/// </summary>
internal static class TinyKernel
{
    /// <summary>Where the code starts, and the guest's first EIP.</summary>
    internal const uint Entry = 0x10_0000;

    private const int HeaderSize = 64;
    private const int SegmentSize = 56;
    private const int NoteAt = HeaderSize + (2 * SegmentSize);
    private const int NoteSize = 20;
    private const int CodeAt = 0x1000;
    private const uint LoadSegment = 1;
    private const uint NoteSegment = 4;
    private const uint PvhEntryNote = 18;

    /// <summary>Writes the kernel and returns its path.</summary>
    internal static string Write(string folder, params byte[] code)
    {
        byte[] file = new byte[CodeAt + code.Length];
        "\u007FELF"u8.CopyTo(file);
        file[4] = 2; // ELFCLASS64
        file[5] = 1; // little-endian
        file[6] = 1;
        Put16(file, 16, 2);  // executable
        Put16(file, 18, 62); // x86-64
        Put32(file, 20, 1);
        Put32(file, 24, Entry);
        Put32(file, 32, HeaderSize);
        Put16(file, 52, HeaderSize);
        Put16(file, 54, SegmentSize);
        Put16(file, 56, 2);
        PutSegment(file, HeaderSize, LoadSegment, CodeAt, Entry, code.Length);
        PutSegment(file, HeaderSize + SegmentSize, NoteSegment, NoteAt, 0, NoteSize);
        Put32(file, NoteAt, 4);
        Put32(file, NoteAt + 4, 4);
        Put32(file, NoteAt + 8, PvhEntryNote);
        "Xen\0"u8.CopyTo(file.AsSpan(NoteAt + 12));
        Put32(file, NoteAt + 16, Entry);
        code.CopyTo(file.AsSpan(CodeAt));
        string path = Path.Combine(folder, "tiny.elf");
        File.WriteAllBytes(path, file);
        return path;
    }

    private static void PutSegment(byte[] file, int at, uint type, uint offset, uint address, int size)
    {
        Put32(file, at, type);
        Put32(file, at + 4, 5); // readable, executable
        Put32(file, at + 8, offset);
        Put32(file, at + 16, address);
        Put32(file, at + 24, address);
        Put32(file, at + 32, (uint)size);
        Put32(file, at + 40, (uint)size);
    }

    private static void Put16(byte[] file, int at, ushort value) =>
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(at), value);

    private static void Put32(byte[] file, int at, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at), value);
}
