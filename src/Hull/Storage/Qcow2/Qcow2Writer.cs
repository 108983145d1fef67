using System;
using System.Buffers;
using System.IO;

namespace Hull.Storage.Qcow2;

/// <summary>Writes that change the tables. For the one that has the image alone.</summary>
internal sealed class Qcow2Writer(Qcow2Image image, Qcow2Reader reader)
{
    private readonly ClusterLayout _layout = image.Layout;

    private int ClusterSize => _layout.ClusterSize;

    /// <summary>
    /// Takes places in the file for whole clusters that have none of their own. Nobody sees them before <see cref="Link"/>,
    /// so they are filled while others have the image.
    /// </summary>
    /// <param name="offset">Where the guest writes.</param>
    /// <param name="length">How much it writes there.</param>
    /// <param name="place">Where in the file its first bytes go.</param>
    /// <returns>How many bytes; 0 when the first cluster is not wholly written, or has its place: see <see cref="WritePart"/>.</returns>
    /// <exception cref="IOException">The host cannot, or the image is damaged.</exception>
    internal int Reserve(ulong offset, int length, out ulong place)
    {
        image.BeginChange();
        ulong cluster = offset >> _layout.ClusterBits;
        image.EnsureTable(cluster);
        bool isAtStart = (offset & ((uint)ClusterSize - 1)) == 0;
        int whole = isAtStart ? CountNew(cluster, length >> _layout.ClusterBits) : 0;
        int taken = 0;
        place = whole > 0 ? image.Allocate(whole, out taken, out _) : 0;
        return taken << _layout.ClusterBits;
    }

    /// <summary>
    /// Lets the guest see reserved clusters. What others did to the same clusters since they were reserved, they did while
    /// the guest waited for both: any order is right.
    /// </summary>
    /// <exception cref="IOException">The host cannot, or the image is damaged.</exception>
    internal void Link(ulong offset, ulong place, int length)
    {
        image.BeginChange();
        ulong cluster = offset >> _layout.ClusterBits;
        for (int i = 0; i < length >> _layout.ClusterBits; i++)
        {
            ClusterEntry now = new(place + ((ulong)i << _layout.ClusterBits), true, false, _layout.AllUnits, 0);
            Replace(cluster + (uint)i, image.Map.Find(cluster + (uint)i), now);
        }

        image.CommitIfCrowded();
    }

    /// <summary>Writes the first bytes of a range, as far as its first cluster goes.</summary>
    /// <returns>How many.</returns>
    /// <exception cref="IOException">The host cannot, or the image is damaged; at worst clusters are unused then.</exception>
    internal int WritePart(ulong offset, ReadOnlySpan<byte> source)
    {
        image.BeginChange();
        ulong cluster = offset >> _layout.ClusterBits;
        int within = (int)(offset & ((uint)ClusterSize - 1));
        image.EnsureTable(cluster);
        int done = WriteWithin(cluster, within, source[..Math.Min(source.Length, ClusterSize - within)]);
        image.CommitIfCrowded();
        return done;
    }

    /// <summary>Makes clusters read as zeros, or gives them up.</summary>
    /// <param name="cluster">The first of them.</param>
    /// <param name="count">All in one L2 table.</param>
    /// <param name="keepsPlace">The place in the file stays theirs.</param>
    /// <returns>False when this image cannot say so: version 2 above a backing file.</returns>
    internal bool TryZero(ulong cluster, int count, bool keepsPlace)
    {
        image.BeginChange();
        for (ulong at = cluster; at < cluster + (uint)count; at++)
        {
            ClusterEntry old = image.Map.Find(at);
            bool isNothingBelow = reader.IsNothingBelow(at << _layout.ClusterBits);
            if (!_layout.HasZeroFlag && !isNothingBelow)
            {
                return false;
            }

            bool stays = keepsPlace && _layout.HasZeroFlag && IsOwn(old);
            ClusterEntry now = stays ? old with { Data = 0, Zero = _layout.AllUnits }
                : isNothingBelow ? ClusterEntry.Absent
                : new ClusterEntry(0, false, false, 0, _layout.AllUnits);
            if (now == old || (isNothingBelow && old == ClusterEntry.Absent))
            {
                continue;
            }

            image.EnsureTable(at);
            Replace(at, image.Map.Find(at), now);
        }

        image.CommitIfCrowded();
        return true;
    }

    private static bool IsOwn(ClusterEntry entry) => !entry.IsCompressed && entry.Host != 0 && entry.IsCopied;

