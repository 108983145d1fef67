using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Host;

namespace Hull.Files;

/// <summary>The files and folders that the guest holds open, by number; bounded. Any thread.</summary>
internal sealed class OpenFiles(FileTree tree, FolderChanges changes)
{
    private const int KeptFlags = LibcDirectories.AccessMode | LibcDirectories.Append | LibcDirectories.Truncate | LibcDirectories.Sync;
    private const int AlwaysFlags = LibcDirectories.NonBlocking | LibcDirectories.NoTerminal | LibcDirectories.CloseOnExec;
    private const int CreateTries = 8;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, OpenFile> _files = [];
    private ulong _last;

    /// <summary>The open file of a number; null when there is none.</summary>
    internal OpenFile? Find(ulong handle)
    {
        lock (_lock)
        {
            return _files.GetValueOrDefault(handle);
        }
    }

    /// <summary>Opens a regular file. Nothing else is ever opened, so nothing blocks.</summary>
    /// <param name="node">The file.</param>
    /// <param name="flags">The guest's, as of open(2); those that do not matter to us are dropped.</param>
    /// <param name="handle">The number.</param>
    internal int Open(FileNode node, uint flags, out ulong handle)
    {
        handle = 0;
        if (node.Key.Kind != FileKind.Regular)
        {
            return node.IsDirectory ? Errno.IsDirectory : Errno.AccessDenied;
        }

        int error = CheckFlags(flags, out int kept);
        return error != 0 ? error : OpenAgain(node, kept, out handle);
    }

    /// <summary>Opens a folder.</summary>
    internal int OpenFolder(FileNode node, out ulong handle)
    {
        handle = 0;
        return !node.IsDirectory ? Errno.NotDirectory
            : node.IsHollow ? Add(new OpenFile(node, null), out handle)
            : OpenAgain(node, LibcDirectories.Directory, out handle);
    }

    /// <summary>Makes a regular file and opens it, or opens the one that is there.</summary>
    internal int Create(
        FileNode parent, FileName name, uint flags, NewFile file, out FileNode? node, out FileStatus status, out ulong handle)
    {
        node = null;
        status = default;
        handle = 0;
        int error = CheckFlags(flags, out int kept);
        for (int tries = 0; error == 0 && tries < CreateTries; tries++)
        {
            // What is there already is looked at before it is opened: it may be a device.
            error = changes.MakeFile(parent, name, kept & ~LibcDirectories.Truncate, file, out HostDescriptor? opened);
            bool exists = error == Errno.Exists && (flags & LibcDirectories.Exclusive) == 0;
            if (error != 0 && !exists)
            {
                return error;
            }

            error = tree.Lookup(parent, name, out node, out status);
            if (error == 0)
            {
                error = opened is not null ? Add(new OpenFile(node!, opened), out handle) : Open(node!, flags, out handle);
                if (error != 0)
                {
                    tree.Forget(node!.Id, 1);
                }

                return error;
            }

            opened?.Release();
            error = error == Errno.NoEntry ? 0 : error;
        }

        return error != 0 ? error : Errno.NoEntry;
    }

    /// <summary>The guest closes a file.</summary>
    internal void Close(ulong handle)
    {
        OpenFile? file;
        lock (_lock)
        {
            _files.Remove(handle, out file);
        }

        file?.Descriptor?.Release();
    }

    /// <summary>Closes all.</summary>
    internal void Clear()
    {
        lock (_lock)
        {
            foreach (OpenFile file in _files.Values)
            {
                file.Descriptor?.Release();
            }

            _files.Clear();
        }
    }

    private int CheckFlags(uint flags, out int kept)
    {
        kept = (int)flags & KeptFlags;
        int access = kept & LibcDirectories.AccessMode;
        return access == LibcDirectories.AccessMode ? Errno.Invalid
            : tree.IsReadOnly && (access != LibcDirectories.ReadOnly || (kept & LibcDirectories.Truncate) != 0) ? Errno.ReadOnly
            : 0;
    }

    // By procfs's name of the O_PATH descriptor: it is the very file that was looked at.
    private int OpenAgain(FileNode node, int flags, out ulong handle)
    {
        handle = 0;
        using HostDescriptor.Lease found = tree.Use(node, out int error);
        if (error != 0)
        {
            return error;
        }

        Span<byte> path = stackalloc byte[32];
        int fd = LibcDirectories.OpenAt(
            LibcDirectories.CurrentDirectory, HostDescriptor.PathOf(found.Fd, path), flags | AlwaysFlags, 0);
        error = HostDescriptor.ErrorOf(fd);
        return error != 0 ? error : Add(new OpenFile(node, new HostDescriptor(fd)), out handle);
    }

    private int Add(OpenFile file, out ulong handle)
    {
        lock (_lock)
        {
            if (_files.Count < tree.MostOpen)
            {
                handle = ++_last;
                _files.Add(handle, file);
                return 0;
            }
        }

        handle = 0;
        file.Descriptor?.Release();
        return Errno.TooManyOpen;
    }
}
