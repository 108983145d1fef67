using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using Hull.Host;

namespace Hull.Storage.Qcow2;

/// <summary>
/// An open image: its tables, what is free, and the order in which changes reach the file. A reference is in the file only
/// behind what it refers to and its count, and a count sinks only when the reference is gone from the disk; so wherever it
/// is cut, nothing but unused clusters is left. All that changes it is for the one that has the image alone.
/// </summary>
internal sealed class Qcow2Image : IDisposable
{
    private const int MostPending = 16384;

    private readonly List<(ulong First, int Count)> _pending = [];
    private ClusterSet _metadata = new();
    private Refcounts? _refcounts;
    private ulong _length;                  // behind it nothing was ever written: it reads as zeros
    private bool _unsettled;
    private bool _announced;
    private bool _canPunch = true;

    private Qcow2Image(IImageFile file, Qcow2Header header, ClusterMap map)
    {
        File = file;
        Header = header;
        Map = map;
        Layout = header.Layout;
        Size = header.Size;
    }

    internal IImageFile File { get; }

    internal Qcow2Header Header { get; }

    internal ClusterLayout Layout { get; }

    internal ClusterMap Map { get; }

    /// <summary>Bytes that the guest sees.</summary>
    internal ulong Size { get; private set; }

    /// <summary>Damage was found while writing: nothing more is written.</summary>
    internal bool IsBroken { get; private set; }

    internal bool IsDirty => _unsettled || _refcounts is { IsDirty: true } || _pending.Count > 0;

    private Refcounts Counts => _refcounts ?? throw new IOException($"{File.Name} is open for reading only");

    /// <summary>Opens an image.</summary>
    /// <param name="file">Is the image's from now on.</param>
    /// <param name="readOnly">Nothing will be changed.</param>
    /// <param name="snapshot">The name or number of a snapshot to read instead of the disk; null for the disk.</param>
    /// <exception cref="HullException">It is no image that Hull can use; the message says why.</exception>
    /// <exception cref="IOException">The host cannot read.</exception>
    internal static Qcow2Image Open(IImageFile file, bool readOnly, string? snapshot = null)
    {
        try
        {
            Qcow2Header header = Qcow2Header.Read(file);
            if (!readOnly && header.IsCorrupt)
            {
                throw new HullException($"{file.Name} is marked as damaged: run: hull image check --repair all {file.Name}");
            }

            if (!readOnly && header.IsDirty)
            {
                // Its counts were left behind: Version 3's "lazy refcounts".
                Qcow2Check.Run(file, Qcow2Repair.All);
                header = Qcow2Header.Read(file);
                if (header.IsDirty)
                {
                    throw new HullException($"{file.Name} was not closed and cannot be mended: see: hull image check {file.Name}");
                }
            }

            return snapshot is null ? OpenDisk(file, header, readOnly) : OpenSnapshot(file, header, snapshot);
        }
        catch (Qcow2Damage e)
        {
            throw new HullException($"{e.Message}: the image is damaged; look with: hull image check {file.Name}", e);
        }
    }

    /// <summary>To be called before each change: the first one tells the image that it changes.</summary>
    /// <exception cref="IOException">The image is broken, or the host cannot write.</exception>
    internal void BeginChange()
    {
        if (IsBroken)
        {
            throw new IOException($"{File.Name} is damaged: nothing more is written; look with: hull image check {File.Name}");
        }

        if (!_announced)
        {
            Announce();
            _announced = true;
        }

        _unsettled = true;
    }

    /// <summary>Takes neighbouring free clusters.</summary>
    /// <param name="wanted">At the most.</param>
    /// <param name="taken">At least 1.</param>
    /// <param name="isFresh">All of them read as zeros.</param>
    /// <returns>Offset in the file.</returns>
    internal ulong Allocate(int wanted, out int taken, out bool isFresh)
    {
        ulong offset = Counts.Allocate(wanted, out taken) << Layout.ClusterBits;
        isFresh = offset >= _length;
        _length = Math.Max(_length, offset + ((ulong)taken << Layout.ClusterBits));
        return offset;
    }

    /// <summary>
    /// Makes the file long enough for all that is allocated. Reserved clusters are written meanwhile, so that no length
    /// that was read before may be set again: theirs is in what was allocated.
    /// </summary>
    internal void Extend()
    {
        if (File.Length < _length)
        {
            File.SetLength(_length);
        }
    }

    /// <summary>Takes back what was allocated and never referred to.</summary>
    internal void Unallocate(ulong offset, int count)
    {
        for (int i = 0; i < count; i++)
        {
            Counts.Release((offset >> Layout.ClusterBits) + (uint)i);
        }
    }

