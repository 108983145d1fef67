using System;
using Hull.Host;

namespace Hull.Files.NineP;

/// <summary>9P's messages on names and attributes.</summary>
internal sealed class P9Nodes(FileTree tree, P9Fids fids, FolderChanges changes, FileAttributes attributes)
{
    private const int MostNames = 16;
    private const ulong BasicAttributes = 0x7FF;

    internal int Attach(ref P9Reader body, ref P9Writer answer)
    {
        uint number = body.Double();
        body.Double();
        body.String();
        body.String();
        uint uid = body.Double();
        if (body.IsShort)
        {
            return Errno.Invalid;
        }

        int error = tree.Stat(tree.Nodes.Root, out FileStatus status);
        if (error == 0)
        {
            tree.Nodes.AddLookup(tree.Nodes.Root);
            error = fids.Add(number, new P9Fid(tree.Nodes.Root, uid == uint.MaxValue ? 0 : uid));
            answer.Qid(QidOf(tree, status));
        }

        return error;
    }

    internal int Walk(ref P9Reader body, ref P9Writer answer)
    {
        uint number = body.Double();
        uint newNumber = body.Double();
        ushort count = body.Word();
        if (fids.Find(number) is not { Attribute: null } fid || count > MostNames
            || (newNumber == number && fid.Handle != 0))
        {
            return Errno.Invalid;
        }

        Span<P9Qid> qids = stackalloc P9Qid[MostNames];
        int error = Walk(fid.Node, ref body, count, qids, out int walked, out FileNode node);

        // A walk that gets part of the way gives no fid; none of the way, an error.
        if (walked < count)
        {
            tree.Forget(node.Id, 1);
            if (walked == 0)
            {
                return error;
            }
        }
        else
        {
            P9Fid made = new(node, fid.Uid);
            error = newNumber != number ? fids.Add(newNumber, made)
                : fids.TryReplace(number, fid, made) ? 0
                : Errno.BadDescriptor;
            if (error != 0)
            {
                return error;
            }
        }

        answer.Word(walked);
        foreach (P9Qid qid in qids[..walked])
        {
            answer.Qid(qid);
        }

        return 0;
    }

    internal int GetAttr(ref P9Reader body, ref P9Writer answer)
    {
        if (fids.Find(body.Double()) is not { } fid)
        {
            return Errno.BadDescriptor;
        }

        int error = tree.Stat(fid.Node, out FileStatus status);
        answer.Quad(BasicAttributes);
        answer.Qid(QidOf(tree, status));
        answer.Double(status.Mode);
        answer.Double(tree.Owners.GuestUser(status.Uid));
        answer.Double(tree.Owners.GuestGroup(status.Gid));
        answer.Quad(status.Links);
        answer.Quad((status.SpecialMinor & 0xFF) | (status.SpecialMajor << 8) | ((status.SpecialMinor & ~0xFFu) << 12));
        answer.Quad(status.Size);
        answer.Quad(status.BlockSize);
        answer.Quad(status.Blocks);
        Time(status.Accessed, ref answer);
        Time(status.Modified, ref answer);
        Time(status.Changed, ref answer);
        Time(status.Born, ref answer);
        answer.Quad(0);
        answer.Quad(0);
        return error;
    }

    internal int StatFs(ref P9Reader body, ref P9Writer answer)
    {
        if (fids.Find(body.Double()) is not { } fid)
        {
            return Errno.BadDescriptor;
        }

        Span<long> status = stackalloc long[16];
        using HostDescriptor.Lease file = tree.Use(fid.Node, out int error);
        error = error != 0 ? error : HostDescriptor.ErrorOf(LibcDirectories.FileSystemStatus(file.Fd, status));
        answer.Double(0x0102_1997);
        answer.Double((uint)status[1]);
        for (int i = 2; i < 7; i++)
        {
            answer.Quad((ulong)status[i]);
        }

        answer.Quad(0);
        answer.Double((uint)status[8]);
        return error;
    }

    internal int ReadLink(ref P9Reader body, ref P9Writer answer)
    {
        if (fids.Find(body.Double()) is not { } fid)
        {
            return Errno.BadDescriptor;
        }

        Span<byte> target = stackalloc byte[4096];
        int error = attributes.ReadLink(fid.Node, target, out int length);
        answer.String(target[..Math.Max(length, 0)]);
        return error;
    }

    /// <summary>Tsymlink, Tmknod, Tmkdir: a name more.</summary>
    internal int Make(P9Type type, ref P9Reader body, ref P9Writer answer)
    {
        P9Fid? fid = fids.Find(body.Double());
        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        int error = FileName.TryMake(body.String(), buffer, out FileName name);
        if (fid is null || error != 0)
        {
            return fid is null ? Errno.BadDescriptor : error;
        }

        switch (type)
        {
            case P9Type.SymLink:
                ReadOnlySpan<byte> target = body.String();
                uint group = body.Double();
                error = body.IsShort || target.IsEmpty || target.Length >= 4096 || target.Contains((byte)0)
                    ? Errno.Invalid
                    : changes.MakeLink(fid.Node, name, (byte[])[.. target, 0], new NewFile(0, fid.Uid, group));
                break;
            case P9Type.MkDir:
                NewFile folder = new(body.Double(), fid.Uid, body.Double());
                error = body.IsShort ? Errno.Invalid : changes.MakeFolder(fid.Node, name, folder);
                break;
            default:
                uint mode = body.Double();
                body.Quad();
                NewFile file = new(mode, fid.Uid, body.Double());
                error = body.IsShort ? Errno.Invalid : changes.MakeNode(fid.Node, name, file);
                break;
        }

        return error != 0 ? error : AnswerWithQid(fid.Node, name, ref answer);
    }

