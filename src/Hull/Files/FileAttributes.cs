using System;
using Hull.Host;

namespace Hull.Files;

/// <summary>What a guest wants changed about a file; null leaves it.</summary>
internal readonly record struct AttributeChange
{
    internal ulong? Size { get; init; }

    internal uint? Mode { get; init; }

    internal uint? Uid { get; init; }

    internal uint? Gid { get; init; }

    /// <summary>Nanoseconds may be <see cref="LibcDirectories.TimeNow"/>.</summary>
    internal (long Seconds, long Ns)? Accessed { get; init; }

    /// <summary>Nanoseconds may be <see cref="LibcDirectories.TimeNow"/>.</summary>
    internal (long Seconds, long Ns)? Modified { get; init; }

    /// <summary>A change of size takes set-user-ID and set-group-ID away.</summary>
    internal bool DropsPrivileges { get; init; }
}

/// <summary>What is kept about a file beside its bytes. All give 0 or an error number.</summary>
internal sealed class FileAttributes(FileTree tree)
{
    private const int AttributeBytes = 64 << 10;

    /// <summary>Changes attributes.</summary>
    /// <param name="node">The file.</param>
    /// <param name="opened">A descriptor that may write, where the guest named one; else -1.</param>
    /// <param name="change">What to change.</param>
    internal int Set(FileNode node, int opened, in AttributeChange change)
    {
        if (tree.IsReadOnly || node.IsHollow)
        {
            return Errno.ReadOnly;
        }

        using HostDescriptor.Lease file = tree.Use(node, out int error);
        if (error != 0)
        {
            return error;
        }

        Span<byte> buffer = stackalloc byte[32];
        ReadOnlySpan<byte> path = HostDescriptor.PathOf(file.Fd, buffer);
        if (change.Size is ulong size)
        {
            error = SetSize(node, opened, path, size, change.DropsPrivileges);
        }

        if (error == 0 && change.Mode is uint mode)
        {
            error = node.Key.Kind == FileKind.Link
                ? Errno.NotSupported
                : HostDescriptor.ErrorOf(
                    LibcDirectories.ChmodAt(LibcDirectories.CurrentDirectory, path, mode & FileKind.Permissions, 0));
        }

        if (error == 0 && (change.Uid ?? change.Gid) is not null && tree.Owners.PassThrough)
        {
            uint uid = change.Uid ?? FileOwners.Same;
            uint gid = change.Gid ?? FileOwners.Same;
            error = HostDescriptor.ErrorOf(LibcDirectories.ChownAt(file.Fd, [0], uid, gid, LibcDirectories.EmptyPath));
        }

        if (error == 0 && (change.Accessed ?? change.Modified) is not null)
        {
            (long seconds, long ns) accessed = change.Accessed ?? (0, LibcDirectories.TimeOmit);
            (long seconds, long ns) modified = change.Modified ?? (0, LibcDirectories.TimeOmit);
            error = HostDescriptor.ErrorOf(LibcDirectories.SetTimesAt(
                file.Fd, [0], [accessed.seconds, accessed.ns, modified.seconds, modified.ns], LibcDirectories.EmptyPath));
        }

        return error;
    }

    /// <summary>Reads an extended attribute.</summary>
    /// <param name="node">The file.</param>
    /// <param name="nameWithZero">The attribute.</param>
    /// <param name="value">Gets it; empty to ask for its length alone.</param>
    /// <param name="length">Bytes of it.</param>
    internal int Get(FileNode node, ReadOnlySpan<byte> nameWithZero, Span<byte> value, out int length)
    {
        length = 0;
        using HostDescriptor.Lease file = UseFor(node, nameWithZero, out int error);
        if (error != 0)
        {
            return error;
        }

        Span<byte> path = stackalloc byte[32];
        nint count = LibcDirectories.GetAttribute(HostDescriptor.PathOf(file.Fd, path), nameWithZero, value, (nuint)value.Length);
        length = (int)count;
        return HostDescriptor.ErrorOf(count);
    }

    /// <summary>Reads the names of the extended attributes, each with a zero behind it.</summary>
    internal int List(FileNode node, Span<byte> names, out int length)
    {
        length = 0;
        using HostDescriptor.Lease file = UseFor(node, default, out int error);
        if (error != 0)
        {
            return error;
        }

        Span<byte> path = stackalloc byte[32];
        nint count = LibcDirectories.ListAttributes(HostDescriptor.PathOf(file.Fd, path), names, (nuint)names.Length);
        length = (int)count;
        return HostDescriptor.ErrorOf(count);
    }