    // Whole clusters from one on that need a place in the file, in one L2 table.
    private int CountNew(ulong cluster, int most)
    {
        int count = 0;
        most = (int)Math.Min((ulong)most, (1UL << _layout.L2Bits) - (cluster & ((1UL << _layout.L2Bits) - 1)));
        while (count < most && !IsOwn(image.Map.Find(cluster + (uint)count)))
        {
            count++;
        }

        return count;
    }

    private int WriteWithin(ulong cluster, int within, ReadOnlySpan<byte> source)
    {
        ClusterEntry old = image.Map.Find(cluster);
        int from = within >> _layout.UnitBits;
        int to = ((within + source.Length - 1) >> _layout.UnitBits) + 1;
        uint touched = ClusterLayout.UnitMask(from, to);
        if (IsOwn(old))
        {
            WriteOwn(cluster, old, within, source, from, to);
            image.Map.Set(cluster, old with { Data = old.Data | touched, Zero = old.Zero & ~touched });
            return source.Length;
        }

        ulong host = image.Allocate(1, out _, out bool isFresh);
        uint written = touched | old.Data;
        if (isFresh && old.Data == 0 && !_layout.IsExtended && (old.Zero != 0 || reader.IsNothingBelow(cluster << _layout.ClusterBits)))
        {
            // All around it is zeros, and zeros are there already.
            image.Extend();
            WriteNew(host, host + (uint)within, source);
        }
        else
        {
            WriteCopied(cluster, host, written, within, source);
        }

        Replace(cluster, old, new ClusterEntry(host, true, false, written, old.IsCompressed ? 0 : old.Zero & ~written));
        return source.Length;
    }

    // The place is there; units that get their first bytes are filled up with what the guest sees in them now.
    private void WriteOwn(ulong cluster, ClusterEntry old, int within, ReadOnlySpan<byte> source, int from, int to)
    {
        int start = (old.Data >> from & 1) != 0 ? within : from << _layout.UnitBits;
        int end = (old.Data >> (to - 1) & 1) != 0 ? within + source.Length : to << _layout.UnitBits;
        image.CheckData(old.Host + (uint)start, end - start);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(end - start);
        try
        {
            Fill(cluster, buffer.AsSpan(0, end - start), start, within, source);
            image.File.Write(old.Host + (uint)start, buffer.AsSpan(0, end - start));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // Runs of units go to a new place: those written now, and those that the old place has.
    private void WriteCopied(ulong cluster, ulong host, uint units, int within, ReadOnlySpan<byte> source)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(ClusterSize);
        try
        {
            // The last bytes may be missing from the file otherwise.
            image.Extend();
            for (int unit = 0; unit < _layout.Units; unit++)
            {
                int end = unit;
                while (end < _layout.Units && (units >> end & 1) != 0)
                {
                    end++;
                }

                if (end > unit)
                {
                    int start = unit << _layout.UnitBits;
                    Span<byte> part = buffer.AsSpan(0, (end << _layout.UnitBits) - start);
                    Fill(cluster, part, start, within, source);
                    image.File.Write(host + (uint)start, part);
                    unit = end;
                }
            }
        }
        catch
        {
            image.Unallocate(host, 1);
            throw;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // The bytes of a cluster from an offset on, with the guest's new ones among them.
    private void Fill(ulong cluster, Span<byte> part, int start, int within, ReadOnlySpan<byte> source)
    {
        ulong first = (cluster << _layout.ClusterBits) + (uint)start;
        int from = Math.Clamp(within - start, 0, part.Length);
        int to = Math.Clamp(within + source.Length - start, 0, part.Length);
        if (from >= to)
        {
            reader.Read(first, part);
            return;
        }

        reader.Read(first, part[..from]);
        reader.Read(first + (uint)to, part[to..]);
        source.Slice(start + from - within, to - from).CopyTo(part[from..]);
    }

    private void WriteNew(ulong host, ulong at, ReadOnlySpan<byte> source)
    {
        try
        {
            image.File.Write(at, source);
        }
        catch
        {
            image.Unallocate(host, 1);
            throw;
        }
    }

    private void Replace(ulong cluster, ClusterEntry old, ClusterEntry now)
    {
        image.Map.Set(cluster, now);
        if (old.Host == now.Host)
        {
            return;
        }

        if (old.IsCompressed)
        {
            reader.Forget(old.Host);
        }

        image.FreeLater(old);
    }
}
