using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;

namespace Hull.Storage.Qcow2;

/// <summary>A snapshot inside the image. QEMU's docs/interop/qcow2.txt, "Snapshots".</summary>
/// <param name="Id">The image's number for it, in decimal.</param>
/// <param name="Name">The user's name for it.</param>
/// <param name="L1Offset">Its own L1 table.</param>
/// <param name="L1Entries">Entries of that.</param>
/// <param name="DiskSize">Bytes that the guest saw then.</param>
/// <param name="Taken">When.</param>
internal sealed record Qcow2Snapshot(string Id, string Name, ulong L1Offset, int L1Entries, ulong DiskSize, DateTimeOffset Taken)
{
    private const int FixedBytes = 40;
    private const int MostExtraBytes = 1024;
    private const ulong MostTableBytes = 16 << 20;

    /// <summary>Reads the table of snapshots.</summary>
    /// <param name="file">The image.</param>
    /// <param name="header">Says where it is.</param>
    /// <param name="tableBytes">Its length.</param>
    /// <exception cref="Qcow2Damage">It is none.</exception>
    internal static List<Qcow2Snapshot> ReadAll(IImageFile file, Qcow2Header header, out ulong tableBytes)
    {
        List<Qcow2Snapshot> snapshots = [];
        ulong at = header.SnapshotsOffset;
        byte[] bytes = new byte[FixedBytes + MostExtraBytes + (2 * ushort.MaxValue)];
        for (int i = 0; i < header.SnapshotCount; i++)
        {
            file.ReadPadded(at, bytes.AsSpan(0, FixedBytes));
            int idLength = BinaryPrimitives.ReadUInt16BigEndian(bytes.AsSpan(12));
            int nameLength = BinaryPrimitives.ReadUInt16BigEndian(bytes.AsSpan(14));
            uint extra = BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(36));
            if (extra > MostExtraBytes || at - header.SnapshotsOffset > MostTableBytes)
            {
                throw new Qcow2Damage($"{file.Name}: its table of snapshots");
            }

            int length = FixedBytes + (int)extra + idLength + nameLength;
            file.ReadPadded(at, bytes.AsSpan(0, length));
            snapshots.Add(Parse(file, header, bytes.AsSpan(0, length), (int)extra, idLength));
            at += (uint)((length + 7) & ~7);
        }

        tableBytes = at - header.SnapshotsOffset;
        return snapshots;
    }

    private static Qcow2Snapshot Parse(
        IImageFile file, Qcow2Header header, ReadOnlySpan<byte> entry, int extra, int idLength)
    {
        ulong l1Offset = BinaryPrimitives.ReadUInt64BigEndian(entry);
        uint l1Entries = BinaryPrimitives.ReadUInt32BigEndian(entry[8..]);
        uint seconds = BinaryPrimitives.ReadUInt32BigEndian(entry[16..]);
        ulong size = extra >= 16 ? BinaryPrimitives.ReadUInt64BigEndian(entry[(FixedBytes + 8)..]) : header.Size;
        ReadOnlySpan<byte> names = entry[(FixedBytes + extra)..];
        if (l1Entries > Qcow2Format.MostL1Entries || l1Offset >= Qcow2Format.MostBytes
            || (l1Offset & ((uint)header.Layout.ClusterSize - 1)) != 0 || size > long.MaxValue
            || Qcow2Header.NeededL1Entries(header.Layout, size) > l1Entries)
        {
            throw new Qcow2Damage($"{file.Name}: a snapshot with an L1 table of {l1Entries} entries at {l1Offset}");
        }

        return new Qcow2Snapshot(
            Encoding.UTF8.GetString(names[..idLength]), Encoding.UTF8.GetString(names[idLength..]),
            l1Offset, (int)l1Entries, size, DateTimeOffset.FromUnixTimeSeconds(seconds));
    }
}
