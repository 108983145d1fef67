using System;
using System.Collections.Generic;
using System.IO;
using Hull.Host;

namespace Hull.Storage.Qcow2;

/// <summary>What a check may mend.</summary>
public enum Qcow2Repair
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Clusters that nobody refers to.</summary>
    Leaks,

    /// <summary>Wrong reference counts and flags too.</summary>
    All,
}

/// <summary>What a check found.</summary>
public sealed class Qcow2Findings
{
    private const int MostMessages = 20;
    private readonly List<string> _messages = [];

    /// <summary>Contradictions: data may be lost, or get lost with the next write.</summary>
    public int Corruptions { get; internal set; }

    /// <summary>Clusters that are counted as used, but nobody refers to.</summary>
    public int Leaks { get; internal set; }

    /// <summary>Contradictions that were mended.</summary>
    public int CorruptionsFixed { get; internal set; }

    /// <summary>Unused clusters that were given up.</summary>
    public int LeaksFixed { get; internal set; }

    /// <summary>Clusters of the guest's that have a place in the file.</summary>
    public long AllocatedClusters { get; internal set; }

    /// <summary>Clusters of the guest's that are packed.</summary>
    public long CompressedClusters { get; internal set; }

    /// <summary>The first findings, one line each.</summary>
    public IReadOnlyList<string> Messages => _messages;

    internal void Corruption(string message)
    {
        Corruptions++;
        Add("ERROR " + message);
    }

    internal void Leak(string message)
    {
        Leaks++;
        Add("leaked " + message);
    }

    private void Add(string message)
    {
        if (_messages.Count < MostMessages)
        {
            _messages.Add(message);
        }
    }
}

/// <summary>Counts all references in an image and compares them with what the image says. Nobody else may have it open.</summary>
internal sealed class Qcow2Check
{
    private const ulong MostClusters = 64 << 20;
    private const long MostEntries = 1L << 31;

    private readonly IImageFile _file;
    private readonly Qcow2Header _header;
    private readonly ClusterLayout _layout;
    private readonly Qcow2Findings _findings = new();
    private readonly ushort[] _counts;
    private long _entriesSeen;
    private int _beforeCounts;

    private Qcow2Check(IImageFile file, Qcow2Header header)
    {
        _file = file;
        _header = header;
        _layout = header.Layout;
        ulong clusters = (file.Length + (uint)_layout.ClusterSize - 1) >> _layout.ClusterBits;
        if (clusters > MostClusters)
        {
            throw new HullException($"{file.Name} has {clusters} clusters: checking more than {MostClusters} takes too much memory");
        }

        _counts = new ushort[clusters];
    }

    /// <summary>Checks an image, and mends it if that is wanted.</summary>
    /// <exception cref="HullException">Its header is none, or it is too large.</exception>
    /// <exception cref="IOException">The host cannot read or write.</exception>
    internal static Qcow2Findings Run(IImageFile file, Qcow2Repair repair)
    {
        Qcow2Check check = new(file, Qcow2Header.Read(file));
        check.Count();
        check.Compare(repair);
        return check._findings;
    }

    private void Count()
    {
        Refer(0, (ulong)_layout.ClusterSize, "header");
        ReferTables(_header.L1Offset, _header.L1Entries, isActive: true);
        try
        {
            List<Qcow2Snapshot> snapshots = Qcow2Snapshot.ReadAll(_file, _header, out ulong bytes);
            Refer(_header.SnapshotsOffset, snapshots.Count == 0 ? 0 : bytes, "snapshot table");
            foreach (Qcow2Snapshot snapshot in snapshots)
            {
                ReferTables(snapshot.L1Offset, snapshot.L1Entries, isActive: false);
            }

            List<Qcow2Bitmap> bitmaps = Qcow2Bitmap.ReadAll(_file, _header, out ulong directory, out ulong length);
            Refer(directory, length, "bitmap directory");
            foreach (Qcow2Bitmap bitmap in bitmaps)
            {
                ReferBitmap(bitmap);
            }
        }
        catch (Qcow2Damage e)
        {
            _findings.Corruption(e.Message);
        }

        _beforeCounts = _findings.Corruptions;
    }

