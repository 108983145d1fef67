using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hull.Host;

namespace Hull.Files.Fuse;

/// <summary>FUSE's requests on open files.</summary>
internal sealed class FuseFiles(FileTree tree, OpenFiles files, FuseAttrs attrs)
{
    // What is cached stays over an open: the guest drops it by itself when size or time of change differ.
    private const uint KeepCache = 2;
    private const uint KillPrivilegesAtOpen = 1;
    private const uint KillPrivilegesAtWrite = 4;
    private const ulong MostCopied = 64 << 20;
    private const uint AllocateModes = 0x13;

    internal int Open(FileNode node, ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        if (!MemoryMarshal.TryRead(body, out FusePair request) || !answer.HasRoomFor<FuseOpenOut>())
        {
            return Errno.Invalid;
        }

        int error = files.Open(node, request.First, out ulong handle);
        if (error != 0)
        {
            return error;
        }

        if ((request.Second & KillPrivilegesAtOpen) != 0 && !tree.IsReadOnly && files.Find(handle) is { } opened)
        {
            using HostDescriptor.Lease file = opened.Use(out error);
            if (error == 0)
            {
                FileAttributes.DropPrivileges(file.Fd);
            }
        }

        answer.Put(new FuseOpenOut(handle, KeepCache, 0));
        return 0;
    }

    internal int Create(in FuseInHeader header, FileNode parent, ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        int answerBytes = Unsafe.SizeOf<FuseEntryOut>() + Unsafe.SizeOf<FuseOpenOut>();
        if (!MemoryMarshal.TryRead(body, out FuseCreateIn request) || answer.Rest.Length < answerBytes)
        {
            return Errno.Invalid;
        }

        body = body[Unsafe.SizeOf<FuseCreateIn>()..];
        Span<byte> buffer = stackalloc byte[FileName.MostBytes];
        int error = FuseNodes.TakeName(body, buffer, out FileName name);
        if (error != 0)
        {
            return error;
        }

        NewFile file = new(request.Mode, header.Uid, header.Gid);
        error = files.Create(parent, name, request.Flags, file, out FileNode? node, out FileStatus status, out ulong handle);
        if (error == 0)
        {
            answer.Put(attrs.Entry(node!, status));
            answer.Put(new FuseOpenOut(handle, KeepCache, 0));
        }

        return error;
    }

    internal int Read(ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        if (!MemoryMarshal.TryRead(body, out FuseTransferIn request))
        {
            return Errno.Invalid;
        }

        if (files.Find(request.Handle) is not { } file)
        {
            return Errno.BadDescriptor;
        }

        int room = (int)Math.Min(request.Size, (uint)answer.Rest.Length);
        int error = file.Read(request.Offset, answer.Rest[..room], out int length);
        answer.Advance(length);
        return error;
    }

    internal int Write(ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        if (!MemoryMarshal.TryRead(body, out FuseTransferIn request) || !answer.HasRoomFor<FusePair>())
        {
            return Errno.Invalid;
        }

        body = body[Unsafe.SizeOf<FuseTransferIn>()..];
        if (request.Size > body.Length)
        {
            return Errno.Invalid;
        }

        if (tree.IsReadOnly || files.Find(request.Handle) is not { } file)
        {
            return tree.IsReadOnly ? Errno.ReadOnly : Errno.BadDescriptor;
        }

        bool drops = (request.TransferFlags & KillPrivilegesAtWrite) != 0;
        int error = file.Write(request.Offset, body[..(int)request.Size], drops, out int length);
        answer.Put(new FusePair((uint)length, 0));
        return error;
    }

    internal int Release(ReadOnlySpan<byte> body)
    {
        if (!MemoryMarshal.TryRead(body, out ulong handle))
        {
            return Errno.Invalid;
        }

        files.Close(handle);
        return 0;
    }

    internal int Sync(ReadOnlySpan<byte> body)
    {
        if (body.Length < 16)
        {
            return Errno.Invalid;
        }

        ulong handle = MemoryMarshal.Read<ulong>(body);
        bool dataOnly = (MemoryMarshal.Read<uint>(body[8..]) & 1) != 0;
        return files.Find(handle) is { } file ? (file.Descriptor is null ? 0 : file.Sync(dataOnly)) : Errno.BadDescriptor;
    }

    /// <summary>FALLOCATE, LSEEK, COPY_FILE_RANGE.</summary>
    internal int Special(FuseOpcode opcode, ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        switch (opcode)
        {
            case FuseOpcode.FAllocate when MemoryMarshal.TryRead(body, out FuseAllocateIn request):
                return tree.IsReadOnly ? Errno.ReadOnly
                    : (request.Mode & ~AllocateModes) != 0 ? Errno.NotSupported
                    : files.Find(request.Handle) is { } allocated
                        ? allocated.Allocate((int)request.Mode, request.Offset, request.Length)
                        : Errno.BadDescriptor;
            case FuseOpcode.LSeek when MemoryMarshal.TryRead(body, out FuseSeekIn request) && answer.HasRoomFor<ulong>():
                ulong found = 0;
                int error = files.Find(request.Handle) is { } sought
                    ? sought.Seek(request.Offset, request.Whence, out found)
                    : Errno.BadDescriptor;
                answer.Put(found);
                return error;
            case FuseOpcode.CopyFileRange when MemoryMarshal.TryRead(body, out FuseCopyIn request) && answer.HasRoomFor<FusePair>():
                return Copy(request, ref answer);
            default:
                return Errno.Invalid;
        }
    }

    private int Copy(in FuseCopyIn request, ref FuseAnswer answer)
    {
        if (tree.IsReadOnly || request.Flags != 0)
        {
            return tree.IsReadOnly ? Errno.ReadOnly : Errno.Invalid;
        }

        if (files.Find(request.Handle) is not { } from || files.Find(request.TargetHandle) is not { } to)
        {
            return Errno.BadDescriptor;
        }

        ulong length = Math.Min(request.Length, MostCopied);
        int error = from.CopyTo(to, request.Offset, request.TargetOffset, length, out uint copied);
        answer.Put(new FusePair(copied, 0));
        return error;
    }
}
