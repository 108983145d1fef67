using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hull.Host;

namespace Hull.Files.Fuse;

/// <summary>How long the guest may believe what it was told, and what it is not told.</summary>
internal sealed record FuseOptions
{
    /// <summary>Seconds for which names and attributes hold without asking again.</summary>
    internal required uint ValidSeconds { get; init; }

    /// <summary>There are no extended attributes: the guest asks once, not for every file.</summary>
    internal bool HidesAttributes { get; init; }
}

/// <summary>
/// Serves a folder with the FUSE protocol, version 7.36: one request in, one answer out, on any thread, several at once.
/// The guest's kernel checks permissions and keeps locks; writes are not held back. Linux, include/uapi/linux/fuse.h.
/// </summary>
internal sealed class FuseServer : IDisposable
{
    /// <summary>Bytes of a read or write at the most.</summary>
    internal const int MostData = 1 << 20;

    /// <summary>Bytes of a request or an answer at the most.</summary>
    internal const int MostMessage = MostData + 4096;

    private const int InHeaderBytes = 40;
    private const int OutHeaderBytes = 16;
    private const int PageSize = 4096;

    private readonly FileTree _tree;
    private readonly OpenFiles _files;
    private readonly FuseNodes _nodes;
    private readonly FuseFiles _io;
    private readonly FuseFolders _folders;
    private readonly FuseAttributes _attributes;

    internal FuseServer(FileTree tree, FuseOptions options)
    {
        _tree = tree;
        FolderChanges changes = new(tree);
        FileAttributes attributes = new(tree);
        FuseAttrs attrs = new(tree, options.ValidSeconds);
        _files = new OpenFiles(tree, changes);
        _nodes = new FuseNodes(tree, changes, attributes, _files, attrs);
        _io = new FuseFiles(tree, _files, attrs);
        _folders = new FuseFolders(tree, _files, attrs);
        _attributes = new FuseAttributes(attributes, options.HidesAttributes);
    }

    /// <summary>Is told of each request's end: whether it was to change something, and its error.</summary>
    internal Action<bool, int>? Ended { get; init; }

    /// <summary>A request that the host may take long for.</summary>
    internal static bool MayTakeLong(ReadOnlySpan<byte> request) => MemoryMarshal.TryRead(request, out FuseInHeader header)
        && header.Opcode is FuseOpcode.FSync or FuseOpcode.FSyncDir or FuseOpcode.SyncFs or FuseOpcode.FAllocate
            or FuseOpcode.CopyFileRange;

    /// <summary>Serves one request.</summary>
    /// <param name="request">The request, header and all.</param>
    /// <param name="reply">Room for the answer.</param>
    /// <returns>Bytes of the answer; 0 when there is none to give.</returns>
    internal int Handle(ReadOnlySpan<byte> request, Span<byte> reply)
    {
        if (!MemoryMarshal.TryRead(request, out FuseInHeader header))
        {
            return 0;
        }

        FuseAnswer answer = new(reply.Length > OutHeaderBytes ? reply[OutHeaderBytes..] : default);
        int error = header.Length < InHeaderBytes || header.Length > request.Length
            ? Errno.Invalid
            : Execute(header, request[InHeaderBytes..(int)header.Length], ref answer);
        Ended?.Invoke(IsChange(header.Opcode), error);
        if (header.Opcode is FuseOpcode.Forget or FuseOpcode.BatchForget or FuseOpcode.Interrupt || reply.Length < OutHeaderBytes)
        {
            return 0;
        }

        int length = OutHeaderBytes + (error == 0 ? answer.Length : 0);
        MemoryMarshal.Write(reply, new FuseOutHeader((uint)length, -error, header.Unique));
        return length;
    }

    /// <summary>Closes and forgets all that the guest had. No request is under way.</summary>
    internal void Reset()
    {
        _files.Clear();
        _tree.Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Reset();
        _tree.Dispose();
    }

    private static bool IsChange(FuseOpcode opcode) => opcode is FuseOpcode.Write or FuseOpcode.Create or FuseOpcode.SetAttr
        or FuseOpcode.SymLink or FuseOpcode.MkNod or FuseOpcode.MkDir or FuseOpcode.Link or FuseOpcode.Unlink or FuseOpcode.RmDir
        or FuseOpcode.Rename or FuseOpcode.Rename2 or FuseOpcode.FSync or FuseOpcode.FAllocate or FuseOpcode.CopyFileRange
        or FuseOpcode.SetXAttr or FuseOpcode.RemoveXAttr;

