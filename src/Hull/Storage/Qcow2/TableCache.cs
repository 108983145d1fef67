using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using System.Threading;

namespace Hull.Storage.Qcow2;

/// <summary>One cluster of metadata in memory, in the file's byte order, and which part of it the file does not have yet.</summary>
internal sealed class CachedTable(ulong offset, byte[] bytes)
{
    internal ulong Offset { get; } = offset;

    internal byte[] Bytes { get; } = bytes;

    /// <summary>First byte to be written; at or behind <see cref="DirtyTo"/> when there is none.</summary>
    internal int DirtyFrom { get; private set; } = int.MaxValue;

    internal int DirtyTo { get; private set; }

    internal bool IsDirty => DirtyTo > DirtyFrom;

    /// <summary>When it was used last, for the cache.</summary>
    internal long LastUse { get; set; }

    internal ulong Get64(int at) => BinaryPrimitives.ReadUInt64BigEndian(Bytes.AsSpan(at));

    internal void Set64(int at, ulong value)
    {
        BinaryPrimitives.WriteUInt64BigEndian(Bytes.AsSpan(at), value);
        Touch(at, 8);
    }

    internal void Touch(int at, int length)
    {
        DirtyFrom = Math.Min(DirtyFrom, at);
        DirtyTo = Math.Max(DirtyTo, at + length);
    }

    internal void Written()
    {
        DirtyFrom = int.MaxValue;
        DirtyTo = 0;
    }
}

/// <summary>
/// A bounded cache of clusters with metadata. Reading is for any thread; what changes a table is for the one that has the
/// image alone. Changed tables stay until <see cref="WriteDirty"/>: who changes many calls it in time.
/// </summary>
internal sealed class TableCache(IImageFile file, int clusterSize, int capacityBytes)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, CachedTable> _tables = [];
    private readonly int _capacity = Math.Max(capacityBytes / clusterSize, 4);
    private readonly List<CachedTable> _dirty = [];
    private long _clock;

    /// <summary>So many tables are changed that they should be written soon.</summary>
    internal bool IsCrowded => _dirty.Count > _capacity / 2;

    internal bool IsDirty => _dirty.Count > 0;

    /// <summary>A table, from the file if need be.</summary>
    /// <exception cref="IOException">The host cannot read.</exception>
    internal CachedTable Get(ulong offset)
    {
        lock (_lock)
        {
            if (!_tables.TryGetValue(offset, out CachedTable? table))
            {
                byte[] bytes = new byte[clusterSize];
                file.ReadPadded(offset, bytes);
                table = Add(new CachedTable(offset, bytes));
            }

            table.LastUse = ++_clock;
            return table;
        }
    }

    /// <summary>A table that is new, with all of it to be written.</summary>
    internal CachedTable Create(ulong offset, ReadOnlySpan<byte> content)
    {
        lock (_lock)
        {
            CachedTable table = new(offset, new byte[clusterSize]);
            content.CopyTo(table.Bytes);
            _tables.Remove(offset);
            Add(table).LastUse = ++_clock;
            table.Touch(0, clusterSize);
            _dirty.Add(table);
            return table;
        }
    }

    /// <summary>Changes an entry of 64 bits.</summary>
    internal void Set64(CachedTable table, int at, ulong value)
    {
        Changed(table, at, 8);
        table.Set64(at, value);
    }

    /// <summary>Some bytes of a table are about to change.</summary>
    internal void Changed(CachedTable table, int at, int length)
    {
        if (!table.IsDirty)
        {
            // It may have left the cache since it was got: one that is changed is in it.
            lock (_lock)
            {
                _tables[table.Offset] = table;
            }

            _dirty.Add(table);
        }

        table.Touch(at, length);
    }

    /// <summary>Writes what has changed. It is safe only behind the file's next sync.</summary>
    /// <exception cref="IOException">The host cannot; what was not written stays changed.</exception>
    internal void WriteDirty()
    {
        while (_dirty.Count > 0)
        {
            WriteChanged(_dirty[^1]);
            _dirty.RemoveAt(_dirty.Count - 1);
        }
    }

    /// <summary>Writes what has changed in one table, before the others.</summary>
    /// <exception cref="IOException">The host cannot.</exception>
    internal void Write(ulong offset)
    {
        CachedTable? table;
        lock (_lock)
        {
            _tables.TryGetValue(offset, out table);
        }

        // One that is not here has no changes.
        if (table is not null)
        {
            WriteChanged(table);
        }
    }

    /// <summary>Forgets a table that is one no more, changes and all.</summary>
    internal void Forget(ulong offset)
    {
        lock (_lock)
        {
            if (_tables.Remove(offset, out CachedTable? table) && table.IsDirty)
            {
                table.Written();
                _dirty.Remove(table);
            }
        }
    }

    private void WriteChanged(CachedTable table)
    {
        if (table.IsDirty)
        {
            file.Write(table.Offset + (uint)table.DirtyFrom, table.Bytes.AsSpan(table.DirtyFrom..table.DirtyTo));
            table.Written();
        }
    }

    private CachedTable Add(CachedTable table)
    {
        if (_tables.Count >= _capacity)
        {
            Evict();
        }

        _tables.Add(table.Offset, table);
        return table;
    }

    // The oldest quarter of those that the file has as they are: a search for each table would take too long.
    private void Evict()
    {
        List<CachedTable> clean = [];
        foreach (CachedTable table in _tables.Values)
        {
            if (!table.IsDirty)
            {
                clean.Add(table);
            }
        }

        clean.Sort((one, other) => one.LastUse.CompareTo(other.LastUse));
        int count = Math.Min(Math.Max(_capacity / 4, 1), clean.Count);
        foreach (CachedTable table in clean[..count])
        {
            _tables.Remove(table.Offset);
        }
    }
}
