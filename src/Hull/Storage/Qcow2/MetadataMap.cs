using System;
using System.Collections.Generic;

namespace Hull.Storage.Qcow2;

/// <summary>Finds the clusters that hold metadata when an image is opened for writing.</summary>
internal static class MetadataMap
{
    private const int MostSnapshotEntries = 1 << 20;

    /// <summary>Collects them.</summary>
    /// <exception cref="Qcow2Damage">Two tables are in one place, or one cannot be read.</exception>
    internal static ClusterSet Collect(
        IImageFile file, Qcow2Header header, ReadOnlySpan<ulong> l1, ReadOnlySpan<ulong> refcountBlocks,
        IReadOnlyList<Qcow2Snapshot> snapshots)
    {
        int bits = header.Layout.ClusterBits;
        List<ulong> clusters = [];
        void AddRange(ulong offset, ulong bytes)
        {
            ulong count = (bytes + (uint)header.Layout.ClusterSize - 1) >> bits;
            if (count > Qcow2Format.MostL1Entries || clusters.Count > 2 * Qcow2Format.MostL1Entries)
            {
                throw new Qcow2Damage($"{file.Name}: more metadata than an image can have");
            }

            for (ulong i = 0; i < count; i++)
            {
                clusters.Add((offset >> bits) + i);
            }
        }

        AddRange(0, 1);
        AddRange(header.L1Offset, (ulong)header.L1Entries * 8);
        AddRange(header.RefcountTableOffset, (ulong)header.RefcountTableClusters << bits);
        AddTables(clusters, refcountBlocks, bits);
        AddTables(clusters, l1, bits);
        foreach (Qcow2Snapshot snapshot in snapshots)
        {
            AddRange(snapshot.L1Offset, (ulong)snapshot.L1Entries * 8);
        }

        if (snapshots.Count > 0)
        {
            Qcow2Snapshot.ReadAll(file, header, out ulong bytes);
            AddRange(header.SnapshotsOffset, bytes);
        }

        List<Qcow2Bitmap> bitmaps = Qcow2Bitmap.ReadAll(file, header, out ulong directory, out ulong length);
        foreach (Qcow2Bitmap bitmap in bitmaps)
        {
            AddRange(bitmap.TableOffset, (ulong)bitmap.TableEntries * 8);
        }

        AddRange(directory, length);
        ClusterSet set = new();
        if (!set.AddAll(clusters))
        {
            throw new Qcow2Damage($"{file.Name}: two of its tables are in one place");
        }

        // These two kinds refer to each other, so one place twice is no fault.
        List<ulong> more = [];
        AddSnapshotTables(file, snapshots, more, bits);
        AddBitmapClusters(file, header, more);
        set.AddAll(more);
        return set;
    }

    private static void AddTables(List<ulong> clusters, ReadOnlySpan<ulong> table, int bits)
    {
        foreach (ulong entry in table)
        {
            ulong offset = entry & Qcow2Format.OffsetMask;
            if (offset != 0)
            {
                clusters.Add(offset >> bits);
            }
        }
    }

    private static void AddSnapshotTables(IImageFile file, IReadOnlyList<Qcow2Snapshot> snapshots, List<ulong> clusters, int bits)
    {
        int entries = 0;
        foreach (Qcow2Snapshot snapshot in snapshots)
        {
            entries += snapshot.L1Entries;
            if (entries > MostSnapshotEntries)
            {
                return;
            }

            AddTables(clusters, EntryTable.Read(file, snapshot.L1Offset, snapshot.L1Entries), bits);
        }
    }

    private static void AddBitmapClusters(IImageFile file, Qcow2Header header, List<ulong> clusters)
    {
        int entries = 0;
        foreach (Qcow2Bitmap bitmap in Qcow2Bitmap.ReadAll(file, header, out _, out _))
        {
            entries += bitmap.TableEntries;
            if (entries <= MostSnapshotEntries)
            {
                AddTables(clusters, EntryTable.Read(file, bitmap.TableOffset, bitmap.TableEntries), header.Layout.ClusterBits);
            }
        }
    }
}
