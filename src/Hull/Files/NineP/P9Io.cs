using System;
using System.Buffers.Binary;
using Hull.Host;

namespace Hull.Files.NineP;

/// <summary>9P's messages on open files, and on extended attributes, which are read and written like files.</summary>
internal sealed class P9Io(FileTree tree, P9Fids fids, OpenFiles files, FileAttributes attributes)
{
    private const int MostAttributeBytes = 64 << 10;
    private const int ChunkBytes = 16 << 10;
    private const int NameAt = 19;

    internal int Open(ref P9Reader body, ref P9Writer answer)
    {
        uint number = body.Double();
        uint flags = body.Double();
        if (fids.Find(number) is not { } fid || body.IsShort)
        {
            return Errno.BadDescriptor;
        }

        int error = tree.Stat(fid.Node, out FileStatus status);
        if (error != 0)
        {
            return error;
        }

        ulong handle;
        error = fid.Node.IsDirectory ? files.OpenFolder(fid.Node, out handle) : files.Open(fid.Node, flags, out handle);
        if (error == 0 && !fids.TryOpen(number, fid, handle))
        {
            files.Close(handle);
            error = Errno.Invalid;
        }

        answer.Qid(P9Nodes.QidOf(tree, status));
        answer.Double(0);
        return error;
    }

    internal int Create(ref P9Reader body, ref P9Writer answer)
    {
        uint number = body.Double();
        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        int error = FileName.TryMake(body.String(), buffer, out FileName name);
        uint flags = body.Double();
        uint mode = body.Double();
        uint gid = body.Double();
        if (fids.Find(number) is not { Handle: 0, Attribute: null } fid || body.IsShort || error != 0)
        {
            return error != 0 ? error : Errno.Invalid;
        }

        NewFile file = new(mode, fid.Uid, gid);
        error = files.Create(fid.Node, name, flags, file, out FileNode? node, out FileStatus status, out ulong handle);
        if (error == 0)
        {
            error = fids.TryReplace(number, fid, new P9Fid(node!, fid.Uid) { Handle = handle }) ? 0 : Errno.BadDescriptor;
            answer.Qid(P9Nodes.QidOf(tree, status));
            answer.Double(0);
        }

        return error;
    }

    internal int SetAttr(ref P9Reader body)
    {
        P9Fid? fid = fids.Find(body.Double());
        uint valid = body.Double();
        uint mode = body.Double();
        uint uid = body.Double();
        uint gid = body.Double();
        ulong size = body.Quad();
        (long, long) accessed = ((long)body.Quad(), (long)Math.Min(body.Quad(), 999_999_999));
        (long, long) modified = ((long)body.Quad(), (long)Math.Min(body.Quad(), 999_999_999));
        if (fid is null || body.IsShort)
        {
            return Errno.BadDescriptor;
        }

        AttributeChange change = new()
        {
            Mode = (valid & 1) != 0 ? mode : null,
            Uid = (valid & 2) != 0 ? uid : null,
            Gid = (valid & 4) != 0 ? gid : null,
            Size = (valid & 8) != 0 ? size : null,
            Accessed = (valid & 16) == 0 ? null : (valid & 128) != 0 ? accessed : (0, LibcDirectories.TimeNow),
            Modified = (valid & 32) == 0 ? null : (valid & 256) != 0 ? modified : (0, LibcDirectories.TimeNow),
            DropsPrivileges = (valid & 8) != 0,
        };
        using HostDescriptor.Lease opened = files.Find(fid.Handle) is { } file ? file.Use(out _) : default;
        return attributes.Set(fid.Node, opened.Descriptor is null ? -1 : opened.Fd, change);
    }

    internal int Read(ref P9Reader body, ref P9Writer answer)
    {
        P9Fid? fid = fids.Find(body.Double());
        ulong offset = body.Quad();
        uint count = body.Double();
        if (fid is null || body.IsShort || answer.Rest.Length < 4)
        {
            return Errno.BadDescriptor;
        }

        Span<byte> room = answer.Rest[4..];
        room = room[..(int)Math.Min(count, (uint)room.Length)];
        int error = 0;
        int length;
        if (fid.Attribute is { } attribute)
        {
            int from = (int)Math.Min(offset, (ulong)attribute.Length);
            length = Math.Min(room.Length, attribute.Length - from);
            attribute.AsSpan(from, length).CopyTo(room);
        }
        else
        {
            length = 0;
            error = files.Find(fid.Handle) is { } file ? file.Read(offset, room, out length) : Errno.BadDescriptor;
        }

        answer.Double((uint)length);
        answer.Advance(length);
        return error;
    }

    internal int Write(ref P9Reader body, ref P9Writer answer)
    {
        P9Fid? fid = fids.Find(body.Double());
        ulong offset = body.Quad();
        ReadOnlySpan<byte> data = body.Bytes(body.Double());
        if (fid is null || body.IsShort)
        {
            return Errno.BadDescriptor;
        }

        int error = 0;
        int length = data.Length;
        if (fid is { Attribute: { } attribute, AttributeName: not null })
        {
            if (offset > (ulong)attribute.Length || (ulong)data.Length > (ulong)attribute.Length - offset)
            {
                return Errno.Range;
            }

            data.CopyTo(attribute.AsSpan((int)offset));
        }
        else
        {
            error = tree.IsReadOnly ? Errno.ReadOnly
                : files.Find(fid.Handle) is { } file ? file.Write(offset, data, dropsPrivileges: true, out length)
                : Errno.BadDescriptor;
        }

        answer.Double((uint)length);
        return error;
    }

