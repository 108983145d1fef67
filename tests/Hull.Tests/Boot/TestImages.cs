using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using System.IO.Compression;
using Hull.Boot;

namespace Hull.Tests.Boot;

/// <summary>
/// Small kernels made by hand: an ELF file with two segments and a PVH note, and bzImages around it.
/// </summary>
internal static class TestImages
{
    internal const ulong LinkAddress = 0x10_0000;
    internal const ulong PvhEntry = LinkAddress + 0x40;
    internal const ulong DataAddress = 0x18_0000;
    internal const int TextSize = 0x1800;
    internal const int DataSize = 0x300;
    internal const ulong DataMemory = 0x2000;
    internal const int HeaderCount = 3;

    private const int TextAt = 0x1000;
    private const int NoteAt = 0x200;
    private const int DataAt = TextAt + TextSize;

    /// <summary>The bytes of the text segment.</summary>
    internal static byte[] Text()
    {
        byte[] text = new byte[TextSize];
        new Random(1).NextBytes(text.AsSpan(0, 0x400));
        text[TextSize - 1] = 0x5A;
        return text;
    }

    /// <summary>A vmlinux; headers can be changed before it is closed.</summary>
    internal static byte[] Elf(bool note = true)
    {
        byte[] elf = new byte[DataAt + DataSize];
        "\u007FELF"u8.CopyTo(elf);
        elf[4] = 2;
        elf[5] = 1;
        elf[6] = 1;
        Put16(elf, 16, 2);
        Put16(elf, 18, 62);
        Put32(elf, 20, 1);
        Put64(elf, 24, LinkAddress);
        Put64(elf, 32, 64);
        Put16(elf, 52, 64);
        Put16(elf, 54, 56);
        Put16(elf, 56, note ? HeaderCount : HeaderCount - 1);
        ProgramHeader(elf, 0, 1, TextAt, LinkAddress, TextSize, TextSize);
        ProgramHeader(elf, 1, 1, DataAt, DataAddress, DataSize, DataMemory);
        ProgramHeader(elf, 2, 4, NoteAt, 0, 40, 40);
        Note(elf, NoteAt, 6, "linux\0\0\0"u8);
        Note(elf, NoteAt + 24, 18, default);
        Put32(elf, NoteAt + 24 + 4, 4);
        Put32(elf, NoteAt + 24 + 16, (uint)PvhEntry);
        Put64(elf, 64 + (2 * 56) + 32, 44);
        Text().CopyTo(elf, TextAt);
        elf.AsSpan(DataAt, DataSize).Fill(0xDA);
        return elf;
    }

    /// <summary>A bzImage around a packed kernel.</summary>
    internal static byte[] BzImage(byte[] payload)
    {
        const int setupSectors = 3;
        const int payloadOffset = 0x300;
        byte[] image = new byte[((setupSectors + 1) * 512) + payloadOffset + payload.Length + 64];
        image[0x1F1] = setupSectors;
        Put16(image, 0x1FE, 0xAA55);
        image[0x201] = 0x6A;
        Put32(image, 0x202, 0x5372_6448);
        Put16(image, 0x206, 0x20F);
        image[0x211] = 1;
        Put32(image, 0x214, 0x10_0000);
        Put32(image, 0x22C, 0x7FFF_FFFF);
        Put32(image, 0x230, 0x20_0000);
        image[0x234] = 1;
        Put16(image, 0x236, 0x7F);
        Put32(image, 0x238, 2047);
        Put32(image, 0x248, payloadOffset);
        Put32(image, 0x24C, (uint)payload.Length);
        Put64(image, 0x258, 0x20_0000);
        Put32(image, 0x260, 0x8_0000);
        payload.CopyTo(image, ((setupSectors + 1) * 512) + payloadOffset);
        return image;
    }

    /// <summary>
    /// Packs as Linux's build does, by hand where .NET has no packer: stored, not compressed.
    /// </summary>
    internal static byte[] Pack(PackingMethod method, byte[] content) => method switch
    {
        PackingMethod.None => content,
        PackingMethod.Gzip => Gzip(content),
        PackingMethod.Lz4 => [.. Lz4(content), .. Size(content)],
        PackingMethod.Zstd => [.. Zstd(content), .. Size(content)],
        PackingMethod.Xz => [.. TestXz.Store(content), .. Size(content)],
        _ => [(byte)'B', (byte)'Z', (byte)'h', (byte)'9', .. content],
    };

    internal static void Put16(byte[] bytes, int at, int value) =>
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(at), (ushort)value);

    internal static void Put32(byte[] bytes, int at, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), value);

    internal static void Put64(byte[] bytes, int at, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(at), value);

    /// <summary>Where a field of a program header is in the file.</summary>
    internal static int HeaderField(int index, int field) => 64 + (56 * index) + field;

    private static void ProgramHeader(byte[] elf, int index, uint type, int at, ulong physical, ulong size, ulong room)
    {
        int header = HeaderField(index, 0);
        Put32(elf, header, type);
        Put64(elf, header + 8, (ulong)at);
        Put64(elf, header + 16, physical == 0 ? 0 : 0xFFFF_FFFF_8000_0000 + physical);
        Put64(elf, header + 24, physical);
        Put64(elf, header + 32, size);
        Put64(elf, header + 40, room);
    }

    private static void Note(byte[] elf, int at, uint type, ReadOnlySpan<byte> value)
    {
        Put32(elf, at, 4);
        Put32(elf, at + 4, (uint)value.Length);
        Put32(elf, at + 8, type);
        "Xen\0"u8.CopyTo(elf.AsSpan(at + 12));
        value.CopyTo(elf.AsSpan(at + 16));
    }

    private static byte[] Size(byte[] content)
    {
        byte[] size = new byte[4];
        Put32(size, 0, (uint)content.Length);
        return size;
    }

    private static byte[] Gzip(byte[] content)
    {
        using MemoryStream packed = new();
        using (GZipStream gzip = new(packed, CompressionLevel.Fastest))
        {
            gzip.Write(content);
        }

        return packed.ToArray();
    }

    private static byte[] Lz4(byte[] content)
    {
        List<byte> block = [0xF0];
        int left = content.Length - 15;
        for (; left >= 255; left -= 255)
        {
            block.Add(255);
        }

        block.Add((byte)left);
        block.AddRange(content);
        byte[] head = new byte[8];
        Put32(head, 0, 0x184C_2102);
        Put32(head, 4, (uint)block.Count);
        return [.. head, .. block];
    }

    private static byte[] Zstd(byte[] content)
    {
        // Frame header with a 4-byte content size and no window, then one raw block, the last.
        byte[] head = new byte[12];
        Put32(head, 0, 0xFD2F_B528);
        head[4] = 0xA0;
        Put32(head, 5, (uint)content.Length);
        uint block = 1u | ((uint)content.Length << 3);
        head[9] = (byte)block;
        head[10] = (byte)(block >> 8);
        head[11] = (byte)(block >> 16);
        return [.. head, .. content];
    }
}
