using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Threading;
using Hull.Host;

namespace Hull.Files.NineP;

/// <summary>
/// Serves a folder with 9P2000.L, the protocol of Linux's v9fs: one message in, one out, on any thread, several at once.
/// Permissions are checked by the guest's kernel; locks are granted, as nobody else asks for them.
/// </summary>
internal sealed class P9Server : IDisposable
{
    /// <summary>Bytes of a message at the most.</summary>
    internal const int MostMessage = 1 << 20;

    private const int HeaderBytes = 7;
    private const int LeastMessage = 4096;

    private readonly FileTree _tree;
    private readonly OpenFiles _files;
    private readonly P9Fids _fids;
    private readonly P9Nodes _nodes;
    private readonly P9Io _io;
    private readonly object _busyLock = new();
    private readonly HashSet<ushort> _busy = [];

    internal P9Server(FileTree tree)
    {
        _tree = tree;
        FolderChanges changes = new(tree);
        FileAttributes attributes = new(tree);
        _files = new OpenFiles(tree, changes);
        _fids = new P9Fids(tree, _files);
        _nodes = new P9Nodes(tree, _fids, changes, attributes);
        _io = new P9Io(tree, _fids, _files, attributes);
    }

    /// <summary>Fids that the guest holds.</summary>
    internal int FidCount => _fids.Count;

    /// <summary>Is told of each message's end: whether it was to change something, and its error.</summary>
    internal Action<bool, int>? Ended { get; init; }

    /// <summary>A request that the host may take long for.</summary>
    internal static bool MayTakeLong(ReadOnlySpan<byte> request) => request.Length >= HeaderBytes && (P9Type)request[4] == P9Type.FSync;

    /// <summary>Serves one message.</summary>
    /// <param name="request">The message.</param>
    /// <param name="reply">Room for the answer.</param>
    /// <returns>Bytes of the answer; 0 when there is none to give.</returns>
    internal int Handle(ReadOnlySpan<byte> request, Span<byte> reply)
    {
        if (request.Length < HeaderBytes || reply.Length < HeaderBytes + 4)
        {
            return 0;
        }

        uint size = BinaryPrimitives.ReadUInt32LittleEndian(request);
        P9Type type = (P9Type)request[4];
        ushort tag = BinaryPrimitives.ReadUInt16LittleEndian(request[5..]);
        P9Writer answer = new(reply[HeaderBytes..]);
        int error = Errno.Invalid;
        if (size >= HeaderBytes && size <= request.Length)
        {
            P9Reader body = new(request[HeaderBytes..(int)size]);
            Begin(type, tag);
            error = Execute(type, tag, ref body, ref answer);
            End(type, tag);
            Ended?.Invoke(IsChange(type), error);
        }

        if (error != 0 || answer.IsFull)
        {
            type = P9Type.Error;
            answer = new P9Writer(reply[HeaderBytes..]);
            answer.Double((uint)(error != 0 ? error : Errno.InputOutput));
        }

        int length = HeaderBytes + answer.Length;
        BinaryPrimitives.WriteInt32LittleEndian(reply, length);
        reply[4] = (byte)((int)type + 1);
        BinaryPrimitives.WriteUInt16LittleEndian(reply[5..], tag);
        return length;
    }

    /// <summary>Closes and forgets all that the guest had. No message is under way.</summary>
    internal void Reset()
    {
        _fids.Clear();
        _files.Clear();
        _tree.Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Reset();
        _tree.Dispose();
    }

    private static bool IsChange(P9Type type) => type is P9Type.Write or P9Type.Create or P9Type.SetAttr or P9Type.SymLink
        or P9Type.MkNod or P9Type.MkDir or P9Type.Link or P9Type.UnlinkAt or P9Type.Remove or P9Type.Rename or P9Type.RenameAt
        or P9Type.FSync or P9Type.XAttrCreate;

    private int Execute(P9Type type, ushort tag, ref P9Reader body, ref P9Writer answer)
    {
        switch (type)
        {
            case P9Type.Version:
                return Version(ref body, ref answer);
            case P9Type.Flush:
                return Flush(body.Word(), tag);
            case P9Type.Attach:
                return _nodes.Attach(ref body, ref answer);
            case P9Type.Walk:
                return _nodes.Walk(ref body, ref answer);
            case P9Type.GetAttr:
                return _nodes.GetAttr(ref body, ref answer);
            case P9Type.SetAttr:
                return _io.SetAttr(ref body);
            case P9Type.StatFs:
                return _nodes.StatFs(ref body, ref answer);
            case P9Type.ReadLink:
                return _nodes.ReadLink(ref body, ref answer);
            case P9Type.SymLink or P9Type.MkNod or P9Type.MkDir:
                return _nodes.Make(type, ref body, ref answer);
            case P9Type.Link:
                return _nodes.Link(ref body);
            case P9Type.Rename or P9Type.RenameAt:
                return _nodes.Rename(type, ref body);
            case P9Type.UnlinkAt:
                return _nodes.Unlink(ref body);
            case P9Type.Remove:
                return _nodes.Remove(ref body);
            case P9Type.Open:
                return _io.Open(ref body, ref answer);
            case P9Type.Create:
                return _io.Create(ref body, ref answer);
            case P9Type.Read:
                return _io.Read(ref body, ref answer);
            case P9Type.Write:
                return _io.Write(ref body, ref answer);
            case P9Type.ReadDir:
                return _io.ReadDir(ref body, ref answer);
            case P9Type.FSync:
                return _io.Sync(ref body);
            case P9Type.Clunk:
                return _io.Clunk(ref body);
            case P9Type.XAttrWalk:
                return _io.AttributeWalk(ref body, ref answer);
            case P9Type.XAttrCreate:
                return _io.AttributeCreate(ref body);
            case P9Type.Lock:
                answer.Byte(0);
                return 0;
            case P9Type.GetLock:
                return GetLock(ref body, ref answer);
            default:
                return Errno.NotSupported;
        }
    }

    private int Version(ref P9Reader body, ref P9Writer answer)
    {
        uint most = body.Double();
        ReadOnlySpan<byte> version = body.String();
        if (body.IsShort || most < LeastMessage)
        {
            return Errno.Invalid;
        }

        Reset();
        answer.Double(Math.Min(most, MostMessage));
        answer.String(version.SequenceEqual("9P2000.L"u8) ? version : "unknown"u8);
        return 0;
    }

    private static int GetLock(ref P9Reader body, ref P9Writer answer)
    {
        const byte unlocked = 2;
        body.Double();
        body.Byte();
        answer.Byte(unlocked);
        answer.Quad(body.Quad());
        answer.Quad(body.Quad());
        answer.Double(body.Double());
        answer.String(body.String());
        return body.IsShort ? Errno.Invalid : 0;
    }

    private void Begin(P9Type type, ushort tag)
    {
        if (type != P9Type.Flush)
        {
            lock (_busyLock)
            {
                _busy.Add(tag);
            }
        }
    }

    private void End(P9Type type, ushort tag)
    {
        if (type != P9Type.Flush)
        {
            lock (_busyLock)
            {
                _busy.Remove(tag);
                Monitor.PulseAll(_busyLock);
            }
        }
    }

    // Answered behind the message that it is about. A flush waits for no flush, so never for itself.
    private int Flush(ushort old, ushort tag)
    {
        lock (_busyLock)
        {
            while (old != tag && _busy.Contains(old))
            {
                Monitor.Wait(_busyLock);
            }
        }

        return 0;
    }
}