    /// <summary>Sets an extended attribute; flags as of setxattr(2).</summary>
    internal int Set(FileNode node, ReadOnlySpan<byte> nameWithZero, ReadOnlySpan<byte> value, int flags)
    {
        if (tree.IsReadOnly)
        {
            return Errno.ReadOnly;
        }

        using HostDescriptor.Lease file = UseFor(node, nameWithZero, out int error);
        if (error != 0 || value.Length > AttributeBytes)
        {
            return error != 0 ? error : Errno.Range;
        }

        Span<byte> path = stackalloc byte[32];
        return HostDescriptor.ErrorOf(LibcDirectories.SetAttribute(
            HostDescriptor.PathOf(file.Fd, path), nameWithZero, value, (nuint)value.Length, flags));
    }

    /// <summary>Removes an extended attribute.</summary>
    internal int Remove(FileNode node, ReadOnlySpan<byte> nameWithZero)
    {
        if (tree.IsReadOnly)
        {
            return Errno.ReadOnly;
        }

        using HostDescriptor.Lease file = UseFor(node, nameWithZero, out int error);
        Span<byte> path = stackalloc byte[32];
        return error != 0
            ? error
            : HostDescriptor.ErrorOf(LibcDirectories.RemoveAttribute(HostDescriptor.PathOf(file.Fd, path), nameWithZero));
    }

    /// <summary>What a symbolic link says.</summary>
    internal int ReadLink(FileNode node, Span<byte> target, out int length)
    {
        length = 0;
        using HostDescriptor.Lease file = tree.Use(node, out int error);
        if (error != 0)
        {
            return error;
        }

        nint count = LibcDirectories.ReadLinkAt(file.Fd, [0], target, (nuint)target.Length);
        length = (int)count;
        error = HostDescriptor.ErrorOf(count);
        return error == Errno.NoEntry ? Errno.Invalid : error;
    }

    /// <summary>An unprivileged write, or cut, of a file takes its set-user-ID and set-group-ID away.</summary>
    internal static void DropPrivileges(int fd)
    {
        if (FileTree.Stat(fd, out FileStatus status) != 0)
        {
            return;
        }

        bool group = (status.Mode & (FileKind.SetGroup | FileKind.GroupExecute)) == (FileKind.SetGroup | FileKind.GroupExecute);
        uint drop = FileKind.SetUser | (group ? FileKind.SetGroup : 0);
        if ((status.Mode & drop) != 0)
        {
            Span<byte> path = stackalloc byte[32];
            uint mode = status.Mode & FileKind.Permissions & ~drop;
            _ = LibcDirectories.ChmodAt(LibcDirectories.CurrentDirectory, HostDescriptor.PathOf(fd, path), mode, 0);
        }
    }

    // Attributes are named through procfs, which would follow a symbolic link; those of the system's are ACLs, which the
    // guest's kernel was told that there are none of.
    private HostDescriptor.Lease UseFor(FileNode node, ReadOnlySpan<byte> nameWithZero, out int error)
    {
        if (node.Key.Kind is not (FileKind.Regular or FileKind.Directory) || node.IsHollow || nameWithZero.StartsWith("system."u8))
        {
            error = Errno.NotSupported;
            return default;
        }

        return tree.Use(node, out error);
    }

    private static int SetSize(FileNode node, int opened, ReadOnlySpan<byte> path, ulong size, bool dropsPrivileges)
    {
        if (node.Key.Kind != FileKind.Regular || size > long.MaxValue)
        {
            return node.IsDirectory ? Errno.IsDirectory : Errno.Invalid;
        }

        int fd = opened;
        if (opened < 0)
        {
            fd = LibcDirectories.OpenAt(
                LibcDirectories.CurrentDirectory,
                path,
                LibcDirectories.WriteOnly | LibcDirectories.NonBlocking | LibcDirectories.NoTerminal | LibcDirectories.CloseOnExec,
                0);
        }

        int error = HostDescriptor.ErrorOf(fd);
        if (error != 0)
        {
            return error;
        }

        error = HostDescriptor.ErrorOf(Libc.Ftruncate(fd, (long)size));
        if (error == 0 && dropsPrivileges)
        {
            DropPrivileges(fd);
        }

        if (opened < 0)
        {
            _ = Libc.Close(fd);
        }

        return error;
    }
}
