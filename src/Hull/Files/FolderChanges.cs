using System;
using Hull.Host;

namespace Hull.Files;

/// <summary>Who makes a file, and with which permissions.</summary>
internal readonly record struct NewFile(uint Mode, uint Uid, uint Gid);

/// <summary>What changes the names in folders: make, remove, rename, link. All give 0 or an error number.</summary>
internal sealed class FolderChanges(FileTree tree)
{
    private const int CreateFlags = LibcDirectories.Create | LibcDirectories.Exclusive | LibcDirectories.NoFollow | LibcDirectories.NonBlocking
        | LibcDirectories.NoTerminal | LibcDirectories.CloseOnExec;

    // RENAME_NOREPLACE and RENAME_EXCHANGE; a whiteout would be a device.
    private const uint RenameFlags = 3;

    /// <summary>Makes a regular file that must not be there yet, and opens it.</summary>
    internal int MakeFile(FileNode parent, FileName name, int flags, NewFile file, out HostDescriptor? opened)
    {
        opened = null;
        using HostDescriptor.Lease folder = tree.UseToChange(parent, out int error);
        if (error != 0)
        {
            return error;
        }

        int fd = LibcDirectories.OpenAt(folder.Fd, name.WithZero, CreateFlags | flags, file.Mode & FileKind.Permissions);
        error = HostDescriptor.ErrorOf(fd);
        if (error != 0)
        {
            return error;
        }

        opened = new HostDescriptor(fd);
        Give(folder.Fd, fd, file);
        return 0;
    }

    /// <summary>Makes what mknod(2) can: a regular file, a FIFO or a socket. A device would be the host's.</summary>
    internal int MakeNode(FileNode parent, FileName name, NewFile file)
    {
        uint kind = file.Mode & FileKind.Mask;
        if (kind is 0 or FileKind.Regular)
        {
            int failed = MakeFile(parent, name, LibcDirectories.WriteOnly, file, out HostDescriptor? opened);
            opened?.Release();
            return failed;
        }

        if (kind is not (FileKind.Fifo or FileKind.Socket))
        {
            return Errno.NotPermitted;
        }

        using HostDescriptor.Lease folder = tree.UseToChange(parent, out int error);
        if (error != 0)
        {
            return error;
        }

        error = HostDescriptor.ErrorOf(LibcDirectories.MkNodAt(folder.Fd, name.WithZero, kind | (file.Mode & FileKind.Permissions), 0));
        if (error == 0)
        {
            GiveName(folder.Fd, name, LibcDirectories.PathOnly, file);
        }

        return error;
    }

    /// <summary>Makes a folder.</summary>
    internal int MakeFolder(FileNode parent, FileName name, NewFile file)
    {
        using HostDescriptor.Lease folder = tree.UseToChange(parent, out int error);
        if (error != 0)
        {
            return error;
        }

        error = HostDescriptor.ErrorOf(LibcDirectories.MkdirAt(folder.Fd, name.WithZero, file.Mode & FileKind.Permissions));
        if (error == 0)
        {
            GiveName(folder.Fd, name, LibcDirectories.Directory, file);
        }

        return error;
    }

    /// <summary>Makes a symbolic link. What it says is the guest's business: nobody here follows it.</summary>
    internal int MakeLink(FileNode parent, FileName name, ReadOnlySpan<byte> targetWithZero, NewFile file)
    {
        using HostDescriptor.Lease folder = tree.UseToChange(parent, out int error);
        if (error != 0)
        {
            return error;
        }

        error = HostDescriptor.ErrorOf(LibcDirectories.SymLinkAt(targetWithZero, folder.Fd, name.WithZero));
        if (error == 0 && tree.Owners.PassThrough)
        {
            _ = LibcDirectories.ChownAt(folder.Fd, name.WithZero, file.Uid, file.Gid, LibcDirectories.LinkItself);
        }

        return error;
    }

