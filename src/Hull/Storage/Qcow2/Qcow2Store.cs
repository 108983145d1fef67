using System;
using System.IO;
using System.Threading;
using Hull.Host;

namespace Hull.Storage.Qcow2;

/// <summary>
/// A qcow2 image as a disk: versions 2 and 3, packed clusters, subclusters, snapshots that stay as they are. Reads and
/// writes in place go on together; what changes the tables has the image alone.
/// </summary>
internal sealed class Qcow2Store : IByteStore
{
    private readonly Qcow2Image _image;
    private readonly IByteStore? _backing;
    private readonly Qcow2Reader _reader;
    private readonly Qcow2Writer _writer;
    private readonly ReaderWriterLockSlim _lock = new(LockRecursionPolicy.NoRecursion);
    private bool _changed;                  // by writes in place, which need the image's announcement too

    private Qcow2Store(Qcow2Image image, IByteStore? backing, bool readOnly)
    {
        _image = image;
        _backing = backing;
        _reader = new Qcow2Reader(image, backing);
        _writer = new Qcow2Writer(image, _reader);
        IsReadOnly = readOnly;
    }

    /// <inheritdoc/>
    public ulong Length => _image.Size & ~511UL;

    /// <inheritdoc/>
    public bool IsReadOnly { get; }

    /// <inheritdoc/>
    public uint BlockSize => (uint)Math.Max(Math.Min(1 << _image.Layout.UnitBits, 64 << 10), 512);

    /// <summary>Opens an image.</summary>
    /// <param name="file">Is the store's from now on.</param>
    /// <param name="readOnly">Nothing is changed.</param>
    /// <param name="openBacking">Opens the image below, which the header names; called only if there is one.</param>
    /// <param name="snapshot">The name or number of a snapshot to read instead of the disk; null for the disk.</param>
    /// <exception cref="HullException">It is no image that Hull can use; the message says why.</exception>
    internal static Qcow2Store Open(
        IImageFile file, bool readOnly, Func<Qcow2Header, IByteStore> openBacking, string? snapshot = null)
    {
        IByteStore? backing = null;
        try
        {
            Qcow2Image image = Qcow2Image.Open(file, readOnly, snapshot);
            backing = image.Header.BackingName is null ? null : openBacking(image.Header);
            return new Qcow2Store(image, backing, readOnly || snapshot is not null);
        }
        catch (IOException e)
        {
            file.Dispose();
            throw new HullException($"cannot read the disk image {file.Name}: {e.Message}", e);
        }
        catch
        {
            backing?.Dispose();
            file.Dispose();
            throw;
        }
    }

    /// <summary>Makes a new image.</summary>
    /// <param name="file">Is emptied, and closed at the end.</param>
    /// <param name="options">How it is to be.</param>
    /// <param name="size">Bytes that the guest sees.</param>
    /// <exception cref="HullException">The options do not go together, or the disk is too large for them.</exception>
    /// <exception cref="IOException">The host cannot write.</exception>
    internal static void Create(IImageFile file, Qcow2Options options, ulong size)
    {
        Qcow2Creator.Write(file, options);
        using Qcow2Image image = Qcow2Image.Open(file, readOnly: false);
        image.Resize(size);
        image.Commit();
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> destination)
    {
        _lock.EnterReadLock();
        try
        {
            _reader.Read(offset, destination);
        }
        finally
        {
            _lock.ExitReadLock();
        }
    }

