using System;
using System.Buffers.Binary;
using System.IO;

namespace Hull.Storage.Qcow2;

/// <summary>New reference counts for an image, behind all that it has.</summary>
internal static class Qcow2Rebuild
{
    /// <summary>Writes them; the old ones are not touched before the header knows the new.</summary>
    /// <param name="file">The image.</param>
    /// <param name="header">Its header.</param>
    /// <param name="counts">References to each cluster of the file, without those to the old counts.</param>
    /// <returns>False when a cluster has more references than the image can say.</returns>
    /// <exception cref="IOException">The host cannot write.</exception>
    internal static bool TryRun(IImageFile file, Qcow2Header header, ReadOnlySpan<ushort> counts)
    {
        int bits = header.Layout.ClusterBits;
        int order = header.RefcountOrder;
        int perBlock = 1 << (bits + 3 - order);
        ulong most = order == 6 ? ulong.MaxValue : (1UL << (1 << order)) - 1;
        foreach (ushort count in counts)
        {
            if (count > most)
            {
                return false;
            }
        }

        // The blocks count themselves and the table, so their number depends on itself.
        long blocks = 0;
        long tableClusters = 0;
        while (true)
        {
            long total = counts.Length + blocks + tableClusters;
            long neededBlocks = (total + perBlock - 1) / perBlock;
            long neededClusters = ((neededBlocks * 8) + header.Layout.ClusterSize - 1) >> bits;
            if (neededBlocks == blocks && neededClusters == tableClusters)
            {
                break;
            }

            blocks = neededBlocks;
            tableClusters = neededClusters;
        }

        Write(file, header, counts, (int)blocks, (int)tableClusters);
        return true;
    }

    private static void Write(IImageFile file, Qcow2Header header, ReadOnlySpan<ushort> counts, int blocks, int tableClusters)
    {
        ClusterLayout layout = header.Layout;
        int order = header.RefcountOrder;
        int perBlock = 1 << (layout.ClusterBits + 3 - order);
        int end = counts.Length + blocks + tableClusters;
        ulong[] table = new ulong[tableClusters << (layout.ClusterBits - 3)];
        byte[] block = new byte[layout.ClusterSize];
        for (int index = 0; index < blocks; index++)
        {
            Array.Clear(block);
            for (int i = 0; i < perBlock; i++)
            {
                int cluster = (index * perBlock) + i;
                if (cluster < end)
                {
                    Refcounts.SetCount(block, i, order, cluster < counts.Length ? counts[cluster] : 1u);
                }
            }

            table[index] = (ulong)(counts.Length + index) << layout.ClusterBits;
            file.Write(table[index], block);
        }

        ulong at = (ulong)(counts.Length + blocks) << layout.ClusterBits;
        EntryTable.Write(file, at, table, 0, table.Length);
        file.Sync();
        Span<byte> fields = stackalloc byte[12];
        BinaryPrimitives.WriteUInt64BigEndian(fields, at);
        BinaryPrimitives.WriteUInt32BigEndian(fields[8..], (uint)tableClusters);
        file.Write(48, fields);
        file.Sync();
    }
}
