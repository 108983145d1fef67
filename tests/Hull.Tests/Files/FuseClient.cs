using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Hull.Files;
using Hull.Files.Fuse;

namespace Hull.Tests.Files;

/// <summary>The guest's half of FUSE: lays requests and takes answers apart.</summary>
internal sealed class FuseClient : IDisposable
{
    internal const ulong Root = 1;
    private readonly FuseServer _server;
    private readonly byte[] _reply = new byte[FuseServer.MostMessage];
    private ulong _unique;

    internal FuseClient(FileTree tree, bool hidesAttributes = false)
    {
        _server = new FuseServer(tree, new FuseOptions { ValidSeconds = 1, HidesAttributes = hidesAttributes });
        Assert(Call(FuseOpcode.Init, 0, Bytes(new FuseInitIn(7, 37, 131072, uint.MaxValue)), out _));
    }

    internal FuseServer Server => _server;

    /// <summary>Sends a request. Returns the error number, 0 for success.</summary>
    internal int Call(FuseOpcode opcode, ulong node, ReadOnlySpan<byte> body, out byte[] answer, int room = 65536)
    {
        byte[] request = new byte[40 + body.Length];
        MemoryMarshal.Write(request, new FuseInHeader((uint)request.Length, opcode, ++_unique, node, 0, 0, 1, 0));
        body.CopyTo(request.AsSpan(40));
        int length = _server.Handle(request, _reply.AsSpan(0, 16 + room));
        Xunit.Assert.True(length >= 16);
        FuseOutHeader header = MemoryMarshal.Read<FuseOutHeader>(_reply);
        Xunit.Assert.Equal((uint)length, header.Length);
        Xunit.Assert.Equal(_unique, header.Unique);
        answer = _reply[16..length];
        return -header.Error;
    }

    /// <summary>Looks a name up; the node must be there.</summary>
    internal FuseEntryOut Find(ulong parent, string name)
    {
        Assert(TryFind(parent, name, out FuseEntryOut entry));
        return entry;
    }

    internal int TryFind(ulong parent, string name, out FuseEntryOut entry)
    {
        int error = Call(FuseOpcode.Lookup, parent, Text(name), out byte[] answer);
        entry = error == 0 ? MemoryMarshal.Read<FuseEntryOut>(answer) : default;
        return error;
    }

    internal int Open(ulong node, uint flags, out ulong handle, FuseOpcode opcode = FuseOpcode.Open)
    {
        int error = Call(opcode, node, Bytes(new FusePair(flags, 0)), out byte[] answer);
        handle = error == 0 ? MemoryMarshal.Read<FuseOpenOut>(answer).Handle : 0;
        return error;
    }

    internal string Read(ulong node, ulong handle, ulong offset = 0, uint size = 4096)
    {
        Assert(Call(FuseOpcode.Read, node, Bytes(new FuseTransferIn(handle, offset, size, 0, 0, 0, 0)), out byte[] answer));
        return Encoding.UTF8.GetString(answer);
    }

    internal int Write(ulong node, ulong handle, ulong offset, string text)
    {
        byte[] data = Encoding.UTF8.GetBytes(text);
        FuseTransferIn request = new(handle, offset, (uint)data.Length, 0, 0, 0, 0);
        return Call(FuseOpcode.Write, node, [.. Bytes(request), .. data], out _);
    }

    internal void Forget(ulong node, ulong lookups)
    {
        byte[] request = new byte[48];
        MemoryMarshal.Write(request, new FuseInHeader(48, FuseOpcode.Forget, ++_unique, node, 0, 0, 1, 0));
        MemoryMarshal.Write(request.AsSpan(40), lookups);
        Xunit.Assert.Equal(0, _server.Handle(request, default));
    }

    internal static byte[] Text(params string[] names) => Encoding.UTF8.GetBytes(string.Concat(Array.ConvertAll(names, n => n + "\0")));

    internal static byte[] Bytes<T>(T value)
        where T : unmanaged
    {
        byte[] bytes = new byte[Unsafe.SizeOf<T>()];
        MemoryMarshal.Write(bytes, value);
        return bytes;
    }

    public void Dispose() => _server.Dispose();

    private static void Assert(int error) => Xunit.Assert.Equal(0, error);
}