    /// <summary>A reference is gone from the tables: the cluster is given up when that is on the disk.</summary>
    internal void FreeLater(ClusterEntry entry)
    {
        if (entry.IsCompressed)
        {
            (ulong offset, int length) = Decompressor.Range(Layout, entry.Host);
            ulong first = offset >> Layout.ClusterBits;
            FreeLater(first, (int)(((offset + (uint)length - 1) >> Layout.ClusterBits) - first) + 1);
        }
        else if (entry.Host != 0)
        {
            FreeLater(entry.Host >> Layout.ClusterBits, 1);
        }
    }

    /// <summary>Commits when much has gathered.</summary>
    internal void CommitIfCrowded()
    {
        if (_pending.Count > MostPending || Map.IsCrowded || Counts.IsCrowded)
        {
            Commit();
        }
    }

    /// <summary>Makes sure that a guest's cluster has a table that is the disk's alone.</summary>
    internal void EnsureTable(ulong cluster)
    {
        if (!Map.NeedsTable(cluster, out ulong old))
        {
            return;
        }

        ulong offset = Allocate(1, out _, out _);
        _metadata.Add(offset >> Layout.ClusterBits);
        Map.GiveTable(cluster, offset, old);
        if (old != 0)
        {
            Map.OwnEntries(cluster, host => Counts.Get(host >> Layout.ClusterBits) == 1);
            FreeLater(old >> Layout.ClusterBits, 1);
        }
    }

    /// <summary>Whether no metadata are in a range of the file. For writes in place too.</summary>
    internal bool IsData(ulong offset, int length)
    {
        ulong first = offset >> Layout.ClusterBits;
        return !_metadata.ContainsAny(first, ((offset + (uint)length - 1) >> Layout.ClusterBits) - first + 1);
    }

    /// <summary>Checks that data may go to a place in the file.</summary>
    /// <exception cref="Qcow2Damage">Metadata are there: the image is damaged, and marked so.</exception>
    internal void CheckData(ulong offset, int length)
    {
        if (!IsData(offset, length))
        {
            MarkBroken();
            throw new Qcow2Damage($"{File.Name}: data at {offset}, where metadata are");
        }
    }

    /// <summary>Brings all changes to the disk.</summary>
    /// <exception cref="IOException">The host cannot; what is not there is tried again next time.</exception>
    internal void Commit()
    {
        if (!IsDirty || _refcounts is null)
        {
            File.Sync();
            return;
        }

        ulong oldTable = _refcounts.Write(out int oldClusters);
        if (oldClusters > 0)
        {
            FreeLater(oldTable, oldClusters);
        }

        // Nothing on the disk refers to the new L2 tables yet: they go with the data.
        Map.WriteNew();
        File.Sync();
        if (_unsettled)
        {
            Map.Write();
            File.Sync();
            _unsettled = false;
        }

        ApplyFrees();
    }

    /// <summary>Gives the disk another size. What is cut off is to be discarded before.</summary>
    /// <exception cref="IOException">The host cannot.</exception>
    internal void Resize(ulong size)
    {
        BeginChange();
        ulong needed = Qcow2Header.NeededL1Entries(Layout, size);
        if (needed > Qcow2Format.MostL1Entries)
        {
            throw new HullException($"{File.Name}: {size} bytes are too many for clusters of {Layout.ClusterSize}");
        }

        Commit();
        if (needed > (ulong)Map.L1.Length)
        {
            MoveL1((int)needed);
        }

        Span<byte> field = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(field, size);
        File.Write(24, field);
        File.Sync();
        Size = size;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        try
        {
            // The second time for what the first one has set free.
            for (int i = 0; i < 2 && IsDirty && !IsBroken; i++)
            {
                Commit();
            }
        }
        catch (IOException)
        {
            // Nobody was told that it is safe, and what is on the disk is whole.
        }

        File.Dispose();
    }

    private static Qcow2Image OpenDisk(IImageFile file, Qcow2Header header, bool readOnly)
    {
        ulong length = file.Length;
        if (header.L1Offset + ((ulong)header.L1Entries * 8) > length || header.RefcountTableOffset >= length)
        {
            throw new Qcow2Damage($"{file.Name} ends before its tables");
        }

        ClusterMap map = new(file, header.Layout, header.L1Offset, header.L1Entries);
        Qcow2Image image = new(file, header, map);
        if (!readOnly)
        {
            List<Qcow2Snapshot> snapshots = Qcow2Snapshot.ReadAll(file, header, out _);
            ClusterSet unset = new();
            Refcounts blocks = Refcounts.Open(file, header, unset);
            image._metadata = MetadataMap.Collect(file, header, map.L1, blocks.Blocks, snapshots);
            image._refcounts = Refcounts.Open(file, header, image._metadata);
            image._length = (length + (uint)header.Layout.ClusterSize - 1) & ~((ulong)header.Layout.ClusterSize - 1);
        }

        return image;
    }