    private int Execute(in FuseInHeader header, ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        switch (header.Opcode)
        {
            case FuseOpcode.Init:
                return Init(body, ref answer);
            case FuseOpcode.Destroy:
                return 0;
            case FuseOpcode.Forget:
                return Forget(header.Node, body);
            case FuseOpcode.BatchForget:
                return ForgetMany(body);
            case FuseOpcode.FAllocate or FuseOpcode.LSeek or FuseOpcode.CopyFileRange:
                return _io.Special(header.Opcode, body, ref answer);
            default:
                break;
        }

        FileNode? node = _tree.Nodes.Find(header.Node);
        return node is null ? Errno.Stale : Execute(header, node, body, ref answer);
    }

    private int Execute(in FuseInHeader header, FileNode node, ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        switch (header.Opcode)
        {
            case FuseOpcode.Lookup:
                return _nodes.Lookup(node, body, ref answer);
            case FuseOpcode.GetAttr:
                return _nodes.GetAttr(node, body, ref answer);
            case FuseOpcode.SetAttr:
                return _nodes.SetAttr(node, body, ref answer);
            case FuseOpcode.ReadLink:
                return _nodes.ReadLink(node, ref answer);
            case FuseOpcode.SymLink or FuseOpcode.MkNod or FuseOpcode.MkDir or FuseOpcode.Link:
                return _nodes.Make(header, node, body, ref answer);
            case FuseOpcode.Unlink or FuseOpcode.RmDir:
                return _nodes.Remove(node, body, header.Opcode == FuseOpcode.RmDir);
            case FuseOpcode.Rename or FuseOpcode.Rename2:
                return _nodes.Rename(node, body, header.Opcode == FuseOpcode.Rename2);
            case FuseOpcode.Open:
                return _io.Open(node, body, ref answer);
            case FuseOpcode.Create:
                return _io.Create(header, node, body, ref answer);
            case FuseOpcode.Read:
                return _io.Read(body, ref answer);
            case FuseOpcode.Write:
                return _io.Write(body, ref answer);
            case FuseOpcode.Release or FuseOpcode.ReleaseDir:
                return _io.Release(body);
            case FuseOpcode.FSync or FuseOpcode.FSyncDir:
                return _io.Sync(body);
            case FuseOpcode.StatFs:
                return _nodes.StatFs(node, ref answer);
            case FuseOpcode.SyncFs:
                return _nodes.SyncFs(node);
            case FuseOpcode.OpenDir:
                return _folders.Open(node, ref answer);
            case FuseOpcode.ReadDir or FuseOpcode.ReadDirPlus:
                return _folders.Read(body, header.Opcode == FuseOpcode.ReadDirPlus, ref answer);
            case FuseOpcode.GetXAttr or FuseOpcode.ListXAttr or FuseOpcode.SetXAttr or FuseOpcode.RemoveXAttr:
                return _attributes.Execute(header.Opcode, node, body, ref answer);
            default:
                // Not needed: locks and access checks are the guest's own, and there is nothing to flush.
                return Errno.NoSystemCall;
        }
    }

    private int Init(ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        if (!MemoryMarshal.TryRead(body, out FuseInitIn init) || !answer.HasRoomFor<FuseInitOut>())
        {
            return Errno.Invalid;
        }

        // A mount begins: the guest knows nothing of the one before.
        Reset();
        answer.Put(new FuseInitOut(
            FuseInit.Major,
            FuseInit.Minor,
            init.ReadAhead,
            init.Flags & FuseInit.Offered,
            Background: 64,
            Congestion: 48,
            MostData,
            TimeGranularity: 1,
            MostData / PageSize,
            MapAlignment: 0));
        return 0;
    }

    private int Forget(ulong node, ReadOnlySpan<byte> body)
    {
        if (MemoryMarshal.TryRead(body, out ulong lookups))
        {
            _tree.Forget(node, lookups);
        }

        return 0;
    }

    private int ForgetMany(ReadOnlySpan<byte> body)
    {
        if (!MemoryMarshal.TryRead(body, out FusePair count))
        {
            return 0;
        }

        body = body[Unsafe.SizeOf<FusePair>()..];
        for (uint i = 0; i < count.First && MemoryMarshal.TryRead(body, out FuseForget one); i++)
        {
            _tree.Forget(one.Node, one.Lookups);
            body = body[Unsafe.SizeOf<FuseForget>()..];
        }

        return 0;
    }
}
