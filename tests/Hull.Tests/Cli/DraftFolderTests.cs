using System;
using System.IO;
using Hull.Cli.Debian;
using Xunit;

namespace Hull.Tests.Cli;

public sealed class DraftFolderTests : IDisposable
{
    private const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private readonly string _folder = Directory.CreateTempSubdirectory("hull-draft").FullName;

    [Fact]
    public void FolderBelowAPrivateOne_IsNotOpenToAll()
    {
        string inner = Path.Combine(_folder, "inner");
        Directory.CreateDirectory(inner);
        File.SetUnixFileMode(inner, Owner | UnixFileMode.OtherExecute);
        File.SetUnixFileMode(_folder, Owner);

        Assert.False(DraftFolder.IsOpenToAll(inner));
        Assert.True(DraftFolder.IsOpenToAll("/usr"));
    }

    [Fact]
    public void Draft_CannotBeFoundByOthers_AndIsClosedExceptWhileOpen()
    {
        using DraftFolder draft = new(Path.Combine(_folder, "disk.qcow2"));
        draft.Write("keys", "");

        Assert.Equal(Owner | UnixFileMode.OtherExecute, File.GetUnixFileMode(Path.GetDirectoryName(draft.Name)!));
        Assert.Equal(Owner, File.GetUnixFileMode(draft.Name));

        draft.Open();
        draft.Close();

        Assert.Equal(Owner, File.GetUnixFileMode(draft.Name));
    }

    [Fact]
    public void Disposed_LeavesNothing()
    {
        string name;
        using (DraftFolder draft = new(Path.Combine(_folder, "disk.qcow2")))
        {
            draft.Write("keys", "one");
            name = Path.GetDirectoryName(draft.Name)!;
        }

        Assert.False(Directory.Exists(name));
        Assert.Empty(Directory.GetFileSystemEntries(_folder));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