    private static Qcow2Image OpenSnapshot(IImageFile file, Qcow2Header header, string name)
    {
        List<Qcow2Snapshot> snapshots = Qcow2Snapshot.ReadAll(file, header, out _);
        Qcow2Snapshot snapshot = snapshots.Find(one => one.Name == name) ?? snapshots.Find(one => one.Id == name)
            ?? throw new HullException($"{file.Name} has no snapshot '{name}': see: hull image info {file.Name}");
        ClusterMap map = new(file, header.Layout, snapshot.L1Offset, snapshot.L1Entries);
        return new Qcow2Image(file, header, map) { Size = snapshot.DiskSize };
    }

    // Features that a program does not know are switched off by whoever changes the image: "autoclear_features".
    private void Announce()
    {
        if (Header.Version == 2)
        {
            return;
        }

        List<Qcow2Bitmap> bitmaps = Qcow2Bitmap.ReadAll(File, Header, out _, out _);
        Span<byte> field = stackalloc byte[8];
        foreach (Qcow2Bitmap bitmap in bitmaps)
        {
            if ((bitmap.Flags & (Qcow2Bitmap.Records | Qcow2Bitmap.InUse)) == Qcow2Bitmap.Records)
            {
                BinaryPrimitives.WriteUInt32BigEndian(field, bitmap.Flags | Qcow2Bitmap.InUse);
                File.Write(bitmap.FlagsOffset, field[..4]);
            }
        }

        ulong kept = Header.Autoclear & Qcow2Format.BitmapsValid;
        if (kept != Header.Autoclear)
        {
            BinaryPrimitives.WriteUInt64BigEndian(field, kept);
            File.Write(88, field);
        }

        if (bitmaps.Count > 0 || kept != Header.Autoclear)
        {
            File.Sync();
        }
    }

    private void MarkBroken()
    {
        IsBroken = true;
        if (Header.Version == 3)
        {
            Span<byte> field = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64BigEndian(field, Header.Incompatible | Qcow2Format.Corrupt);
            File.Write(72, field);
        }
    }

    private void FreeLater(ulong first, int count)
    {
        // Neighbours, as of a discard, are one.
        if (_pending.Count > 0 && _pending[^1].First + (uint)_pending[^1].Count == first)
        {
            _pending[^1] = (_pending[^1].First, _pending[^1].Count + count);
            return;
        }

        _pending.Add((first, count));
    }

    private void ApplyFrees()
    {
        while (_pending.Count > 0)
        {
            (ulong first, int count) = _pending[^1];
            _pending.RemoveAt(_pending.Count - 1);
            ulong run = 0;
            for (ulong cluster = first; cluster < first + (uint)count; cluster++)
            {
                if (Counts.Release(cluster))
                {
                    _metadata.Remove(cluster);
                    Map.Forget(cluster << Layout.ClusterBits);
                    run++;
                    continue;
                }

                Punch(cluster - run, run);
                run = 0;
            }

            Punch(first + (uint)count - run, run);
            _length = Math.Max(_length, (first + (uint)count) << Layout.ClusterBits);
        }
    }

    private void Punch(ulong cluster, ulong count)
    {
        if (count > 0 && _canPunch)
        {
            _canPunch = File.TryPunch(cluster << Layout.ClusterBits, count << Layout.ClusterBits);
        }
    }

    private void MoveL1(int entries)
    {
        int clusters = (int)((((ulong)entries * 8) + (uint)Layout.ClusterSize - 1) >> Layout.ClusterBits);
        ulong[] table = new ulong[entries];
        Map.L1.CopyTo(table);
        ulong first = Counts.AllocateTogether(clusters);
        ulong offset = first << Layout.ClusterBits;
        _length = Math.Max(_length, offset + ((ulong)clusters << Layout.ClusterBits));
        Extend();
        EntryTable.Write(File, offset, table, 0, entries);
        Commit();
        int old = (int)((((ulong)Map.L1.Length * 8) + (uint)Layout.ClusterSize - 1) >> Layout.ClusterBits);
        Span<byte> fields = stackalloc byte[12];
        BinaryPrimitives.WriteUInt32BigEndian(fields, (uint)entries);
        BinaryPrimitives.WriteUInt64BigEndian(fields[4..], offset);
        File.Write(36, fields);
        File.Sync();
        for (int i = 0; i < clusters; i++)
        {
            _metadata.Add(first + (uint)i);
        }

        FreeLater(Map.L1Offset >> Layout.ClusterBits, old);
        Map.MoveL1(offset, table);
    }
}
