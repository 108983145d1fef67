using System;
using System.IO;
using System.Threading.Tasks;
using Hull.Boot;
using Hull.Cli.Store;
using Xunit;

namespace Hull.Tests.Cli;

public sealed class CachedFilesTests : IDisposable
{
    private const string Key = "disk";

    private readonly string _folder = Directory.CreateTempSubdirectory("hull-cache").FullName;
    private readonly CachedFiles _files;

    public CachedFilesTests() => _files = new CachedFiles(new DiskBootCache(new XdgDirectories(_folder, _folder)));

    private string PathOfFile => Path.Combine(_folder, "boot", Key);

    [Fact]
    public void File_IsMadeOnce_AndReadAlthoughItLostItsName()
    {
        Assert.Null(_files.Find(Key, "name"));
        Make();
        BootBlob found = _files.Find(Key, "name")!;
        File.Delete(PathOfFile);

        Assert.Equal([1, 2, 3, 4, 5], Read(found));
    }

    [Fact]
    public void FileCutAnywhere_IsNotThere()
    {
        Make();
        byte[] good = File.ReadAllBytes(PathOfFile);
        for (int length = 0; length < good.Length; length++)
        {
            File.WriteAllBytes(PathOfFile, good[..length]);

            Assert.Null(_files.Find(Key, "name"));
        }
    }

    [Fact]
    public async Task ContentOfAKey_IsBuiltOnce()
    {
        int builds = 0;
        BootBlob built = await _files.GetAsync(Key, "name", Build);
        BootBlob kept = await _files.GetAsync(Key, "name", Build);

        Assert.Equal([6, 7], Read(built));
        Assert.Equal([6, 7], Read(kept));
        Assert.Equal(1, builds);

        Task<byte[]> Build()
        {
            builds++;
            return Task.FromResult<byte[]>([6, 7]);
        }
    }

    [Fact]
    public async Task CacheThatTakesNothing_GivesTheContentAllTheSame()
    {
        await File.WriteAllTextAsync(Path.Combine(_folder, "boot"), "no folder");

        Assert.Equal([6, 7], Read(await _files.GetAsync(Key, "name", static () => Task.FromResult<byte[]>([6, 7]))));
    }

    [Fact]
    public void FileWithoutContent_LeavesNoTrace()
    {
        Assert.Null(_files.Make(Key, "name", static _ => false));
        Assert.Empty(Directory.GetFiles(Path.Combine(_folder, "boot")));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static byte[] Read(BootBlob blob)
    {
        using MemoryStream content = new();
        blob.CopyTo(content);
        return content.ToArray();
    }

    private void Make() => Assert.NotNull(_files.Make(Key, "name", static to =>
    {
        to.Write([1, 2, 3, 4, 5]);
        return true;
    }));
}
