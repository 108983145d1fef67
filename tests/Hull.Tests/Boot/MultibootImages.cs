using System;
using System.Collections.Generic;

namespace Hull.Tests.Boot;

/// <summary>Small Multiboot kernels made by hand.</summary>
internal static class MultibootImages
{
    internal const uint LinkAddress = 0x10_0000;
    internal const uint Entry = LinkAddress + 0x80;
    internal const uint BssEnd = LinkAddress + 0x3000;
    internal const int ImageSize = 0x800;
    internal const int ImageAt = 0x1000;
    internal const int HeaderAt = 0x20;

    private const uint Magic1 = 0x1BAD_B002;
    private const uint Magic2 = 0xE852_50D6;

    /// <summary>A header of Multiboot 1; the sum of its first three words is 0.</summary>
    internal static byte[] Header1(uint flags, params uint[] rest) => Words([Magic1, flags, unchecked(0 - Magic1 - flags), .. rest]);

    /// <summary>A header of Multiboot 2 with these tags and the last one.</summary>
    internal static byte[] Header2(params uint[][] tags)
    {
        List<uint> words = [Magic2, 0, 0, 0];
        foreach (uint[] tag in tags)
        {
            words.AddRange(tag);
            if (tag.Length % 2 != 0)
            {
                words.Add(0);
            }
        }

        words.AddRange([0, 8]);
        words[2] = (uint)words.Count * 4;
        words[3] = unchecked(0 - Magic2 - words[2]);
        return Words([.. words]);
    }

    /// <summary>The bytes of the segment: the header at 0x20, and something to recognise.</summary>
    internal static byte[] Image(byte[] header)
    {
        byte[] image = new byte[ImageSize];
        new Random(2).NextBytes(image);
        header.CopyTo(image, HeaderAt);
        return image;
    }

    /// <summary>A 32-bit ELF file of one segment.</summary>
    internal static byte[] Elf32(byte[] header, uint address = LinkAddress)
    {
        byte[] elf = new byte[ImageAt + ImageSize];
        "\u007FELF"u8.CopyTo(elf);
        elf[4] = 1;
        elf[5] = 1;
        elf[6] = 1;
        TestImages.Put16(elf, 16, 2);
        TestImages.Put16(elf, 18, 3);
        TestImages.Put32(elf, 20, 1);
        TestImages.Put32(elf, 24, address + 0x80);
        TestImages.Put32(elf, 28, 52);
        TestImages.Put16(elf, 42, 32);
        TestImages.Put16(elf, 44, 1);
        uint[] segment = [1, ImageAt, 0xC000_0000 + address, address, ImageSize, BssEnd - LinkAddress, 7, 0x1000];
        Words(segment).CopyTo(elf, 52);
        Image(header).CopyTo(elf, ImageAt);
        return elf;
    }

    /// <summary>A file of no format, with the addresses in its header; the text begins at offset 8.</summary>
    internal static byte[] Flat(uint loadEnd = LinkAddress + ImageSize, uint bssEnd = BssEnd, uint entry = Entry) =>
        [.. new byte[8], .. Image(Header1(1 << 16, LinkAddress + HeaderAt, LinkAddress, loadEnd, bssEnd, entry))];

    private static byte[] Words(uint[] words)
    {
        byte[] bytes = new byte[words.Length * 4];
        Buffer.BlockCopy(words, 0, bytes, 0, bytes.Length);
        return bytes;
    }
}
