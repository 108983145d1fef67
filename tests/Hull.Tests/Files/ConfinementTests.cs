using System;
using System.IO;
using System.Runtime.InteropServices;
using System.Threading;
using Hull.Files;
using Hull.Files.Fuse;
using Hull.Host;
using Xunit;
using static Hull.Tests.Files.FuseClient;

namespace Hull.Tests.Files;

/// <summary>No request leads out of the shared folder, and none waits for somebody else.</summary>
public sealed partial class ConfinementTests : IDisposable
{
    private readonly SharedFolder _folder = new();

    [Theory]
    [InlineData("..")]
    [InlineData(".")]
    [InlineData("")]
    [InlineData("../secret")]
    [InlineData("/etc/passwd")]
    [InlineData("folder/inner")]
    public void NameThatIsNoName_IsRefused(string name)
    {
        using FuseClient client = new(_folder.Open());
        ulong folder = client.Find(Root, "folder").Node;
        foreach (ulong node in (ReadOnlySpan<ulong>)[Root, folder])
        {
            Assert.Equal(Errno.Invalid, client.TryFind(node, name, out _));
            Assert.Equal(Errno.Invalid, client.Call(FuseOpcode.Unlink, node, Text(name), out _));
            Assert.Equal(Errno.Invalid, client.Call(FuseOpcode.Rename, node, [.. Bytes(1ul), .. Text("inner", name)], out _));
        }
    }

    [Fact]
    public void FolderThatHullMayNotLookInto_IsRefused()
    {
        string closed = Directory.CreateTempSubdirectory("hull-closed-").FullName;
        int user = SetFileUser(-1);
        File.SetUnixFileMode(closed, UnixFileMode.None);
        try
        {
            // Root looks everywhere; this thread does as somebody else for a while.
            _ = SetFileUser(user == 0 ? 65534 : user);
            string message = Assert.Throws<HullException>(() => FileTree.Open(new FileTreeOptions { Path = closed })).Message;
            Assert.Contains("Hull's user may not look into it", message, StringComparison.Ordinal);
        }
        finally
        {
            _ = SetFileUser(user);
            Directory.Delete(closed);
        }
    }

    [Theory]
    [InlineData("up")]
    [InlineData("root")]
    public void SymbolicLink_IsShownButNotFollowed(string name)
    {
        using FuseClient client = new(_folder.Open());
        ulong link = client.Find(Root, name).Node;
        Assert.Equal(0, client.Call(FuseOpcode.ReadLink, link, [], out _));
        Assert.Equal(Errno.AccessDenied, client.Open(link, 0, out _));
        Assert.Equal(Errno.NotDirectory, client.TryFind(link, "etc", out _));
        Assert.Equal(Errno.NotDirectory, client.Open(link, 0, out _, FuseOpcode.OpenDir));
        FuseSetAttrIn mode = new(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1FF, 0, 0, 0, 0);
        Assert.Equal(Errno.NotSupported, client.Call(FuseOpcode.SetAttr, link, Bytes(mode), out _));
        Assert.Equal(SharedFolder.Secret, File.ReadAllText(_folder.SecretPath));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(1u)]
    [InlineData(2u)]
    public void Fifo_IsShownButNotOpened(uint flags)
    {
        using FuseClient client = new(_folder.Open());
        ulong fifo = client.Find(Root, "fifo").Node;
        Assert.Equal(Errno.AccessDenied, client.Open(fifo, flags, out _));
        byte[] create = [.. Bytes(new FuseCreateIn(flags | 0x40, 0x1A4, 0, 0)), .. Text("fifo")];
        Assert.Equal(Errno.AccessDenied, client.Call(FuseOpcode.Create, Root, create, out _));
    }

    [Theory]
    [InlineData(0x2000u)]
    [InlineData(0x6000u)]
    [InlineData(0x4000u)]
    [InlineData(0xA000u)]
    public void Devices_AreNotMade(uint kind)
    {
        using FuseClient client = new(_folder.Open());
        byte[] make = [.. Bytes(new FuseMkNodIn(kind | 0x1B6, 0x103, 0, 0)), .. Text("made")];
        Assert.Equal(Errno.NotPermitted, client.Call(FuseOpcode.MkNod, Root, make, out _));
        Assert.False(File.Exists(_folder.Of("made")));
    }