    // One reference to each cluster of a range.
    private void Refer(ulong offset, ulong length, string what)
    {
        if (length == 0)
        {
            return;
        }

        ulong first = offset >> _layout.ClusterBits;
        ulong last = (offset + length - 1) >> _layout.ClusterBits;
        if (last >= (ulong)_counts.Length || last < first)
        {
            _findings.Corruption($"{what} at {offset} is behind the end of the file");
            return;
        }

        for (ulong cluster = first; cluster <= last; cluster++)
        {
            _counts[cluster] = (ushort)Math.Min(_counts[cluster] + 1, ushort.MaxValue);
        }
    }

    private void ReferTables(ulong l1Offset, int l1Entries, bool isActive)
    {
        Refer(l1Offset, (ulong)l1Entries * 8, "L1 table");
        if (l1Offset + ((ulong)l1Entries * 8) > _file.Length)
        {
            return;
        }

        byte[] table = new byte[_layout.ClusterSize];
        foreach (ulong entry in EntryTable.Read(_file, l1Offset, l1Entries))
        {
            ulong offset = entry & Qcow2Format.OffsetMask;
            if (offset == 0)
            {
                continue;
            }

            if ((offset & ((uint)_layout.ClusterSize - 1)) != 0)
            {
                _findings.Corruption($"L2 table at {offset}, inside a cluster");
                continue;
            }

            Refer(offset, (ulong)_layout.ClusterSize, "L2 table");
            if (offset < _file.Length)
            {
                Spend(1 << _layout.L2Bits);
                _file.ReadPadded(offset, table);
                ReferEntries(new CachedTable(offset, table), isActive);
            }
        }
    }

    private void ReferEntries(CachedTable table, bool isActive)
    {
        int step = _layout.IsExtended ? 16 : 8;
        for (int at = 0; at < _layout.ClusterSize; at += step)
        {
            ulong descriptor = table.Get64(at);
            ulong host = descriptor & Qcow2Format.OffsetMask;
            if ((descriptor & Qcow2Format.Compressed) != 0)
            {
                _findings.CompressedClusters += isActive ? 1 : 0;
                (ulong offset, int length) = Decompressor.Range(_layout, descriptor & (Qcow2Format.Compressed - 1));
                Refer(offset, (ulong)length, "packed cluster");
            }
            else if (host == 0)
            {
                continue;
            }
            else if ((host & ((uint)_layout.ClusterSize - 1)) != 0)
            {
                _findings.Corruption($"cluster at {host}, inside a cluster");
                continue;
            }
            else
            {
                Refer(host, (ulong)_layout.ClusterSize, "cluster");
            }

            _findings.AllocatedClusters += isActive ? 1 : 0;
            ulong bitmap = _layout.IsExtended ? table.Get64(at + 8) : 0;
            if (((uint)bitmap & (uint)(bitmap >> 32)) != 0)
            {
                _findings.Corruption($"cluster at {host}: subclusters that are two things at once");
            }
        }
    }

    private void ReferBitmap(Qcow2Bitmap bitmap)
    {
        Refer(bitmap.TableOffset, (ulong)bitmap.TableEntries * 8, "bitmap table");
        if (bitmap.TableOffset >= _file.Length)
        {
            return;
        }

        Spend(bitmap.TableEntries);
        foreach (ulong entry in EntryTable.Read(_file, bitmap.TableOffset, bitmap.TableEntries))
        {
            ulong offset = entry & Qcow2Format.OffsetMask;
            Refer(offset, offset == 0 ? 0 : (ulong)_layout.ClusterSize, "bitmap");
        }
    }

    private void Spend(long entries)
    {
        _entriesSeen += entries;
        if (_entriesSeen > MostEntries)
        {
            throw new HullException($"{_file.Name}: its tables refer to each other more often than an image's can");
        }
    }

