using System;
using System.Buffers;
using System.Buffers.Binary;
using System.IO;

namespace Hull.Storage.Qcow2;

/// <summary>The image contradicts the format: the message says where. The guest sees an I/O error.</summary>
internal sealed class Qcow2Damage(string message) : IOException(message);

/// <summary>Tables of 64-bit numbers, most significant byte first.</summary>
internal static class EntryTable
{
    private const int Chunk = 64 << 10;

    /// <summary>Reads a table.</summary>
    /// <exception cref="IOException">The host cannot.</exception>
    internal static ulong[] Read(IImageFile file, ulong offset, int entries)
    {
        ulong[] table = new ulong[entries];
        byte[] bytes = ArrayPool<byte>.Shared.Rent(Chunk);
        for (int done = 0; done < entries;)
        {
            int count = Math.Min(entries - done, Chunk / 8);
            file.ReadPadded(offset + ((ulong)done * 8), bytes.AsSpan(0, count * 8));
            for (int i = 0; i < count; i++)
            {
                table[done + i] = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(i * 8));
            }

            done += count;
        }

        ArrayPool<byte>.Shared.Return(bytes);
        return table;
    }

    /// <summary>Writes the entries from one up to and without another.</summary>
    /// <exception cref="IOException">The host cannot.</exception>
    internal static void Write(IImageFile file, ulong offset, ReadOnlySpan<ulong> table, int from, int to)
    {
        byte[] bytes = ArrayPool<byte>.Shared.Rent(Chunk);
        for (int done = from; done < to;)
        {
            int count = Math.Min(to - done, Chunk / 8);
            for (int i = 0; i < count; i++)
            {
                BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(i * 8), table[done + i]);
            }

            file.Write(offset + ((ulong)done * 8), bytes.AsSpan(0, count * 8));
            done += count;
        }

        ArrayPool<byte>.Shared.Return(bytes);
    }
}
