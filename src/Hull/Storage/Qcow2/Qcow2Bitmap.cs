using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;

namespace Hull.Storage.Qcow2;

/// <summary>
/// A dirty bitmap of another program's in the image. Hull keeps it, and says of those that record every write that this
/// one is not up to date. QEMU's docs/interop/qcow2.txt, "Bitmaps".
/// </summary>
/// <param name="Name">The user's name for it.</param>
/// <param name="TableOffset">Its table of clusters.</param>
/// <param name="TableEntries">Entries of that.</param>
/// <param name="Flags">See <see cref="InUse"/> and <see cref="Records"/>.</param>
/// <param name="FlagsOffset">Where the flags are in the file.</param>
internal sealed record Qcow2Bitmap(string Name, ulong TableOffset, int TableEntries, uint Flags, ulong FlagsOffset)
{
    /// <summary>It was not brought up to date.</summary>
    internal const uint InUse = 1;

    /// <summary>Every write must be recorded in it.</summary>
    internal const uint Records = 2;

    private const int FixedBytes = 24;
    private const ulong MostDirectoryBytes = 16 << 20;
    private const int MostTableBytes = 8 << 20;

    /// <summary>Reads the directory of bitmaps; none when the image says that it is not valid.</summary>
    /// <param name="file">The image.</param>
    /// <param name="header">Says where the directory is.</param>
    /// <param name="offset">Where it is; 0 for none.</param>
    /// <param name="length">Its bytes.</param>
    /// <exception cref="Qcow2Damage">It is none.</exception>
    internal static List<Qcow2Bitmap> ReadAll(IImageFile file, Qcow2Header header, out ulong offset, out ulong length)
    {
        List<Qcow2Bitmap> bitmaps = [];
        offset = 0;
        length = 0;
        ReadOnlySpan<byte> extension = header.BitmapsExtension;
        if (extension.IsEmpty || (header.Autoclear & Qcow2Format.BitmapsValid) == 0)
        {
            return bitmaps;
        }

        uint count = BinaryPrimitives.ReadUInt32BigEndian(extension);
        length = BinaryPrimitives.ReadUInt64BigEndian(extension[8..]);
        offset = BinaryPrimitives.ReadUInt64BigEndian(extension[16..]);
        Require(file, count <= Qcow2Format.MostBitmaps && length <= MostDirectoryBytes && IsTable(header, offset));
        byte[] directory = new byte[length];
        file.ReadPadded(offset, directory);
        int at = 0;
        for (uint i = 0; i < count; i++)
        {
            Require(file, at <= directory.Length - FixedBytes);
            bitmaps.Add(Parse(file, header, directory.AsSpan(at), offset + (uint)at, out int used));
            at += used;
        }

        return bitmaps;
    }

    private static Qcow2Bitmap Parse(IImageFile file, Qcow2Header header, ReadOnlySpan<byte> entry, ulong at, out int used)
    {
        ulong table = BinaryPrimitives.ReadUInt64BigEndian(entry);
        uint entries = BinaryPrimitives.ReadUInt32BigEndian(entry[8..]);
        uint flags = BinaryPrimitives.ReadUInt32BigEndian(entry[12..]);
        int nameLength = BinaryPrimitives.ReadUInt16BigEndian(entry[18..]);
        uint extra = BinaryPrimitives.ReadUInt32BigEndian(entry[20..]);
        Require(file, extra <= (uint)entry.Length && FixedBytes + (int)extra + nameLength <= entry.Length
            && entries <= MostTableBytes / 8 && IsTable(header, table));
        used = (FixedBytes + (int)extra + nameLength + 7) & ~7;
        string name = Encoding.UTF8.GetString(entry.Slice(FixedBytes + (int)extra, nameLength));
        return new Qcow2Bitmap(name, table, (int)entries, flags, at + 12);
    }

    private static bool IsTable(Qcow2Header header, ulong offset) =>
        offset != 0 && offset < Qcow2Format.MostBytes && (offset & ((uint)header.Layout.ClusterSize - 1)) == 0;

    private static void Require(IImageFile file, bool condition)
    {
        if (!condition)
        {
            throw new Qcow2Damage($"{file.Name}: its directory of bitmaps");
        }
    }
}
