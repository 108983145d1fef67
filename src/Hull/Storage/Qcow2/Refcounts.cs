using System;
using System.Buffers.Binary;
using System.IO;

namespace Hull.Storage.Qcow2;

/// <summary>
/// How often each cluster of the file is referred to, and so which are free. All calls are for the one that has the image
/// alone. What it changes reaches the file by <see cref="Write"/>. QEMU's docs/interop/qcow2.txt, "Host cluster management".
/// </summary>
internal sealed class Refcounts
{
    private const int CacheBytes = 4 << 20;

    private readonly IImageFile _file;
    private readonly ClusterLayout _layout;
    private readonly ClusterSet _metadata;
    private readonly TableCache _blocks;
    private readonly int _order;
    private readonly int _blockBits;
    private ulong[] _table;
    private ulong _tableOffset;
    private int _tableOnDisk;               // entries that the table in the file has room for
    private ulong _biggerTable;             // where the larger table goes; 0 when the one in the file is large enough
    private int _dirtyFrom = int.MaxValue;
    private int _dirtyTo;
    private ulong _hint;
    private bool _placing;

    private Refcounts(IImageFile file, ClusterLayout layout, int order, ulong tableOffset, ulong[] table, ClusterSet metadata)
    {
        _file = file;
        _layout = layout;
        _order = order;
        _metadata = metadata;
        _tableOffset = tableOffset;
        _table = table;
        _tableOnDisk = table.Length;
        _blockBits = layout.ClusterBits + 3 - order;
        _blocks = new TableCache(file, layout.ClusterSize, CacheBytes);
    }

    /// <summary>Log2 of the clusters that one block counts.</summary>
    internal int BlockBits => _blockBits;

    /// <summary>The offsets of the blocks; 0 where there is none.</summary>
    internal ReadOnlySpan<ulong> Blocks => _table;

    internal bool IsCrowded => _blocks.IsCrowded;

    internal bool IsDirty => _blocks.IsDirty || _dirtyTo > _dirtyFrom || _biggerTable != 0;

    private int ClusterSize => _layout.ClusterSize;

    /// <summary>Reads the table of blocks.</summary>
    /// <exception cref="Qcow2Damage">An entry is none.</exception>
    /// <exception cref="IOException">The host cannot read.</exception>
    internal static Refcounts Open(IImageFile file, Qcow2Header header, ClusterSet metadata) => new(
        file, header.Layout, header.RefcountOrder, header.RefcountTableOffset,
        EntryTable.Read(file, header.RefcountTableOffset, header.RefcountTableClusters << (header.Layout.ClusterBits - 3)),
        metadata);

    /// <summary>References to a cluster.</summary>
    internal ulong Get(ulong cluster)
    {
        CachedTable? block = Find(cluster);
        return block is null ? 0 : Count(block.Bytes, (int)(cluster & Mask), _order);
    }

    /// <summary>Sets the references to a cluster that a block counts already.</summary>
    internal void Set(ulong cluster, ulong count)
    {
        CachedTable block = Find(cluster) ?? throw new Qcow2Damage($"no reference count for cluster {cluster}");
        int index = (int)(cluster & Mask);
        int at = index << _order >> 3;
        _blocks.Changed(block, at, Math.Max(1 << _order >> 3, 1));
        SetCount(block.Bytes, index, _order, count);
        if (count == 0)
        {
            _hint = Math.Min(_hint, cluster);
        }
    }

    /// <summary>Takes neighbouring free clusters; each has one reference then.</summary>
    /// <param name="wanted">At the most.</param>
    /// <param name="taken">At least 1.</param>
    /// <returns>The first one's number.</returns>
    internal ulong Allocate(int wanted, out int taken)
    {
        ulong first = _hint;
        while (!IsFree(first))
        {
            first++;
        }

        taken = 1;
        while (taken < wanted && IsFree(first + (uint)taken) && HasBlock(first + (uint)taken))
        {
            taken++;
        }

        if (HasBlock(first))
        {
            Take(first, taken);
            _hint = first + (uint)taken;
            return first;
        }

        // Behind what the blocks count: a new block takes a place there too.
        taken = (int)Math.Min((ulong)wanted, (1UL << _blockBits) - 1);
        return AllocateTogether(taken);
    }

