using System;
using System.IO;
using System.Threading;
using Hull.Host;
using Microsoft.Win32.SafeHandles;

namespace Hull.Storage;

/// <summary>A file of the host's, or a block device, that holds an image.</summary>
internal sealed class ImageFile : IImageFile
{
    private readonly SafeFileHandle _file;
    private readonly bool _hasName;
    private readonly WriteBehind _behind;
    private long _end;                      // what the file must reach at least: nobody else may change it

    private ImageFile(string name, SafeFileHandle file)
    {
        Name = name;
        _file = file;
        _behind = new WriteBehind((offset, length) => LibcFiles.StartWriting(file, offset, length));
        _hasName = !LibcFiles.IsRemoved(file);
        _end = LibcFiles.Length(file);
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <summary>The open file, for who maps it.</summary>
    internal SafeFileHandle Handle => _file;

    /// <inheritdoc/>
    public ulong Length => (ulong)LibcFiles.Length(_file);

    /// <summary>Opens and locks an image: for writing alone, for reading together with other readers.</summary>
    /// <exception cref="HullException">It cannot be opened, or somebody else has it.</exception>
    internal static ImageFile Open(string path, bool readOnly)
    {
        try
        {
            RefuseFifo(path);
            return new ImageFile(path, Locked(path, readOnly, File.OpenHandle(
                path,
                FileMode.Open,
                readOnly ? FileAccess.Read : FileAccess.ReadWrite,
                readOnly ? FileShare.Read : FileShare.None)));
        }
        catch (Exception e) when (IsHostsFault(e))
        {
            bool isThere = File.Exists(path) && !LibcFiles.IsFifo(path);
            string hint = readOnly || !isThere ? "" : " (or open it with ',readonly')";
            throw new HullException($"cannot open the disk image {path}: {e.Message}{hint}");
        }
    }

    /// <summary>Makes an empty file, or empties one, and locks it.</summary>
    /// <exception cref="HullException">It cannot be made, or somebody has it open.</exception>
    internal static ImageFile Create(string path)
    {
        try
        {
            RefuseFifo(path);

            // Emptied only behind the lock: it may be somebody's disk.
            ImageFile file = new(path, Locked(path, false, File.OpenHandle(
                path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None)));
            file.SetLength(0);
            return file;
        }
        catch (Exception e) when (IsHostsFault(e))
        {
            throw new HullException($"cannot create the disk image {path}: {e.Message}");
        }
    }

    /// <inheritdoc/>
    public int Read(ulong offset, Span<byte> destination)
    {
        int done = 0;
        while (done < destination.Length)
        {
            int count = RandomAccess.Read(_file, destination[done..], (long)offset + done);
            if (count == 0)
            {
                RefuseCut();
                break;
            }

            done += count;
        }

        return done;
    }

    /// <inheritdoc/>
    public long Read(ulong offset, Span<HostRange> pieces)
    {
        long done = 0;
        while (pieces.Length > 0)
        {
            long count = LibcFiles.Read(_file, pieces, offset + (ulong)done);
            if (count == 0)
            {
                RefuseCut();
                break;
            }

            done += count > 0 ? count : throw new IOException($"cannot read {Name}: {Libc.LastErrorMessage()}");
            pieces = Behind(pieces, count);
        }

        return done;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> source)
    {
        RandomAccess.Write(_file, source, (long)offset);
        Reach((long)offset + source.Length);
        _behind.Wrote(offset, source.Length);
    }

    /// <inheritdoc/>
    public void SetLength(ulong length)
    {
        RefuseCut(); // what is lost would read as zeros below the new end
        if ((long)length < Volatile.Read(ref _end))
        {
            Volatile.Write(ref _end, (long)length);
        }

        try
        {
            RandomAccess.SetLength(_file, (long)length);
            Reach((long)length);
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw new IOException($"{Name}: the host's file system has no files of {length} bytes", e);
        }
    }

    /// <inheritdoc/>
    public void Sync()
    {
        LibcFiles.SyncData(_file, Name);
        RefuseCut();

        // What is on the disk under no name is lost with this process: nobody may be told that it is safe.
        if (_hasName && LibcFiles.IsRemoved(_file))
        {
            throw new IOException(
                $"{Name} was removed while in use (its bytes are in /proc/{Environment.ProcessId}/fd/{_file.DangerousGetHandle()} still)");
        }
    }

    /// <inheritdoc/>
    public bool TryPunch(ulong offset, ulong length) => LibcFiles.TryPunch(_file, offset, length);

    /// <inheritdoc/>
    public ulong FindRun(ulong offset, out bool isHole)
    {
        ulong end = Length;
        long data = LibcFiles.Seek(_file, offset, hole: false);
        isHole = data < 0 || (ulong)data > offset;
        if (data < 0)
        {
            // No data behind it; or a file system, or a device, that does not know: it says no hole either.
            isHole = LibcFiles.Seek(_file, offset, hole: true) >= 0;
            return Math.Max(end - Math.Min(offset, end), 1);
        }

        long next = isHole ? data : LibcFiles.Seek(_file, offset, hole: true);
        return next > (long)offset ? (ulong)next - offset : Math.Max(end - Math.Min(offset, end), 1);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_file.IsClosed)
        {
            _behind.Dispose();
            ImageLock.Release(_file);
        }

        _file.Dispose();
    }