    /// <summary>Gives a regular file or a symbolic link one more name.</summary>
    internal int Link(FileNode node, FileNode parent, FileName name)
    {
        using HostDescriptor.Lease folder = tree.UseToChange(parent, out int error);
        if (error != 0)
        {
            return error;
        }

        using HostDescriptor.Lease file = tree.Use(node, out error);
        if (error != 0 || node.IsDirectory)
        {
            return error != 0 ? error : Errno.NotPermitted;
        }

        Span<byte> path = stackalloc byte[32];
        return HostDescriptor.ErrorOf(LibcDirectories.LinkAt(
            LibcDirectories.CurrentDirectory, HostDescriptor.PathOf(file.Fd, path), folder.Fd, name.WithZero, LibcDirectories.FollowLink));
    }

    /// <summary>Removes a name.</summary>
    /// <param name="parent">Where.</param>
    /// <param name="name">The name.</param>
    /// <param name="isFolder">What it must be.</param>
    internal int Remove(FileNode parent, FileName name, bool isFolder)
    {
        using HostDescriptor.Lease folder = tree.UseToChange(parent, out int error);
        if (error != 0)
        {
            return error;
        }

        tree.HoldOn(parent, folder.Fd, name);
        return HostDescriptor.ErrorOf(
            LibcDirectories.UnlinkAt(folder.Fd, name.WithZero, isFolder ? LibcDirectories.RemoveDirectory : 0));
    }

    /// <summary>Renames. Flags as of renameat2(2): not over another file, or both exchanged.</summary>
    internal int Rename(FileNode oldParent, FileName oldName, FileNode newParent, FileName newName, uint flags)
    {
        using HostDescriptor.Lease from = tree.UseToChange(oldParent, out int error);
        if (error != 0)
        {
            return error;
        }

        using HostDescriptor.Lease to = tree.UseToChange(newParent, out error);
        if (error != 0 || (flags & ~RenameFlags) != 0)
        {
            return error != 0 ? error : Errno.Invalid;
        }

        tree.HoldOn(newParent, to.Fd, newName);
        error = HostDescriptor.ErrorOf(LibcDirectories.RenameAt(from.Fd, oldName.WithZero, to.Fd, newName.WithZero, flags));
        if (error == 0)
        {
            tree.Moved(newParent, to.Fd, newName);
            if (flags == 2)
            {
                tree.Moved(oldParent, from.Fd, oldName);
            }
        }

        return error;
    }

    private void GiveName(int folder, FileName name, int flags, NewFile file)
    {
        int fd = LibcDirectories.OpenAt(folder, name.WithZero, flags | LibcDirectories.NoFollow | LibcDirectories.CloseOnExec, 0);
        if (fd >= 0)
        {
            Give(folder, fd, file);
            _ = Libc.Close(fd);
        }
    }

    // The maker's, with the permissions that the guest asked for: the umask is the guest's own. A folder with set-group-ID
    // passes its group on.
    private void Give(int folder, int fd, NewFile file)
    {
        if (tree.Owners.PassThrough)
        {
            bool keepsGroup = FileTree.Stat(folder, out FileStatus parent) == 0 && (parent.Mode & FileKind.SetGroup) != 0;
            _ = LibcDirectories.ChownAt(fd, [0], file.Uid, keepsGroup ? FileOwners.Same : file.Gid, LibcDirectories.EmptyPath);
        }

        if (FileTree.Stat(fd, out FileStatus made) == 0)
        {
            uint wanted = (file.Mode & FileKind.Permissions)
                | (made.Kind == FileKind.Directory ? made.Mode & FileKind.SetGroup : 0);
            if ((made.Mode & FileKind.Permissions) != wanted)
            {
                Span<byte> path = stackalloc byte[32];
                _ = LibcDirectories.ChmodAt(LibcDirectories.CurrentDirectory, HostDescriptor.PathOf(fd, path), wanted, 0);
            }
        }
    }
}
