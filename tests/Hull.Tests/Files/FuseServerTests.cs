using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using Hull.Files.Fuse;
using Hull.Host;
using Xunit;
using static Hull.Tests.Files.FuseClient;

namespace Hull.Tests.Files;

public sealed class FuseServerTests : IDisposable
{
    private readonly SharedFolder _folder = new();

    [Fact]
    public void Lookup_TellsWhatAFileIs()
    {
        using FuseClient client = new(_folder.Open());
        FuseEntryOut entry = client.Find(Root, "file");
        Assert.Equal(8ul, entry.Attr.Size);
        Assert.Equal(FileKind.Regular, entry.Attr.Mode & FileKind.Mask);
        Assert.Equal(entry.Node, client.Find(Root, "file").Node);
    }

    [Fact]
    public void LookupOfNothing_IsAnAnswerThatHolds()
    {
        using FuseClient client = new(_folder.Open());
        FuseEntryOut entry = client.Find(Root, "nothing");
        Assert.Equal(0ul, entry.Node);
        Assert.Equal(1ul, entry.EntrySeconds);
    }

    [Fact]
    public void FileIsWrittenReadCutAndRemoved()
    {
        using FuseClient client = new(_folder.Open());
        byte[] create = [.. Bytes(new FuseCreateIn(0x8042, 0x1A4, 0x12, 0)), .. Text("new")];
        Assert.Equal(0, client.Call(FuseOpcode.Create, Root, create, out byte[] answer));
        ulong node = MemoryMarshal.Read<FuseEntryOut>(answer).Node;
        ulong handle = MemoryMarshal.Read<FuseOpenOut>(answer.AsSpan(128)).Handle;
        Assert.Equal(0, client.Write(node, handle, 3, "abc"));
        Assert.Equal("\0\0\0abc", client.Read(node, handle));

        FuseSetAttrIn cut = new(8, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        Assert.Equal(0, client.Call(FuseOpcode.SetAttr, node, Bytes(cut), out answer));
        Assert.Equal(4ul, MemoryMarshal.Read<FuseAttrOut>(answer).Attr.Size);
        Assert.Equal("\0\0\0a", File.ReadAllText(_folder.Of("new")));

        Assert.Equal(0, client.Call(FuseOpcode.Unlink, Root, Text("new"), out _));
        Assert.False(File.Exists(_folder.Of("new")));
        Assert.Equal(0, client.Call(FuseOpcode.GetAttr, node, new byte[16], out answer));
        Assert.Equal(0u, MemoryMarshal.Read<FuseAttrOut>(answer).Attr.Links);
    }

    [Fact]
    public void RenamedFile_KeepsItsNode_AndIsFoundInItsNewPlace()
    {
        using FuseClient client = new(_folder.Open());
        ulong node = client.Find(Root, "file").Node;
        ulong folder = client.Find(Root, "folder").Node;
        byte[] rename = [.. Bytes(new FuseForget(folder, 0)), .. Text("file", "moved")];
        Assert.Equal(0, client.Call(FuseOpcode.Rename2, Root, rename, out _));
        Assert.Equal(node, client.Find(folder, "moved").Node);
        Assert.Equal(0, client.Open(node, 0, out ulong handle));
        Assert.Equal("content\n", client.Read(node, handle));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ReadDir_GivesEveryNameOnce_HoweverSmallTheRoom(bool plus)
    {
        FuseOpcode opcode = plus ? FuseOpcode.ReadDirPlus : FuseOpcode.ReadDir;
        for (int i = 0; i < 500; i++)
        {
            File.WriteAllText(_folder.Of($"folder/{i}"), "");
        }

        using FuseClient client = new(_folder.Open());
        ulong folder = client.Find(Root, "folder").Node;
        foreach (int room in (ReadOnlySpan<int>)[400, 4096, 65536])
        {
            HashSet<string> names = ReadAll(client, folder, opcode, room);
            Assert.Equal(503, names.Count);
            Assert.Contains("499", names);
        }
    }

    [Fact]
    public void Forgotten_NodesAndDescriptorsGo()
    {
        using Hull.Files.FileTree tree = _folder.Open();
        using FuseClient client = new(tree);
        ulong node = client.Find(Root, "file").Node;
        client.Find(Root, "file");
        client.Forget(node, 1);
        Assert.Equal(2, tree.Nodes.Count);
        client.Forget(node, 1);
        Assert.Equal(1, tree.Nodes.Count);
        Assert.Equal(Errno.Stale, client.Call(FuseOpcode.GetAttr, node, new byte[16], out _));
    }

    [Fact]
    public void Attributes_AreKept_AndMayBeHidden()
    {
        using FuseClient client = new(_folder.Open());
        ulong node = client.Find(Root, "file").Node;
        byte[] set = [.. Bytes(new FusePair(5, 0)), .. Text("user.colour"), .. "green"u8];
        int error = client.Call(FuseOpcode.SetXAttr, node, set, out _);
        if (error == Errno.NotSupported)
        {
            return; // this host's temporary folder keeps none
        }

        Assert.Equal(0, error);
        Assert.Equal(0, client.Call(FuseOpcode.GetXAttr, node, [.. Bytes(new FusePair(64, 0)), .. Text("user.colour")], out byte[] answer));
        Assert.Equal("green", Encoding.UTF8.GetString(answer));
        using FuseClient blind = new(_folder.Open(), hidesAttributes: true);
        Assert.Equal(Errno.NoSystemCall, blind.Call(FuseOpcode.GetXAttr, Root, [.. Bytes(new FusePair(64, 0)), .. Text("user.colour")], out _));
    }

    [Fact]
    public void ReadOnlyShare_RefusesEveryChange()
    {
        using FuseClient client = new(_folder.Open(readOnly: true));
        ulong file = client.Find(Root, "file").Node;
        byte[] pair = Bytes(new FusePair(0x1ED, 0));
        Assert.Equal(Errno.ReadOnly, client.Call(FuseOpcode.MkDir, Root, [.. pair, .. Text("d")], out _));
        Assert.Equal(Errno.ReadOnly, client.Call(FuseOpcode.MkNod, Root, [.. Bytes(new FuseMkNodIn(0x81A4, 0, 0, 0)), .. Text("n")], out _));
        Assert.Equal(Errno.ReadOnly, client.Call(FuseOpcode.SymLink, Root, Text("l", "t"), out _));
        Assert.Equal(Errno.ReadOnly, client.Call(FuseOpcode.Link, Root, [.. Bytes(file), .. Text("l")], out _));
        Assert.Equal(Errno.ReadOnly, client.Call(FuseOpcode.Unlink, Root, Text("file"), out _));
        Assert.Equal(Errno.ReadOnly, client.Call(FuseOpcode.RmDir, Root, Text("folder"), out _));
        Assert.Equal(Errno.ReadOnly, client.Call(FuseOpcode.Rename, Root, [.. Bytes(1ul), .. Text("file", "x")], out _));
        Assert.Equal(Errno.ReadOnly, client.Call(FuseOpcode.Create, Root, [.. Bytes(new FuseCreateIn(0x42, 0x1A4, 0, 0)), .. Text("c")], out _));
        Assert.Equal(Errno.ReadOnly, client.Call(FuseOpcode.SetAttr, file, new byte[88], out _));
        Assert.Equal(Errno.ReadOnly, client.Call(FuseOpcode.SetXAttr, file, [.. Bytes(new FusePair(1, 0)), .. Text("user.a"), 1], out _));
        Assert.Equal(Errno.ReadOnly, client.Open(file, 1, out _));
        Assert.Equal(Errno.ReadOnly, client.Open(file, 0x200, out _));
        Assert.Equal(0, client.Open(file, 0, out ulong handle));
        Assert.Equal(Errno.ReadOnly, client.Write(file, handle, 0, "x"));
        Assert.Equal("content\n", File.ReadAllText(_folder.Of("file")));
    }

    public void Dispose() => _folder.Dispose();

    private static HashSet<string> ReadAll(FuseClient client, ulong folder, FuseOpcode opcode, int room)
    {
        HashSet<string> names = [];
        Assert.Equal(0, client.Open(folder, 0, out ulong handle, FuseOpcode.OpenDir));
        ulong offset = 0;
        while (true)
        {
            FuseTransferIn request = new(handle, offset, (uint)room, 0, 0, 0, 0);
            Assert.Equal(0, client.Call(opcode, folder, Bytes(request), out byte[] answer));
            if (answer.Length == 0)
            {
                return names;
            }

            int extra = opcode == FuseOpcode.ReadDirPlus ? 128 : 0;
            for (int at = 0; at < answer.Length;)
            {
                FuseEntry entry = MemoryMarshal.Read<FuseEntry>(answer.AsSpan(at + extra));
                int header = 24 + extra;
                Assert.True(names.Add(Encoding.UTF8.GetString(answer, at + header, (int)entry.NameLength)));
                offset = entry.Offset;
                at += (header + (int)entry.NameLength + 7) & ~7;
            }
        }
    }
}