    internal int ReadDir(ref P9Reader body, ref P9Writer answer)
    {
        P9Fid? fid = fids.Find(body.Double());
        ulong offset = body.Quad();
        uint count = body.Double();
        if (fid is null || body.IsShort || answer.Rest.Length < 4
            || files.Find(fid.Handle) is not { Node.IsDirectory: true } file)
        {
            return Errno.BadDescriptor;
        }

        Span<byte> room = answer.Rest[4..];
        room = room[..(int)Math.Min(count, (uint)room.Length)];
        Span<byte> chunk = stackalloc byte[ChunkBytes];
        int error = file.ReadEntries(offset, chunk[..Math.Clamp(room.Length, 512, ChunkBytes)], out int length);
        P9Writer entries = new(room);
        if (Convert(chunk[..length], ref entries, ref offset))
        {
            file.EntriesTaken(offset);
        }

        answer.Double((uint)entries.Length);
        answer.Advance(entries.Length);
        return error != 0 ? error : length > 0 && entries.Length == 0 ? Errno.Invalid : 0;
    }

    internal int Sync(ref P9Reader body)
    {
        P9Fid? fid = fids.Find(body.Double());
        uint dataOnly = body.Double();
        return fid is null || files.Find(fid.Handle) is not { } file ? Errno.BadDescriptor
            : file.Descriptor is null ? 0
            : file.Sync(dataOnly != 0);
    }

    internal int Clunk(ref P9Reader body)
    {
        if (fids.Remove(body.Double()) is not { } fid)
        {
            return Errno.BadDescriptor;
        }

        // An attribute is written when the guest is done with its fid.
        return fid is { Attribute: { } value, AttributeName: { } name }
            ? value.Length == 0 && fid.AttributeFlags == 2
                ? attributes.Remove(fid.Node, name)
                : attributes.Set(fid.Node, name, value, fid.AttributeFlags)
            : 0;
    }

    internal int AttributeWalk(ref P9Reader body, ref P9Writer answer)
    {
        P9Fid? fid = fids.Find(body.Double());
        uint newNumber = body.Double();
        ReadOnlySpan<byte> name = body.String();
        if (fid is null || body.IsShort || name.Length > 255 || name.Contains((byte)0))
        {
            return Errno.Invalid;
        }

        byte[] value = new byte[MostAttributeBytes];
        int error = name.IsEmpty
            ? attributes.List(fid.Node, value, out int length)
            : attributes.Get(fid.Node, (byte[])[.. name, 0], value, out length);
        if (error != 0)
        {
            return error;
        }

        answer.Quad((ulong)length);
        tree.Nodes.AddLookup(fid.Node);
        return fids.Add(newNumber, new P9Fid(fid.Node, fid.Uid) { Attribute = value[..length] });
    }

    internal int AttributeCreate(ref P9Reader body)
    {
        uint number = body.Double();
        ReadOnlySpan<byte> name = body.String();
        ulong size = body.Quad();
        uint flags = body.Double();
        if (fids.Find(number) is not { Handle: 0, Attribute: null } fid || body.IsShort
            || name.Length is 0 or > 255 || name.Contains((byte)0) || size > MostAttributeBytes || tree.IsReadOnly)
        {
            return tree.IsReadOnly ? Errno.ReadOnly : Errno.Invalid;
        }

        tree.Nodes.AddLookup(fid.Node);
        P9Fid made = new(fid.Node, fid.Uid)
        {
            Attribute = new byte[size],
            AttributeName = [.. name, 0],
            AttributeFlags = (int)flags,
        };
        return fids.TryReplace(number, fid, made) ? 0 : Errno.NoMemory;
    }

    // struct linux_dirent64: inode, offset of the next, length of this, kind, name.
    private static bool Convert(scoped ReadOnlySpan<byte> entries, ref P9Writer answer, ref ulong offset)
    {
        const byte folder = 4;
        while (entries.Length > NameAt)
        {
            int length = BinaryPrimitives.ReadUInt16LittleEndian(entries[16..]);
            ReadOnlySpan<byte> name = entries[NameAt..length];
            name = name[..name.IndexOf((byte)0)];
            if (P9Qid.Bytes + 8 + 1 + 2 + name.Length > answer.Rest.Length)
            {
                return false;
            }

            byte kind = entries[18];
            offset = BinaryPrimitives.ReadUInt64LittleEndian(entries[8..]);
            ulong inode = BinaryPrimitives.ReadUInt64LittleEndian(entries);
            answer.Qid(new P9Qid(kind == folder ? P9Qid.Folder : (byte)0, 0, inode));
            answer.Quad(offset);
            answer.Byte(kind);
            answer.String(name);
            entries = entries[length..];
        }

        return true;
    }
}
