using System;
using System.Collections.Generic;
using System.IO;

namespace Hull.Storage.Qcow2;

/// <summary>
/// The two-level table from the guest's clusters to places in the file. Finding is for any thread, changing for the one that
/// has the image alone. QEMU's docs/interop/qcow2.txt, "Cluster mapping".
/// </summary>
internal sealed class ClusterMap
{
    private const int CacheBytes = 16 << 20;

    private readonly IImageFile _file;
    private readonly ClusterLayout _layout;
    private readonly TableCache _cache;
    private readonly List<ulong> _new = [];         // tables that no L1 entry in the file names
    private ulong[] _l1;
    private ulong _l1Offset;
    private int _dirtyFrom = int.MaxValue;
    private int _dirtyTo;

    internal ClusterMap(IImageFile file, ClusterLayout layout, ulong l1Offset, int l1Entries)
    {
        _file = file;
        _layout = layout;
        _l1Offset = l1Offset;
        _l1 = EntryTable.Read(file, l1Offset, l1Entries);
        _cache = new TableCache(file, layout.ClusterSize, CacheBytes);
    }

    /// <summary>The L1 table: offsets of L2 tables, with <see cref="Qcow2Format.Copied"/>.</summary>
    internal ReadOnlySpan<ulong> L1 => _l1;

    internal ulong L1Offset => _l1Offset;

    internal bool IsDirty => _cache.IsDirty || _dirtyTo > _dirtyFrom;

    internal bool IsCrowded => _cache.IsCrowded;

    private int EntryBytes => _layout.IsExtended ? 16 : 8;

    /// <summary>Where a cluster of the guest's is. <see cref="ClusterEntry.IsCopied"/> speaks for its table too.</summary>
    /// <exception cref="Qcow2Damage">The tables contradict the format.</exception>
    internal ClusterEntry Find(ulong cluster)
    {
        ulong l1 = _l1[cluster >> _layout.L2Bits];
        ulong offset = CheckedOffset(l1);
        if (offset == 0)
        {
            return ClusterEntry.Absent;
        }

        CachedTable table = _cache.Get(offset);
        int at = IndexIn(cluster) * EntryBytes;
        ClusterEntry entry = Decode(table.Get64(at), _layout.IsExtended ? table.Get64(at + 8) : 0);
        return entry with { IsCopied = entry.IsCopied && (l1 & Qcow2Format.Copied) != 0 };
    }

    /// <summary>Changes a cluster's entry; its table must be writable: see <see cref="NeedsTable"/>.</summary>
    internal void Set(ulong cluster, ClusterEntry entry)
    {
        CachedTable table = _cache.Get(_l1[cluster >> _layout.L2Bits] & Qcow2Format.OffsetMask);
        int at = IndexIn(cluster) * EntryBytes;
        ulong descriptor = entry.IsCompressed ? entry.Host | Qcow2Format.Compressed
            : entry.Host | (entry.IsCopied && entry.Host != 0 ? Qcow2Format.Copied : 0);
        if (!_layout.IsExtended)
        {
            _cache.Set64(table, at, descriptor | (entry.Zero != 0 ? Qcow2Format.ReadsAsZeros : 0));
            return;
        }

        _cache.Set64(table, at, descriptor);
        _cache.Set64(table, at + 8, entry.IsCompressed ? 0 : entry.Data | ((ulong)entry.Zero << 32));
    }

    /// <summary>Whether a cluster's entry cannot be changed because its table is missing, or shared with a snapshot.</summary>
    /// <param name="cluster">The guest's cluster.</param>
    /// <param name="old">Offset of the shared table; 0 when there is none.</param>
    internal bool NeedsTable(ulong cluster, out ulong old)
    {
        ulong l1 = _l1[cluster >> _layout.L2Bits];
        old = CheckedOffset(l1);
        return old == 0 || (l1 & Qcow2Format.Copied) == 0;
    }

    /// <summary>Puts a cluster's entry into a new table, with what the old one has.</summary>
    internal void GiveTable(ulong cluster, ulong offset, ulong old)
    {
        _cache.Create(offset, old == 0 ? [] : _cache.Get(old).Bytes);
        int index = (int)(cluster >> _layout.L2Bits);
        _l1[index] = offset | Qcow2Format.Copied;
        _new.Add(offset);
        _dirtyFrom = Math.Min(_dirtyFrom, index);
        _dirtyTo = Math.Max(_dirtyTo, index + 1);
    }