    /// <summary>Takes free clusters that lie together, however many.</summary>
    internal ulong AllocateTogether(int count)
    {
        ulong start = _hint;
        int missing = 0;
        for (ulong at = start; ; at++)
        {
            if (!IsFree(at))
            {
                start = at + 1;
                missing = 0;
                continue;
            }

            if (!HasBlock(at) && (at == start || (at & Mask) == 0))
            {
                missing++;
            }

            if (at - start + 1 == (uint)(count + missing))
            {
                TakeWithBlocks(start, count, missing);
                return start;
            }
        }
    }

    /// <summary>One reference less.</summary>
    /// <returns>True when nobody refers to it any more.</returns>
    internal bool Release(ulong cluster)
    {
        ulong count = Get(cluster);
        if (count == 0)
        {
            return false;
        }

        Set(cluster, count - 1);
        return count == 1;
    }

    /// <summary>Writes what has changed, in an order that leaves no block behind that the table does not know.</summary>
    /// <returns>The clusters of a table that was replaced, to be released; none when <paramref name="count"/> is 0.</returns>
    internal ulong Write(out int count)
    {
        count = 0;
        _blocks.WriteDirty();
        if (_biggerTable != 0)
        {
            return Replace(out count);
        }

        if (_dirtyTo > _dirtyFrom)
        {
            _file.Sync();
            EntryTable.Write(_file, _tableOffset, _table, _dirtyFrom, _dirtyTo);
            _dirtyFrom = int.MaxValue;
            _dirtyTo = 0;
        }

        return 0;
    }

    private ulong Mask => (1UL << _blockBits) - 1;

    private bool HasBlock(ulong cluster)
    {
        ulong index = cluster >> _blockBits;
        return index < (ulong)_table.Length && (_table[index] & Qcow2Format.OffsetMask) != 0;
    }

    private bool IsFree(ulong cluster)
    {
        if (cluster >= Qcow2Format.MostBytes >> _layout.ClusterBits)
        {
            throw new IOException($"{_file.Name} is as large as qcow2 can be");
        }

        return Get(cluster) == 0 && !_metadata.Contains(cluster);
    }

    private CachedTable? Find(ulong cluster)
    {
        ulong index = cluster >> _blockBits;
        if (index >= (ulong)_table.Length || _table[index] == 0)
        {
            return null;
        }

        ulong offset = _table[index];
        return (offset & ~Qcow2Format.OffsetMask) == 0 && (offset & ((uint)ClusterSize - 1)) == 0 && offset < Qcow2Format.MostBytes
            ? _blocks.Get(offset)
            : throw new Qcow2Damage($"a block of reference counts at {offset}");
    }

    private void Take(ulong first, int count)
    {
        for (int i = 0; i < count; i++)
        {
            Set(first + (uint)i, 1);
        }
    }

    // The blocks that are missing lie behind what was asked for, and count themselves.
    private void TakeWithBlocks(ulong start, int count, int missing)
    {
        ulong last = (start + (uint)(count + missing) - 1) >> _blockBits;
        if (last >= (ulong)_table.Length)
        {
            Enlarge(last);
        }

        ulong at = start + (uint)count;
        for (ulong index = start >> _blockBits; index <= last; index++)
        {
            if (_table[index] != 0)
            {
                continue;
            }

            _blocks.Create(at << _layout.ClusterBits, []);
            _metadata.Add(at);
            _table[index] = at << _layout.ClusterBits;
            _dirtyFrom = Math.Min(_dirtyFrom, (int)index);
            _dirtyTo = Math.Max(_dirtyTo, (int)index + 1);
            at++;
        }

        Take(start, count + missing);
        if (start <= _hint)
        {
            _hint = start + (uint)(count + missing);
        }

        if (_table.Length > _tableOnDisk && _biggerTable == 0 && !_placing)
        {
            PlaceTable();
        }
    }