    /// <inheritdoc/>
    public bool TryRead(ulong offset, Span<HostRange> pieces, int length)
    {
        _lock.EnterReadLock();
        try
        {
            Piece piece = _reader.FindLong(offset, length);
            if (piece.Kind != PieceKind.Data || piece.Length != length)
            {
                return false;
            }

            // Behind the file's end are zeros, for which the other way is.
            return _image.File.Read(piece.Host, pieces) == length;
        }
        finally
        {
            _lock.ExitReadLock();
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> source)
    {
        RequireWritable();
        while (source.Length > 0)
        {
            int count = WriteInPlace(offset, source);
            if (count == 0)
            {
                count = WriteNew(offset, source);
            }

            offset += (uint)count;
            source = source[count..];
        }
    }

    /// <inheritdoc/>
    public void Flush()
    {
        bool isDirty;
        _lock.EnterReadLock();
        try
        {
            isDirty = _image.IsDirty;
            if (!isDirty && !IsReadOnly)
            {
                _image.File.Sync();
            }
        }
        finally
        {
            _lock.ExitReadLock();
        }

        if (isDirty)
        {
            Alone(() => _image.Commit());
        }
    }

    /// <inheritdoc/>
    public void Discard(ulong offset, ulong length)
    {
        RequireWritable();
        ForWholeClusters(offset, length, keepsPlace: false);
    }

    /// <inheritdoc/>
    public void WriteZeroes(ulong offset, ulong length, bool mayFree)
    {
        RequireWritable();
        ulong size = (uint)_image.Layout.ClusterSize;
        ulong first = Math.Min((offset + size - 1) & ~(size - 1), offset + length);
        ulong last = Math.Max((offset + length) & ~(size - 1), first);
        WriteZeros(offset, first - offset);
        if (!ForWholeClusters(first, last - first, !mayFree))
        {
            WriteZeros(first, last - first);
        }

        WriteZeros(last, offset + length - last);
    }

    /// <inheritdoc/>
    public ulong FindRun(ulong offset, out bool isZero)
    {
        _lock.EnterReadLock();
        try
        {
            return Math.Min(_reader.FindRun(offset, out isZero), Length - offset);
        }
        finally
        {
            _lock.ExitReadLock();
        }
    }

    /// <summary>Gives the disk another size; what is cut off is gone.</summary>
    /// <exception cref="HullException">It is too large for the image's clusters.</exception>
    /// <exception cref="IOException">The host cannot.</exception>
    internal void Resize(ulong size)
    {
        RequireWritable();
        ulong old = _image.Size;
        if (size < old)
        {
            WriteZeroes(size, old - size, mayFree: true);
        }

        Alone(() => _image.Resize(size));
        ulong below = Math.Min(size, _backing?.Length ?? 0);
        if (below > old)
        {
            // What the image below has there was never the guest's.
            WriteZeroes(old, below - old, mayFree: true);
        }

        Flush();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _image.Dispose();
        _backing?.Dispose();
        _lock.Dispose();
    }

    private int WriteInPlace(ulong offset, ReadOnlySpan<byte> source)
    {
        _lock.EnterReadLock();
        try
        {
            if (!_changed || _image.IsBroken)
            {
                return 0;
            }

            Piece piece = _reader.FindLong(offset, source.Length);
            if (!piece.IsOwn || !_image.IsData(piece.Host, piece.Length))
            {
                return 0;
            }

            _image.File.Write(piece.Host, source[..piece.Length]);
            return piece.Length;
        }
        finally
        {
            _lock.ExitReadLock();
        }
    }

    // Whole clusters are written while others have the image; only their places are taken and told alone.
    private int WriteNew(ulong offset, ReadOnlySpan<byte> source)
    {
        int count;
        ulong place;
        _lock.EnterWriteLock();
        try
        {
            _changed = true;
            count = _writer.Reserve(offset, source.Length, out place);
            if (count == 0)
            {
                return _writer.WritePart(offset, source);
            }
        }
        finally
        {
            _lock.ExitWriteLock();
        }

        try
        {
            _image.File.Write(place, source[..count]);
        }
        catch
        {
            Alone(() => _image.Unallocate(place, count >> _image.Layout.ClusterBits));
            throw;
        }

        _lock.EnterWriteLock();
        try
        {
            _writer.Link(offset, place, count);
            return count;
        }
        finally
        {
            _lock.ExitWriteLock();
        }
    }

    // In portions of an L2 table's entries at the most, so that others get their turn.
    private bool ForWholeClusters(ulong offset, ulong length, bool keepsPlace)
    {
        ClusterLayout layout = _image.Layout;
        ulong cluster = (offset + (uint)layout.ClusterSize - 1) >> layout.ClusterBits;
        ulong end = (offset + length) >> layout.ClusterBits;
        while (cluster < end)
        {
            ulong inTable = (1UL << layout.L2Bits) - (cluster & ((1UL << layout.L2Bits) - 1));
            int count = (int)Math.Min(Math.Min(inTable, end - cluster), 8192);
            bool isDone = false;
            ulong first = cluster;
            Alone(() => isDone = _writer.TryZero(first, count, keepsPlace));
            if (!isDone)
            {
                return false;
            }

            cluster += (uint)count;
        }

        return true;
    }

    private void WriteZeros(ulong offset, ulong length)
    {
        byte[] zeros = new byte[(int)Math.Min(length, 64 << 10)];
        while (length > 0)
        {
            ulong run = Math.Min(FindRun(offset, out bool isZero), length);
            ulong count = isZero ? run : Math.Min(run, (uint)zeros.Length);
            if (!isZero)
            {
                Write(offset, zeros.AsSpan(0, (int)count));
            }

            offset += count;
            length -= count;
        }
    }

    private void Alone(Action change)
    {
        _lock.EnterWriteLock();
        try
        {
            change();
        }
        finally
        {
            _lock.ExitWriteLock();
        }
    }

    private void RequireWritable()
    {
        if (IsReadOnly)
        {
            throw new IOException($"{_image.File.Name} is open for reading only");
        }
    }
}
