using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hull.Host;

namespace Hull.Files.Fuse;

/// <summary>FUSE's requests on names and attributes.</summary>
internal sealed class FuseNodes(
    FileTree tree, FolderChanges changes, FileAttributes attributes, OpenFiles files, FuseAttrs attrs)
{
    private const uint HasMode = 1;
    private const uint HasUid = 2;
    private const uint HasGid = 4;
    private const uint HasSize = 8;
    private const uint HasAccessed = 16;
    private const uint HasModified = 32;
    private const uint HasHandle = 64;
    private const uint AccessedNow = 128;
    private const uint ModifiedNow = 256;
    private const uint KillPrivileges = 2048;

    internal int Lookup(FileNode parent, ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        int error = TakeName(body, buffer, out FileName name);
        if (error != 0 || !answer.HasRoomFor<FuseEntryOut>())
        {
            return error != 0 ? error : Errno.Invalid;
        }

        error = tree.Lookup(parent, name, out FileNode? node, out FileStatus status);
        if (error is 0 or Errno.NoEntry)
        {
            answer.Put(node is null ? attrs.Absent() : attrs.Entry(node, status));
            return 0;
        }

        return error;
    }

    internal int GetAttr(FileNode node, ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        if (!MemoryMarshal.TryRead(body, out FuseForget request) || !answer.HasRoomFor<FuseAttrOut>())
        {
            return Errno.Invalid;
        }

        FileStatus status;
        int error;
        if (((uint)request.Node & 1) != 0 && files.Find(request.Lookups) is { } file)
        {
            using HostDescriptor.Lease opened = file.Use(out error);
            status = default;
            error = error != 0 ? error : FileTree.Stat(opened.Fd, out status);
        }
        else
        {
            error = tree.Stat(node, out status);
        }

        answer.Put(attrs.AttrOut(status));
        return error;
    }

    internal int SetAttr(FileNode node, ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        if (!MemoryMarshal.TryRead(body, out FuseSetAttrIn request) || !answer.HasRoomFor<FuseAttrOut>())
        {
            return Errno.Invalid;
        }

        uint valid = request.Valid;
        AttributeChange change = new()
        {
            Size = (valid & HasSize) != 0 ? request.Size : null,
            Mode = (valid & HasMode) != 0 ? request.Mode : null,
            Uid = (valid & HasUid) != 0 ? request.Uid : null,
            Gid = (valid & HasGid) != 0 ? request.Gid : null,
            Accessed = Time(valid, HasAccessed, AccessedNow, request.Accessed, request.AccessedNs),
            Modified = Time(valid, HasModified, ModifiedNow, request.Modified, request.ModifiedNs),
            DropsPrivileges = (valid & KillPrivileges) != 0,
        };
        OpenFile? file = (valid & HasHandle) != 0 ? files.Find(request.Handle) : null;
        using HostDescriptor.Lease opened = file is null ? default : file.Use(out _);
        int error = attributes.Set(node, opened.Descriptor is null ? -1 : opened.Fd, change);
        if (error != 0)
        {
            return error;
        }

        error = tree.Stat(node, out FileStatus status);
        answer.Put(attrs.AttrOut(status));
        return error;
    }

    internal int ReadLink(FileNode node, ref FuseAnswer answer)
    {
        int error = attributes.ReadLink(node, answer.Rest[..Math.Min(answer.Rest.Length, 4096)], out int length);
        answer.Advance(error == 0 ? length : 0);
        return error;
    }

    /// <summary>SYMLINK, MKNOD, MKDIR and LINK: a name more; the answer is what it stands for.</summary>
    internal int Make(in FuseInHeader header, FileNode parent, ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        if (!answer.HasRoomFor<FuseEntryOut>())
        {
            return Errno.Invalid;
        }

        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        int error = Make(header, parent, body, buffer, out FileName name);
        if (error != 0)
        {
            return error;
        }

        error = tree.Lookup(parent, name, out FileNode? node, out FileStatus status);
        if (error == 0)
        {
            answer.Put(attrs.Entry(node!, status));
        }

        return error;
    }

    internal int Remove(FileNode parent, ReadOnlySpan<byte> body, bool isFolder)
    {
        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        int error = TakeName(body, buffer, out FileName name);
        return error != 0 ? error : changes.Remove(parent, name, isFolder);
    }

    internal int Rename(FileNode parent, ReadOnlySpan<byte> body, bool hasFlags)
    {
        if (!MemoryMarshal.TryRead(body, out ulong folder) || (hasFlags && body.Length < 16))
        {
            return Errno.Invalid;
        }

        uint flags = hasFlags ? MemoryMarshal.Read<uint>(body[8..]) : 0;
        body = body[(hasFlags ? 16 : 8)..];
        Span<byte> oldBuffer = stackalloc byte[FileName.MostBytes];
        Span<byte> newBuffer = stackalloc byte[FileName.MostBytes];
        int error = TakeName(body, oldBuffer, out FileName oldName);
        if (error != 0)
        {
            return error;
        }

        error = TakeName(body[oldName.WithZero.Length..], newBuffer, out FileName newName);
        return error != 0 ? error
            : tree.Nodes.Find(folder) is { } to ? changes.Rename(parent, oldName, to, newName, flags)
            : Errno.Stale;
    }

    internal int StatFs(FileNode node, ref FuseAnswer answer)
    {
        Span<long> status = stackalloc long[16];
        using HostDescriptor.Lease file = tree.Use(node, out int error);
        error = error != 0 ? error : HostDescriptor.ErrorOf(LibcDirectories.FileSystemStatus(file.Fd, status));
        answer.Put(new FuseStatFs(
            (ulong)status[2],
            (ulong)status[3],
            (ulong)status[4],
            (ulong)status[5],
            (ulong)status[6],
            (uint)status[1],
            (uint)status[8],
            (uint)status[9]));
        return error;
    }

    internal int SyncFs(FileNode node)
    {
        if (tree.IsReadOnly)
        {
            return 0;
        }

        // syncfs(2) takes no O_PATH descriptor.
        int error = files.OpenFolder(node, out ulong handle);
        if (error == 0 && files.Find(handle) is { } opened)
        {
            using HostDescriptor.Lease folder = opened.Use(out error);
            error = error != 0 ? error : HostDescriptor.ErrorOf(LibcDirectories.SyncFileSystem(folder.Fd));
            files.Close(handle);
        }

        return error;
    }

    /// <summary>The name at the front of a request; what follows is behind its zero.</summary>
    internal static int TakeName(scoped ReadOnlySpan<byte> body, Span<byte> buffer, out FileName name)
    {
        name = default;
        return FileName.TrySplit(ref body, out ReadOnlySpan<byte> text) ? FileName.TryMake(text, buffer, out name) : Errno.Invalid;
    }

    private int Make(in FuseInHeader header, FileNode parent, ReadOnlySpan<byte> body, Span<byte> buffer, out FileName name)
    {
        name = default;
        if (header.Opcode == FuseOpcode.SymLink)
        {
            return MakeLink(header, parent, body, buffer, out name);
        }

        int fixedBytes = header.Opcode == FuseOpcode.MkNod ? Unsafe.SizeOf<FuseMkNodIn>() : Unsafe.SizeOf<FusePair>();
        if (body.Length < fixedBytes)
        {
            return Errno.Invalid;
        }

        int error = TakeName(body[fixedBytes..], buffer, out name);
        if (error != 0)
        {
            return error;
        }

        uint mode = MemoryMarshal.Read<uint>(body);
        NewFile file = new(mode, header.Uid, header.Gid);
        switch (header.Opcode)
        {
            case FuseOpcode.MkDir:
                return changes.MakeFolder(parent, name, file);
            case FuseOpcode.Link:
                return tree.Nodes.Find(MemoryMarshal.Read<ulong>(body)) is { } node
                    ? changes.Link(node, parent, name)
                    : Errno.Stale;
            default:
                return changes.MakeNode(parent, name, file);
        }
    }

    private int MakeLink(in FuseInHeader header, FileNode parent, ReadOnlySpan<byte> body, Span<byte> buffer, out FileName name)
    {
        int error = TakeName(body, buffer, out name);
        if (error != 0)
        {
            return error;
        }

        ReadOnlySpan<byte> target = body[name.WithZero.Length..];
        ReadOnlySpan<byte> rest = target;
        return !FileName.TrySplit(ref rest, out ReadOnlySpan<byte> text) || text.IsEmpty ? Errno.Invalid
            : text.Length >= 4096 ? Errno.NameTooLong
            : changes.MakeLink(parent, name, target[..(text.Length + 1)], new NewFile(0, header.Uid, header.Gid));
    }

    private static (long, long)? Time(uint valid, uint has, uint now, ulong seconds, uint ns) =>
        (valid & now) != 0 ? (0, LibcDirectories.TimeNow)
        : (valid & has) == 0 ? null
        : ((long)seconds, Math.Min(ns, 999_999_999));
}
