using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;
using Hull.Host;

namespace Hull.Files;

/// <summary>How a folder is shared.</summary>
internal sealed record FileTreeOptions
{
    /// <summary>The host's folder.</summary>
    internal required string Path { get; init; }

    /// <summary>The guest changes nothing.</summary>
    internal bool ReadOnly { get; init; }
}

/// <summary>
/// A folder of the host's as the tree of files that a guest sees. Each step is one name in one open folder, without
/// following symbolic links, so there is no way out: links are the guest's to resolve, ".." is none of our names, and
/// devices, FIFOs and sockets are shown but never opened. What fails gives an error number of Linux's. Any thread.
/// </summary>
internal sealed class FileTree : IDisposable
{
    private const int PathFlags = LibcDirectories.PathOnly | LibcDirectories.NoFollow | LibcDirectories.CloseOnExec;
    private const int StatFlags = LibcDirectories.LinkItself | LibcDirectories.NoAutomount;
    private const int DeepestPath = 1024;

    private readonly System.Threading.Lock _lock = new();
    private readonly DescriptorCache _descriptors;
    private volatile HostDescriptor _root;
    private ulong _rootDevice;

    private FileTree(FileTreeOptions options, HostDescriptor root, in FileStatus status, int descriptors)
    {
        Path = options.Path;
        _root = root;
        _rootDevice = status.Device;
        _descriptors = new DescriptorCache(descriptors);
        IsReadOnly = options.ReadOnly;
        Owners = FileOwners.OfThisProcess();
        Nodes = new NodeTable(status);
        MostOpen = 2 * descriptors;
    }

    /// <summary>The host's folder, as the user names it.</summary>
    internal string Path { get; }

    /// <summary>The guest changes nothing.</summary>
    internal bool IsReadOnly { get; }

    /// <summary>Whose the files are.</summary>
    internal FileOwners Owners { get; }

    /// <summary>The files that the guest knows.</summary>
    internal NodeTable Nodes { get; }

    /// <summary>Files that the guest may hold open at the most.</summary>
    internal int MostOpen { get; }

    /// <summary>Opens a folder.</summary>
    /// <exception cref="HullException">It cannot be shared; says why.</exception>
    internal static FileTree Open(FileTreeOptions options)
    {
        int fd = OpenRoot(options.Path);
        if (fd < 0 || LibcDirectories.Statx(fd, [0], LibcDirectories.EmptyPath, LibcDirectories.StatusMask, out FileStatus status) < 0)
        {
            throw new HullException($"cannot share {options.Path}: {Libc.LastErrorMessage()}: give a folder that is there");
        }

        if (HostFileSystems.IsOfTheKernel(fd))
        {
            _ = Libc.Close(fd);
            throw new HullException($"cannot share {options.Path}: it is the kernel's, not files: share a folder of a disk");
        }

        // One that nothing can be found in would look empty to the guest.
        if (LibcDirectories.Statx(fd, ".\0"u8, 0, LibcDirectories.StatusMask, out _) < 0)
        {
            string reason = Libc.LastErrorMessage();
            _ = Libc.Close(fd);
            throw new HullException($"cannot share {options.Path}: {reason}: Hull's user may not look into it");
        }

        Span<ulong> limits = [1024, 1024];
        _ = LibcDirectories.GetLimit(LibcDirectories.OpenFilesLimit, limits);
        return new FileTree(options, new HostDescriptor(fd), status, (int)Math.Clamp(limits[0] / 16, 32, 16384));
    }

    /// <summary>
    /// Looks whether the folder itself was removed, and takes the one that has its name now: the guest finds that in its place.
    /// </summary>
    /// <returns>False while there is none.</returns>
    internal bool TryKeepRoot()
    {
        lock (_lock)
        {
            HostDescriptor old = _root;
            old.TryAdd(); // it is ours: nobody else lets it go
            using HostDescriptor.Lease lease = new(old);
            if (Stat(lease.Fd, out FileStatus status) != 0 || status.Links != 0)
            {
                return true;
            }

            int fd = OpenRoot(Path);
            if (fd < 0)
            {
                return false;
            }

            if (Stat(fd, out status) != 0 || HostFileSystems.IsOfTheKernel(fd))
            {
                _ = Libc.Close(fd);
                return false;
            }

            _rootDevice = status.Device;
            Nodes.MoveRoot(NodeKey.Of(status));
            _root = new HostDescriptor(fd);
            old.Release();
            return true;
        }
    }

    /// <summary>Looks a name up in a folder, and counts that the guest knows what is there.</summary>
    internal int Lookup(FileNode parent, FileName name, out FileNode? node, out FileStatus status)
    {
        using HostDescriptor.Lease folder = Use(parent, out int error);
        node = null;
        status = default;
        return error != 0 ? error : parent.IsHollow ? Errno.NoEntry : Lookup(parent, folder.Fd, name, out node, out status);
    }

    /// <summary>The same, in a folder that is open.</summary>
    internal int Lookup(FileNode parent, int folder, FileName name, out FileNode? node, out FileStatus status)
    {
        node = null;
        if (LibcDirectories.Statx(folder, name.WithZero, StatFlags, LibcDirectories.StatusMask, out status) < 0)
        {
            return Marshal.GetLastPInvokeError();
        }

        bool hollow = false;
        if (status.Device != parent.Key.Device)
        {
            int error = CheckMount(folder, name, ref status, out hollow);
            if (error != 0)
            {
                return error;
            }
        }

        node = Nodes.Add(NodeKey.Of(status), parent, name.WithZero, hollow);
        return node is null ? Errno.NoMemory : 0;
    }