    private void Reach(long end)
    {
        for (long old = Volatile.Read(ref _end); end > old;)
        {
            old = Interlocked.CompareExchange(ref _end, end, old);
        }
    }

    private void RefuseCut()
    {
        long end = Volatile.Read(ref _end); // first: it is told of a write when the file has it
        if (LibcFiles.Length(_file) < end)
        {
            throw new IOException($"{Name} ends at {Length}: it was cut while in use");
        }
    }

    // What is left behind the bytes that are done.
    private static Span<HostRange> Behind(Span<HostRange> pieces, long done)
    {
        while (pieces.Length > 0 && done >= pieces[0].Length)
        {
            done -= pieces[0].Length;
            pieces = pieces[1..];
        }

        if (pieces.Length > 0)
        {
            pieces[0] = pieces[0].From((int)done);
        }

        return pieces;
    }

    // To open one would be to wait for somebody at its other end.
    private static void RefuseFifo(string path)
    {
        if (LibcFiles.IsFifo(path))
        {
            throw new IOException("it is a pipe, no file");
        }
    }

    private static SafeFileHandle Locked(string path, bool readOnly, SafeFileHandle file)
    {
        if (ImageLock.TryTake(file, readOnly))
        {
            return file;
        }

        file.Dispose();
        throw new IOException($"another program, QEMU perhaps, uses it{(readOnly ? " for writing" : "")}");
    }

    private static bool IsHostsFault(Exception e) =>
        e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException;
}

/// <summary>
/// The locks by which QEMU's programs keep off each other's images: a byte for each thing that a program does with an
/// image, and one for each that it will not have others do. .NET's own lock is another one, which QEMU does not see.
/// </summary>
internal static class ImageLock
{
    private const long Does = 100;
    private const long Forbids = 200;
    private const int ReadBit = 0;
    private const int WriteBit = 1;
    private const int ResizeBit = 3;

    /// <summary>Takes the locks; they go with the file.</summary>
    /// <returns>False when another program's stand against it.</returns>
    internal static bool TryTake(SafeFileHandle file, bool readOnly)
    {
        // First all are taken, then others' are looked at: of two that come at once, one gives way or both.
        ReadOnlySpan<int> mine = readOnly ? [ReadBit] : [ReadBit, WriteBit, ResizeBit];
        ReadOnlySpan<int> forbidden = [WriteBit, ResizeBit];
        return TakeAll(file, Does, mine) && TakeAll(file, Forbids, forbidden)
            && NoneHeld(file, Forbids, mine) && NoneHeld(file, Does, forbidden);
    }

    /// <summary>Gives up the locks before the file is closed: a child process may have it open until it runs its program.</summary>
    internal static void Release(SafeFileHandle file) => LibcFiles.Unlock(file, Does, Forbids + ResizeBit + 1 - Does);

    private static bool TakeAll(SafeFileHandle file, long first, ReadOnlySpan<int> bits)
    {
        foreach (int bit in bits)
        {
            if (!LibcFiles.TryLockShared(file, first + bit))
            {
                return false;
            }
        }

        return true;
    }

    private static bool NoneHeld(SafeFileHandle file, long first, ReadOnlySpan<int> bits)
    {
        foreach (int bit in bits)
        {
            if (LibcFiles.IsLockedByOthers(file, first + bit))
            {
                return false;
            }
        }

        return true;
    }
}