    /// <summary>Marks which entries of a cluster's table may be written in place, after it was copied.</summary>
    /// <param name="cluster">The guest's cluster.</param>
    /// <param name="isSingle">Whether there is one reference to a place in the file.</param>
    internal void OwnEntries(ulong cluster, Func<ulong, bool> isSingle)
    {
        CachedTable table = _cache.Get(_l1[cluster >> _layout.L2Bits] & Qcow2Format.OffsetMask);
        for (int i = 0; i < 1 << _layout.L2Bits; i++)
        {
            ulong descriptor = table.Get64(i * EntryBytes);
            ulong host = descriptor & Qcow2Format.OffsetMask;
            if ((descriptor & Qcow2Format.Compressed) == 0 && host != 0)
            {
                ulong flag = isSingle(host) ? Qcow2Format.Copied : 0;
                _cache.Set64(table, i * EntryBytes, (descriptor & ~Qcow2Format.Copied) | flag);
            }
        }
    }

    /// <summary>The file has the L1 table in another place now, larger.</summary>
    internal void MoveL1(ulong offset, ulong[] table)
    {
        _l1Offset = offset;
        _l1 = table;
        _dirtyFrom = int.MaxValue;
        _dirtyTo = 0;
    }

    /// <summary>Writes the new L2 tables, which nothing in the file refers to before <see cref="Write"/>.</summary>
    /// <exception cref="IOException">The host cannot.</exception>
    internal void WriteNew()
    {
        foreach (ulong offset in _new)
        {
            _cache.Write(offset);
        }
    }

    /// <summary>Writes what has changed. The data, their counts and the new L2 tables are on the disk.</summary>
    /// <exception cref="IOException">The host cannot; the rest stays changed.</exception>
    internal void Write()
    {
        _cache.WriteDirty();
        if (_dirtyTo > _dirtyFrom)
        {
            EntryTable.Write(_file, _l1Offset, _l1, _dirtyFrom, _dirtyTo);
            _dirtyFrom = int.MaxValue;
            _dirtyTo = 0;
        }

        _new.Clear();
    }

    /// <summary>A table is none any more.</summary>
    internal void Forget(ulong offset)
    {
        _new.Remove(offset);
        _cache.Forget(offset);
    }

    private int IndexIn(ulong cluster) => (int)(cluster & ((1UL << _layout.L2Bits) - 1));

    private ulong CheckedOffset(ulong l1)
    {
        ulong offset = l1 & Qcow2Format.OffsetMask;
        return (offset & ((uint)_layout.ClusterSize - 1)) == 0
            ? offset
            : throw new Qcow2Damage($"{_file.Name}: an L2 table at {offset}");
    }

    private ClusterEntry Decode(ulong descriptor, ulong bitmap)
    {
        if ((descriptor & Qcow2Format.Compressed) != 0)
        {
            return new ClusterEntry(descriptor & (Qcow2Format.Compressed - 1), false, true, _layout.AllUnits, 0);
        }

        ulong host = descriptor & Qcow2Format.OffsetMask;
        bool isCopied = (descriptor & Qcow2Format.Copied) != 0;
        if ((host & ((uint)_layout.ClusterSize - 1)) != 0)
        {
            throw new Qcow2Damage($"{_file.Name}: a cluster at {host}");
        }

        if (!_layout.IsExtended)
        {
            bool isZero = _layout.HasZeroFlag && (descriptor & Qcow2Format.ReadsAsZeros) != 0;
            return new ClusterEntry(host, isCopied, false, host != 0 && !isZero ? 1u : 0, isZero ? 1u : 0);
        }

        uint data = (uint)bitmap;
        uint zero = (uint)(bitmap >> 32);
        return (data & zero) == 0 && (data == 0 || host != 0)
            ? new ClusterEntry(host, isCopied, false, data, zero)
            : throw new Qcow2Damage($"{_file.Name}: subclusters that are two things at once");
    }
}
