using System;
using System.Buffers.Binary;
using System.IO;

namespace Hull.Storage.Qcow2;

/// <summary>The flag in each entry of the disk's tables that says "one reference only": it must agree with the counts.</summary>
internal static class Qcow2Flags
{
    /// <summary>Compares the flags with the references, and sets them right if that is wanted.</summary>
    /// <returns>How many were wrong; each is a corruption among the findings.</returns>
    /// <exception cref="IOException">The host cannot read or write.</exception>
    internal static int Check(
        IImageFile file, Qcow2Header header, ReadOnlySpan<ushort> counts, Qcow2Findings findings, bool repair)
    {
        if (header.L1Offset + ((ulong)header.L1Entries * 8) > file.Length)
        {
            return 0;
        }

        int wrong = 0;
        int step = header.Layout.IsExtended ? 16 : 8;
        ulong[] l1 = EntryTable.Read(file, header.L1Offset, header.L1Entries);
        byte[] bytes = new byte[header.Layout.ClusterSize];
        for (int i = 0; i < l1.Length; i++)
        {
            ulong offset = l1[i] & Qcow2Format.OffsetMask;
            if (offset == 0 || (offset & ((uint)bytes.Length - 1)) != 0 || offset >= file.Length)
            {
                continue;
            }

            if (IsWrong(l1[i], header, counts))
            {
                wrong++;
                findings.Corruption($"L1 entry {i}: its flag contradicts the references");
                l1[i] ^= Qcow2Format.Copied;
                if (repair)
                {
                    EntryTable.Write(file, header.L1Offset, l1, i, i + 1);
                }
            }

            file.ReadPadded(offset, bytes);
            CachedTable table = new(offset, bytes);
            for (int at = 0; at < bytes.Length; at += step)
            {
                ulong entry = table.Get64(at);
                if ((entry & Qcow2Format.Compressed) == 0 && IsWrong(entry, header, counts))
                {
                    wrong++;
                    findings.Corruption($"cluster at {entry & Qcow2Format.OffsetMask}: its flag contradicts the references");
                    table.Set64(at, entry ^ Qcow2Format.Copied);
                }
            }

            if (repair && table.IsDirty)
            {
                file.Write(offset, bytes);
            }
        }

        return wrong;
    }

    /// <summary>The image is neither dirty nor damaged any more.</summary>
    internal static void ClearMarks(IImageFile file, Qcow2Header header)
    {
        if (header.IsDirty || header.IsCorrupt)
        {
            file.Sync();
            Span<byte> field = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64BigEndian(
                field, header.Incompatible & ~(Qcow2Format.Dirty | Qcow2Format.Corrupt));
            file.Write(72, field);
        }
    }

    private static bool IsWrong(ulong entry, Qcow2Header header, ReadOnlySpan<ushort> counts)
    {
        ulong cluster = (entry & Qcow2Format.OffsetMask) >> header.Layout.ClusterBits;
        return cluster != 0 && cluster < (ulong)counts.Length
            && ((entry & Qcow2Format.Copied) != 0) != (counts[(int)cluster] == 1);
    }
}