    /// <summary>The guest forgets some lookups of a file.</summary>
    internal void Forget(ulong id, ulong lookups)
    {
        if (Nodes.Forget(id, lookups) is { } node)
        {
            _descriptors.Drop(node);
        }
    }

    /// <summary>Forgets all that the guest knows.</summary>
    internal void Clear()
    {
        _descriptors.Clear();
        Nodes.Clear();
    }

    /// <summary>What a file is.</summary>
    internal int Stat(FileNode node, out FileStatus status)
    {
        status = default;
        using HostDescriptor.Lease file = Use(node, out int error);
        return error != 0 ? error : Stat(file.Fd, out status);
    }

    /// <summary>What an open file is.</summary>
    internal static int Stat(int fd, out FileStatus status) =>
        HostDescriptor.ErrorOf(LibcDirectories.Statx(fd, [0], LibcDirectories.EmptyPath, LibcDirectories.StatusMask, out status));

    /// <summary>The number that the guest sees: of several file systems in one tree no two files have the same.</summary>
    internal ulong GuestInode(in FileStatus status) => status.Device == _rootDevice
        ? status.Inode
        : status.Inode ^ ((status.Device ^ (status.Device >> 32)) << 44);

    /// <summary>Uses a node through an O_PATH descriptor, which is what the node says it is.</summary>
    /// <param name="node">The file.</param>
    /// <param name="error">0, or why not.</param>
    internal HostDescriptor.Lease Use(FileNode node, out int error)
    {
        error = Reach(node, out HostDescriptor? descriptor);
        return new HostDescriptor.Lease(descriptor);
    }

    /// <summary>Uses a folder whose content the guest wants to change.</summary>
    internal HostDescriptor.Lease UseToChange(FileNode folder, out int error)
    {
        if (IsReadOnly || folder.IsHollow)
        {
            error = Errno.ReadOnly;
            return default;
        }

        return Use(folder, out error);
    }

    /// <summary>A name is about to go: a file that the guest knows by it stays within reach while it does.</summary>
    internal void HoldOn(FileNode parent, int folder, FileName name)
    {
        if (LibcDirectories.Statx(folder, name.WithZero, StatFlags, LibcDirectories.StatusMask, out FileStatus status) == 0
            && Nodes.Find(NodeKey.Of(status)) is { } node && node.Place.Parent == parent)
        {
            using HostDescriptor.Lease file = Use(node, out int error);
            if (error == 0)
            {
                _descriptors.KeepNameless(node);
            }
        }
    }

    /// <summary>A file has come to a place: a node that the guest knows moves there.</summary>
    internal void Moved(FileNode parent, int folder, FileName name)
    {
        if (LibcDirectories.Statx(folder, name.WithZero, StatFlags, LibcDirectories.StatusMask, out FileStatus status) == 0
            && Nodes.Find(NodeKey.Of(status)) is { } node && node != Nodes.Root)
        {
            node.Place = new NodePlace(parent, name.WithZero.ToArray());
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Clear();
        _root.Release();
    }

    private static int OpenRoot(string path) => LibcDirectories.OpenAt(
        LibcDirectories.CurrentDirectory,
        Encoding.UTF8.GetBytes(System.IO.Path.GetFullPath(path) + "\0"),
        LibcDirectories.PathOnly | LibcDirectories.Directory | LibcDirectories.CloseOnExec,
        0);

    private int Reach(FileNode node, out HostDescriptor? descriptor)
    {
        // Up to a folder that is open, then down again, a name at a time.
        FileNode at = node;
        Stack<FileNode>? missing = null;
        while (!TryUseOpen(at, out descriptor))
        {
            missing ??= new();
            missing.Push(at);
            if (at.Place.Parent is not { } parent || missing.Count > DeepestPath)
            {
                return Errno.Stale;
            }

            at = parent;
        }

        while (missing is not null && missing.TryPop(out FileNode? next))
        {
            using HostDescriptor.Lease folder = new(descriptor);
            descriptor = null;
            int error = OpenPath(folder.Fd, next, out descriptor);
            if (error != 0)
            {
                return error;
            }

            _descriptors.Keep(next, descriptor!);
        }

        return 0;
    }

    private bool TryUseOpen(FileNode node, out HostDescriptor? descriptor)
    {
        if (node == Nodes.Root)
        {
            descriptor = _root;
            return descriptor.TryAdd();
        }

        return _descriptors.TryUse(node, out descriptor);
    }

    private static int OpenPath(int folder, FileNode node, out HostDescriptor? descriptor)
    {
        descriptor = null;
        int fd = LibcDirectories.OpenAt(folder, node.Place.Name, PathFlags, 0);
        if (fd < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            return error == Errno.NoEntry ? Errno.Stale : error;
        }

        if (Stat(fd, out FileStatus status) != 0 || NodeKey.Of(status) != node.Key)
        {
            _ = Libc.Close(fd);
            return Errno.Stale;
        }

        descriptor = new HostDescriptor(fd);
        return 0;
    }

    // Another file system is mounted there: the kernel's own are not shared.
    private static int CheckMount(int folder, FileName name, ref FileStatus status, out bool hollow)
    {
        hollow = false;
        int fd = LibcDirectories.OpenAt(folder, name.WithZero, PathFlags, 0);
        if (fd < 0)
        {
            return Marshal.GetLastPInvokeError();
        }

        int error = Stat(fd, out status);
        if (error == 0 && HostFileSystems.IsOfTheKernel(fd))
        {
            hollow = status.Kind == FileKind.Directory;
            error = hollow ? 0 : Errno.AccessDenied;
        }

        _ = Libc.Close(fd);
        return error;
    }
}