    internal int Link(ref P9Reader body)
    {
        P9Fid? folder = fids.Find(body.Double());
        P9Fid? file = fids.Find(body.Double());
        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        int error = FileName.TryMake(body.String(), buffer, out FileName name);
        return folder is null || file is null ? Errno.BadDescriptor
            : error != 0 ? error
            : changes.Link(file.Node, folder.Node, name);
    }

    /// <summary>Trenameat; and Trename, which names the file by its fid alone.</summary>
    internal int Rename(P9Type type, ref P9Reader body)
    {
        P9Fid? from = fids.Find(body.Double());
        Span<byte> oldBuffer = stackalloc byte[FileName.MostBytes];
        Span<byte> newBuffer = stackalloc byte[FileName.MostBytes];
        FileNode? oldParent = from?.Node;
        ReadOnlySpan<byte> oldText;
        if (type == P9Type.Rename)
        {
            NodePlace? place = from?.Node.Place;
            oldParent = place?.Parent;
            oldText = place is { Name.Length: > 0 } ? place.Name.AsSpan(0, place.Name.Length - 1) : default;
        }
        else
        {
            oldText = body.String();
        }

        P9Fid? to = fids.Find(body.Double());
        int error = FileName.TryMake(oldText, oldBuffer, out FileName oldName);
        if (error != 0 || oldParent is null || to is null)
        {
            return error != 0 ? error : Errno.BadDescriptor;
        }

        error = FileName.TryMake(body.String(), newBuffer, out FileName newName);
        return error != 0 ? error : changes.Rename(oldParent, oldName, to.Node, newName, 0);
    }

    internal int Unlink(ref P9Reader body)
    {
        P9Fid? folder = fids.Find(body.Double());
        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        int error = FileName.TryMake(body.String(), buffer, out FileName name);
        uint flags = body.Double();
        return folder is null ? Errno.BadDescriptor
            : error != 0 || body.IsShort ? Errno.Invalid
            : changes.Remove(folder.Node, name, (flags & LibcDirectories.RemoveDirectory) != 0);
    }

    /// <summary>Tremove: the fid goes in any case.</summary>
    internal int Remove(ref P9Reader body)
    {
        uint number = body.Double();
        if (fids.Find(number) is not { } fid)
        {
            return Errno.BadDescriptor;
        }

        NodePlace place = fid.Node.Place;
        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        int error = Errno.Invalid;
        if (place is { Parent: { } parent, Name.Length: > 0 })
        {
            error = FileName.TryMake(place.Name.AsSpan(0, place.Name.Length - 1), buffer, out FileName name);
            error = error != 0 ? error : changes.Remove(parent, name, fid.Node.IsDirectory);
        }

        fids.Remove(number);
        return error;
    }

    /// <summary>What a file is called in answers.</summary>
    internal static P9Qid QidOf(FileTree tree, in FileStatus status) => new(
        status.Kind == FileKind.Directory ? P9Qid.Folder : status.Kind == FileKind.Link ? P9Qid.Link : (byte)0,
        (uint)(status.Modified.Seconds ^ status.Modified.Nanoseconds),
        tree.GuestInode(status));

    // The node that the names lead to, looked up once more for the caller; on the way each is forgotten again.
    private int Walk(
        FileNode start, ref P9Reader body, int count, scoped Span<P9Qid> qids, out int walked, out FileNode node)
    {
        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        tree.Nodes.AddLookup(start);
        node = start;
        for (walked = 0; walked < count; walked++)
        {
            int error = FileName.TryMake(body.String(), buffer, out FileName name);
            if (body.IsShort || error != 0)
            {
                return error != 0 ? error : Errno.Invalid;
            }

            error = tree.Lookup(node, name, out FileNode? next, out FileStatus status);
            if (error != 0)
            {
                return error;
            }

            tree.Forget(node.Id, 1);
            node = next!; // found: there is a node
            qids[walked] = QidOf(tree, status);
        }

        return 0;
    }

    private int AnswerWithQid(FileNode parent, scoped FileName name, ref P9Writer answer)
    {
        int error = tree.Lookup(parent, name, out FileNode? node, out FileStatus status);
        if (error == 0)
        {
            tree.Forget(node!.Id, 1);
            answer.Qid(QidOf(tree, status));
        }

        return error;
    }

    private static void Time(FileTime time, ref P9Writer answer)
    {
        answer.Quad((ulong)time.Seconds);
        answer.Quad(time.Nanoseconds);
    }
}