    private void Enlarge(ulong index)
    {
        // Room for what is wanted, for the table's own clusters, and for as much again.
        ulong perCluster = (ulong)ClusterSize / 8;
        ulong entries = Math.Max(index + 1 + perCluster, (ulong)_table.Length * 3 / 2);
        entries = (entries + perCluster - 1) / perCluster * perCluster;
        if (entries > Qcow2Format.MostRefcountTableBytes / 8)
        {
            throw new IOException($"{_file.Name} is too large for its cluster size");
        }

        // One that waits for its place is not large enough any more.
        _biggerTable = 0;
        Array.Resize(ref _table, (int)entries);
    }

    private void PlaceTable()
    {
        _placing = true;
        ulong at;
        int clusters;
        do
        {
            // Taking the place may need a block that even the larger table has no entry for.
            clusters = _table.Length >> (_layout.ClusterBits - 3);
            at = AllocateTogether(clusters);
        }
        while (_table.Length >> (_layout.ClusterBits - 3) != clusters);

        _placing = false;
        for (int i = 0; i < clusters; i++)
        {
            _metadata.Add(at + (uint)i);
        }

        _biggerTable = at << _layout.ClusterBits;
    }

    // The header is told only when the new table and all blocks are on the disk.
    private ulong Replace(out int count)
    {
        EntryTable.Write(_file, _biggerTable, _table, 0, _table.Length);
        _file.Sync();
        Span<byte> fields = stackalloc byte[12];
        BinaryPrimitives.WriteUInt64BigEndian(fields, _biggerTable);
        BinaryPrimitives.WriteUInt32BigEndian(fields[8..], (uint)(_table.Length >> (_layout.ClusterBits - 3)));
        _file.Write(48, fields);
        _file.Sync();
        ulong old = _tableOffset;
        count = _tableOnDisk >> (_layout.ClusterBits - 3);
        _tableOffset = _biggerTable;
        _tableOnDisk = _table.Length;
        _biggerTable = 0;
        _dirtyFrom = int.MaxValue;
        _dirtyTo = 0;
        return old >> _layout.ClusterBits;
    }

    /// <summary>A count in a block, of 2^order bits; of less than a byte the low bits come first.</summary>
    internal static ulong Count(ReadOnlySpan<byte> block, int index, int order) => order switch
    {
        < 3 => (uint)(block[index << order >> 3] >> ((index << order) & 7)) & ((1u << (1 << order)) - 1),
        3 => block[index],
        4 => BinaryPrimitives.ReadUInt16BigEndian(block[(index * 2)..]),
        5 => BinaryPrimitives.ReadUInt32BigEndian(block[(index * 4)..]),
        _ => BinaryPrimitives.ReadUInt64BigEndian(block[(index * 8)..]),
    };

    /// <summary>Sets a count in a block: see <see cref="Count"/>.</summary>
    internal static void SetCount(Span<byte> block, int index, int order, ulong value)
    {
        switch (order)
        {
            case < 3:
                int shift = (index << order) & 7;
                uint mask = (1u << (1 << order)) - 1;
                ref byte cell = ref block[index << order >> 3];
                cell = (byte)((cell & ~(mask << shift)) | ((uint)value << shift));
                break;
            case 3:
                block[index] = (byte)value;
                break;
            case 4:
                BinaryPrimitives.WriteUInt16BigEndian(block[(index * 2)..], (ushort)value);
                break;
            case 5:
                BinaryPrimitives.WriteUInt32BigEndian(block[(index * 4)..], (uint)value);
                break;
            default:
                BinaryPrimitives.WriteUInt64BigEndian(block[(index * 8)..], value);
                break;
        }
    }
}