    private void Compare(Qcow2Repair repair)
    {
        // Without the refcounts' own clusters: a rebuild has others.
        ushort[] withoutCounts = repair == Qcow2Repair.All ? [.. _counts] : [];
        Refer(_header.RefcountTableOffset, (ulong)_header.RefcountTableClusters << _layout.ClusterBits, "refcount table");
        if (_header.RefcountTableOffset >= _file.Length)
        {
            Rebuild(repair, withoutCounts, 0);
            return;
        }

        ulong[] blocks = EntryTable.Read(
            _file, _header.RefcountTableOffset, _header.RefcountTableClusters << (_layout.ClusterBits - 3));
        ReferBlocks(blocks);
        int structural = _findings.Corruptions;
        (int tooLow, List<ulong> tooHigh) = CompareCounts(blocks);
        if (tooLow > 0 || structural > _beforeCounts)
        {
            Rebuild(repair, withoutCounts, tooHigh.Count);
        }
        else if (repair != Qcow2Repair.None && tooHigh.Count > 0)
        {
            Lower(tooHigh);
        }

        int flags = Qcow2Flags.Check(_file, _header, _counts, _findings, repair == Qcow2Repair.All);
        if (repair == Qcow2Repair.All)
        {
            _findings.CorruptionsFixed += flags;
            _findings.Corruptions -= flags;
            if (_findings.Corruptions == 0)
            {
                Qcow2Flags.ClearMarks(_file, _header);
            }
        }

        _file.Sync();
    }

    private void ReferBlocks(ulong[] blocks)
    {
        for (int i = 0; i < blocks.Length; i++)
        {
            ulong offset = blocks[i];
            if (offset == 0)
            {
                continue;
            }

            ulong cluster = offset >> _layout.ClusterBits;
            if ((offset & ((uint)_layout.ClusterSize - 1)) != 0 || cluster >= (ulong)_counts.Length)
            {
                _findings.Corruption($"block of reference counts at {offset}: inside a cluster, or behind the end of the file");
                blocks[i] = 0;
                continue;
            }

            Refer(offset, (ulong)_layout.ClusterSize, "block of reference counts");
            if (_counts[cluster] > 1)
            {
                _findings.Corruption($"block of reference counts at {offset}, where something else is");
                blocks[i] = 0;
            }
        }
    }

    private (int TooLow, List<ulong> TooHigh) CompareCounts(ulong[] blocks)
    {
        int tooLow = 0;
        List<ulong> tooHigh = [];
        int blockBits = _layout.ClusterBits + 3 - _header.RefcountOrder;
        byte[] block = new byte[_layout.ClusterSize];
        ulong covered = (ulong)blocks.Length << blockBits;
        for (ulong at = 0; at < Math.Max(covered, (ulong)_counts.Length); at += 1UL << blockBits)
        {
            ulong index = at >> blockBits;
            bool isThere = index < (ulong)blocks.Length && blocks[index] != 0;
            if (!isThere && at >= (ulong)_counts.Length)
            {
                continue;
            }

            if (isThere)
            {
                _file.ReadPadded(blocks[index], block);
            }

            for (int i = 0; i < 1 << blockBits; i++)
            {
                ulong cluster = at + (uint)i;
                ulong stated = isThere ? Refcounts.Count(block, i, _header.RefcountOrder) : 0;
                ulong found = cluster < (ulong)_counts.Length ? _counts[cluster] : 0u;
                if (found > stated)
                {
                    tooLow++;
                    _findings.Corruption($"cluster {cluster} refcount={stated} reference={found}");
                }
                else if (found < stated)
                {
                    tooHigh.Add(cluster);
                    _findings.Leak($"cluster {cluster} refcount={stated} reference={found}");
                }
            }
        }

        return (tooLow, tooHigh);
    }

    private void Lower(List<ulong> clusters)
    {
        Refcounts counts = Refcounts.Open(_file, _header, new ClusterSet());
        foreach (ulong cluster in clusters)
        {
            counts.Set(cluster, cluster < (ulong)_counts.Length ? _counts[cluster] : 0u);
            if (counts.IsCrowded)
            {
                counts.Write(out _);
            }
        }

        counts.Write(out _);
        _findings.LeaksFixed += clusters.Count;
        _findings.Leaks -= clusters.Count;
    }

    private void Rebuild(Qcow2Repair repair, ushort[] counts, int leaks)
    {
        // What refers to a wrong place stays wrong, and new counts would hide it.
        if (repair != Qcow2Repair.All || _beforeCounts > 0 || !Qcow2Rebuild.TryRun(_file, _header, counts))
        {
            return;
        }

        counts.CopyTo(_counts, 0);
        _findings.CorruptionsFixed += _findings.Corruptions;
        _findings.LeaksFixed += leaks;
        _findings.Corruptions = 0;
        _findings.Leaks -= leaks;
    }
}