    [Theory]
    [InlineData(0x1000u)]
    [InlineData(0xC000u)]
    public void FifosAndSockets_AreMade_AndNeverOpenedHere(uint kind)
    {
        using FuseClient client = new(_folder.Open());
        byte[] make = [.. Bytes(new FuseMkNodIn(kind | 0x1B6, 0, 0, 0)), .. Text("made")];
        Assert.Equal(0, client.Call(FuseOpcode.MkNod, Root, make, out _));
        ulong made = client.Find(Root, "made").Node;
        Assert.Equal(Errno.AccessDenied, client.Open(made, 0, out _));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite
            | UnixFileMode.OtherRead | UnixFileMode.OtherWrite, File.GetUnixFileMode(_folder.Of("made")));
        Assert.Equal(17, client.Call(FuseOpcode.MkNod, Root, make, out _));
    }

    [Fact]
    public void CreateThroughALinkThatIsThere_DoesNotWriteItsTarget()
    {
        using FuseClient client = new(_folder.Open());
        byte[] create = [.. Bytes(new FuseCreateIn(0x242, 0x1A4, 0, 0)), .. Text("up")];
        Assert.Equal(Errno.AccessDenied, client.Call(FuseOpcode.Create, Root, create, out _));
        Assert.Equal(SharedFolder.Secret, File.ReadAllText(_folder.SecretPath));
    }

    [Fact]
    public void FolderThatBecameALink_IsNotItself()
    {
        using FileTree tree = _folder.Open();
        using FuseClient client = new(tree);
        ulong folder = client.Find(Root, "folder").Node;
        Directory.Delete(_folder.Of("folder"), recursive: true);
        Directory.CreateSymbolicLink(_folder.Of("folder"), "..");
        Assert.Equal(Errno.Stale, client.TryFind(folder, "secret", out _));
        Assert.Equal(Errno.NotDirectory, client.TryFind(client.Find(Root, "folder").Node, "secret", out _));
    }

    [Fact]
    public void FileReplacedByAnother_IsFoundAnewByItsName()
    {
        using FuseClient client = new(_folder.Open());
        ulong old = client.Find(Root, "file").Node;
        File.WriteAllText(_folder.Of("other"), "other");
        File.Move(_folder.Of("other"), _folder.Of("file"), overwrite: true);
        Assert.Equal(Errno.Stale, client.Open(old, 0, out _));
        ulong node = client.Find(Root, "file").Node;
        Assert.NotEqual(old, node);
        Assert.Equal(0, client.Open(node, 0, out ulong handle));
        Assert.Equal("other", client.Read(node, handle));
    }

    [Theory]
    [InlineData("/proc")]
    [InlineData("/sys")]
    public void KernelsOwnFileSystem_IsNotShared(string path)
    {
        HullException e = Assert.Throws<HullException>(() => FileTree.Open(new FileTreeOptions { Path = path }));
        Assert.Contains(path, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void KernelsOwnFileSystemBelowAShare_IsAnEmptyFolder()
    {
        using FuseClient client = new(FileTree.Open(new FileTreeOptions { Path = "/", ReadOnly = true }));
        ulong proc = client.Find(Root, "proc").Node;
        Assert.Equal(0ul, client.Find(proc, "self").Node);
        Assert.Equal(0, client.Open(proc, 0, out ulong handle, FuseOpcode.OpenDir));
        FuseTransferIn request = new(handle, 0, 4096, 0, 0, 0, 0);
        Assert.Equal(0, client.Call(FuseOpcode.ReadDir, proc, Bytes(request), out byte[] answer));
        Assert.Empty(answer);
    }

    // Somebody on the host swaps a folder for a link to the outside as fast as it can.
    [Fact]
    public void SwappedWhileInUse_NeverLeadsOutside()
    {
        Directory.CreateSymbolicLink(_folder.Of("swap"), "..");
        File.WriteAllText(_folder.Of("folder/secret"), "inside");
        using FileTree tree = _folder.Open();
        using FuseClient client = new(tree);
        using CancellationTokenSource stop = new();
        Thread swapper = new(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                _ = LibcDirectories.RenameAt(
                    LibcDirectories.CurrentDirectory, Text(_folder.Of("folder")), LibcDirectories.CurrentDirectory, Text(_folder.Of("swap")), 2);
            }
        });
        swapper.Start();
        int inside = 0;
        for (int i = 0; i < 20_000; i++)
        {
            if (client.TryFind(Root, "folder", out FuseEntryOut folder) != 0
                || client.TryFind(folder.Node, "secret", out FuseEntryOut file) != 0 || file.Node == 0
                || client.Open(file.Node, 0, out ulong handle) != 0)
            {
                continue;
            }

            Assert.Equal("inside", client.Read(file.Node, handle));
            inside++;
            client.Call(FuseOpcode.Release, file.Node, [.. Bytes(handle), .. new byte[16]], out _);
            client.Forget(file.Node, ulong.MaxValue);
        }

        stop.Cancel();
        swapper.Join();
        Assert.True(inside > 0, "the folder was never there");
    }

    public void Dispose() => _folder.Dispose();

    [LibraryImport("libc", EntryPoint = "setfsuid")]
    private static partial int SetFileUser(int user);
}
