using System;
using System.Threading;
using Hull.Host;

namespace Hull.Files;

/// <summary>A file or folder that the guest holds open. All give 0 or an error number.</summary>
internal sealed class OpenFile(FileNode node, HostDescriptor? descriptor)
{
    private readonly Lock _lock = new();
    private long _entryOffset;

    /// <summary>What is open.</summary>
    internal FileNode Node => node;

    /// <summary>The descriptor; null for an empty folder that stands for a file system of the kernel's.</summary>
    internal HostDescriptor? Descriptor => descriptor;

    /// <summary>Uses the descriptor.</summary>
    internal HostDescriptor.Lease Use(out int error)
    {
        bool open = descriptor is not null && descriptor.TryAdd();
        error = open ? 0 : Errno.BadDescriptor;
        return new HostDescriptor.Lease(open ? descriptor : null);
    }

    /// <summary>Reads bytes; fewer at the end of the file.</summary>
    internal int Read(ulong offset, Span<byte> destination, out int length)
    {
        length = 0;
        using HostDescriptor.Lease file = Use(out int error);
        if (error != 0 || offset > long.MaxValue)
        {
            return error != 0 ? error : Errno.Invalid;
        }

        nint count = LibcDirectories.ReadAt(file.Fd, destination, (nuint)destination.Length, (long)offset);
        length = (int)Math.Max(count, 0);
        return HostDescriptor.ErrorOf(count);
    }

    /// <summary>Writes bytes, perhaps not all.</summary>
    internal int Write(ulong offset, ReadOnlySpan<byte> source, bool dropsPrivileges, out int length)
    {
        length = 0;
        using HostDescriptor.Lease file = Use(out int error);
        if (error != 0 || offset > long.MaxValue)
        {
            return error != 0 ? error : Errno.Invalid;
        }

        nint count = LibcDirectories.WriteAt(file.Fd, source, (nuint)source.Length, (long)offset);
        length = (int)Math.Max(count, 0);
        error = HostDescriptor.ErrorOf(count);
        if (error == 0 && dropsPrivileges)
        {
            FileAttributes.DropPrivileges(file.Fd);
        }

        return error;
    }

    /// <summary>
    /// Reads entries of a folder from where an earlier entry said that the next one is; 0 is the start. Entries are struct
    /// linux_dirent64, getdents64(2).
    /// </summary>
    internal int ReadEntries(ulong offset, Span<byte> buffer, out int length)
    {
        length = 0;
        if (node.IsHollow)
        {
            return 0;
        }

        using HostDescriptor.Lease folder = Use(out int error);
        if (error != 0)
        {
            return error;
        }

        lock (_lock)
        {
            if ((long)offset != _entryOffset && Libc.Lseek(folder.Fd, (long)offset, 0) < 0)
            {
                return HostDescriptor.ErrorOf(-1);
            }

            nint count = LibcDirectories.GetEntries(folder.Fd, buffer, (nuint)buffer.Length);
            error = HostDescriptor.ErrorOf(count);

            // Where the host stands now is behind all that it gave, which may be more than is taken.
            _entryOffset = -1;
            length = (int)Math.Max(count, 0);
            return error;
        }
    }

    /// <summary>The host stands behind the entry whose offset this is: all entries were taken.</summary>
    internal void EntriesTaken(ulong offset)
    {
        lock (_lock)
        {
            _entryOffset = (long)offset;
        }
    }

    /// <summary>Returns when all that was written is on the disk.</summary>
    internal int Sync(bool dataOnly)
    {
        using HostDescriptor.Lease file = Use(out int error);
        return error != 0 ? error
            : HostDescriptor.ErrorOf(dataOnly ? LibcDirectories.SyncData(file.Fd) : LibcDirectories.SyncFile(file.Fd));
    }

    /// <summary>fallocate(2).</summary>
    internal int Allocate(int mode, ulong offset, ulong length)
    {
        using HostDescriptor.Lease file = Use(out int error);
        return error != 0 ? error
            : offset > long.MaxValue || length > long.MaxValue ? Errno.Invalid
            : HostDescriptor.ErrorOf(LibcDirectories.Fallocate(file.Fd, mode, (long)offset, (long)length));
    }

    /// <summary>Finds the next data or hole. lseek(2).</summary>
    internal int Seek(ulong offset, uint whence, out ulong found)
    {
        found = 0;
        using HostDescriptor.Lease file = Use(out int error);
        if (error != 0 || whence is not (Libc.SeekData or Libc.SeekHole))
        {
            return error != 0 ? error : Errno.Invalid;
        }

        long at = Libc.Lseek(file.Fd, (long)offset, (int)whence);
        found = (ulong)at;
        return HostDescriptor.ErrorOf((nint)at);
    }

    /// <summary>Copies inside the host, perhaps not all.</summary>
    internal int CopyTo(OpenFile other, ulong from, ulong to, ulong most, out uint copied)
    {
        copied = 0;
        using HostDescriptor.Lease source = Use(out int error);
        if (error != 0 || from > long.MaxValue || to > long.MaxValue)
        {
            return error != 0 ? error : Errno.Invalid;
        }

        using HostDescriptor.Lease target = other.Use(out error);
        if (error != 0)
        {
            return error;
        }

        long fromOffset = (long)from;
        long toOffset = (long)to;
        nint count = LibcDirectories.CopyRange(source.Fd, ref fromOffset, target.Fd, ref toOffset, (nuint)most, 0);
        copied = (uint)Math.Max(count, 0);
        return HostDescriptor.ErrorOf(count);
    }
}
