using System;
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hull.Host;

namespace Hull.Files.Fuse;

/// <summary>FUSE's requests on open folders: entries, with or without what each is.</summary>
internal sealed class FuseFolders(FileTree tree, OpenFiles files, FuseAttrs attrs)
{
    private const int ChunkBytes = 16 << 10;
    private const int NameAt = 19;

    internal int Open(FileNode node, ref FuseAnswer answer)
    {
        if (!answer.HasRoomFor<FuseOpenOut>())
        {
            return Errno.Invalid;
        }

        int error = files.OpenFolder(node, out ulong handle);
        answer.Put(new FuseOpenOut(handle, 0, 0));
        return error;
    }

    internal int Read(ReadOnlySpan<byte> body, bool plus, ref FuseAnswer answer)
    {
        if (!MemoryMarshal.TryRead(body, out FuseTransferIn request))
        {
            return Errno.Invalid;
        }

        if (files.Find(request.Handle) is not { Node.IsDirectory: true } file)
        {
            return Errno.BadDescriptor;
        }

        // The host's entries are shorter than ours, so a chunk of the room's size fills it or nearly so.
        Span<byte> room = answer.Rest[..(int)Math.Min(request.Size, (uint)answer.Rest.Length)];
        Span<byte> chunk = stackalloc byte[ChunkBytes];
        ulong offset = request.Offset;
        int written = 0;
        while (true)
        {
            int wanted = Math.Clamp(room.Length - written, 512, plus ? ChunkBytes / 4 : ChunkBytes);
            int error = file.ReadEntries(offset, chunk[..wanted], out int length);
            if (error != 0 || length == 0)
            {
                answer.Advance(written);
                return written > 0 ? 0 : error;
            }

            bool all = Convert(file, chunk[..length], plus, room, ref written, ref offset);
            if (all)
            {
                file.EntriesTaken(offset);
            }
            else
            {
                answer.Advance(written);
                return written > 0 ? 0 : Errno.Invalid;
            }
        }
    }

    // struct linux_dirent64: inode, offset of the next, length of this, kind, name.
    private bool Convert(
        OpenFile file, ReadOnlySpan<byte> entries, bool plus, Span<byte> room, ref int written, ref ulong offset)
    {
        using HostDescriptor.Lease folder = file.Use(out int error);
        if (error != 0)
        {
            return false;
        }

        while (entries.Length > NameAt)
        {
            ulong next = BinaryPrimitives.ReadUInt64LittleEndian(entries[8..]);
            int length = BinaryPrimitives.ReadUInt16LittleEndian(entries[16..]);
            ReadOnlySpan<byte> name = entries[NameAt..length];
            name = name[..name.IndexOf((byte)0)];
            int header = Unsafe.SizeOf<FuseEntry>() + (plus ? Unsafe.SizeOf<FuseEntryOut>() : 0);
            int bytes = (header + name.Length + 7) & ~7;
            if (bytes > room.Length - written)
            {
                return false;
            }

            FuseEntry entry = new(
                BinaryPrimitives.ReadUInt64LittleEndian(entries), next, (uint)name.Length, entries[18]);
            Span<byte> at = room.Slice(written, bytes);
            at.Clear();
            if (plus)
            {
                MemoryMarshal.Write(at, Known(file.Node, folder.Fd, name));
            }

            MemoryMarshal.Write(at[(header - Unsafe.SizeOf<FuseEntry>())..], entry);
            name.CopyTo(at[header..]);
            written += bytes;
            offset = next;
            entries = entries[length..];
        }

        return true;
    }

    // An entry that cannot be looked up is told without: the guest asks when it wants to know.
    private FuseEntryOut Known(FileNode parent, int folder, ReadOnlySpan<byte> text)
    {
        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        return FileName.TryMake(text, buffer, out FileName name) == 0
            && tree.Lookup(parent, folder, name, out FileNode? node, out FileStatus status) == 0
            ? attrs.Entry(node!, status)
            : default;
    }
}
