using System;
using System.Collections.Generic;

namespace Hull.Tests.Boot;

/// <summary>
/// Makes an .xz file that stores its content in uncompressed LZMA2 chunks. "The .xz File Format" 1.1.
/// </summary>
internal static class TestXz
{
    internal static byte[] Store(byte[] content)
    {
        byte[] flags = [0, 1]; // check: CRC32
        byte[] blockHeader = [2, 0, 0x21, 1, 22, 0, 0, 0];
        List<byte> data = [];
        for (int at = 0; at < content.Length; at += 0x1_0000)
        {
            int size = Math.Min(0x1_0000, content.Length - at);
            data.AddRange([(byte)(at == 0 ? 1 : 2), (byte)((size - 1) >> 8), (byte)(size - 1)]);
            data.AddRange(content.AsSpan(at, size));
        }

        data.Add(0);
        int unpadded = blockHeader.Length + 4 + data.Count + 4;
        List<byte> file = [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, .. flags, .. Crc(flags)];
        file.AddRange([.. blockHeader, .. Crc(blockHeader), .. data]);
        Pad(file);
        file.AddRange(Crc(content));
        List<byte> index = [0, 1, .. Number(unpadded), .. Number(content.Length)];
        Pad(index);
        byte[] rawIndex = [.. index];
        file.AddRange([.. rawIndex, .. Crc(rawIndex)]);
        byte[] footer = [.. BitConverter.GetBytes((rawIndex.Length / 4)), .. flags];
        file.AddRange([.. Crc(footer), .. footer, (byte)'Y', (byte)'Z']);
        return [.. file];
    }

    private static void Pad(List<byte> bytes)
    {
        while (bytes.Count % 4 != 0)
        {
            bytes.Add(0);
        }
    }

    private static List<byte> Number(int value)
    {
        List<byte> raw = [];
        for (; value >= 0x80; value >>= 7)
        {
            raw.Add((byte)(value | 0x80));
        }

        raw.Add((byte)value);
        return raw;
    }

    private static byte[] Crc(ReadOnlySpan<byte> bytes)
    {
        uint crc = ~0u;
        foreach (byte one in bytes)
        {
            crc ^= one;
            for (int i = 0; i < 8; i++)
            {
                crc = (crc >> 1) ^ ((crc & 1) * 0xEDB8_8320);
            }
        }

        return BitConverter.GetBytes(~crc);
    }
}
