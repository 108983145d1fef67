using System;
using System.IO;
using System.Linq;
using Hull.Boot;
using Hull.Cli.Store;
using Xunit;

namespace Hull.Tests.Cli;

public sealed class DiskBootCacheTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-cache").FullName;
    private readonly DiskBootCache _cache;

    public DiskBootCacheTests() => _cache = new DiskBootCache(new XdgDirectories(_folder, _folder));

    [Fact]
    public void Room_IsMadeAtTheCostOfWhatWasNotUsedForLongest()
    {
        for (int i = 0; i < 8; i++)
        {
            Put($"old-{i}");
            File.SetLastWriteTimeUtc(Path.Combine(_folder, "boot", $"old-{i}"), DateTime.UtcNow.AddHours(i - 20));
        }

        _cache.Open("old-0")!.Dispose();
        Put("new-0");
        Put("new-1");

        string[] kept = [.. Directory.GetFiles(Path.Combine(_folder, "boot")).Select(Path.GetFileName).Order()!];
        Assert.Equal(["new-0", "new-1", "old-0", "old-2", "old-3", "old-4", "old-5", "old-6", "old-7"], kept);
    }

    [Fact]
    public void BlobThatMakesRoom_IsReadToItsEndByWhoHasItOpen()
    {
        Put("read");
        File.SetLastWriteTimeUtc(Path.Combine(_folder, "boot", "read"), DateTime.UtcNow.AddDays(-1));
        using Stream open = _cache.Open("read")!;
        for (int i = 0; i < 9; i++)
        {
            Put($"new-{i}");
            File.SetLastWriteTimeUtc(Path.Combine(_folder, "boot", $"new-{i}"), DateTime.UtcNow.AddHours(1));
        }

        Put("last");

        Assert.Null(_cache.Open("read"));
        Assert.Equal(3, open.Read(new byte[8]));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private void Put(string key)
    {
        using IBootCacheDraft draft = _cache.Create(key)!;
        draft.Content.Write([1, 2, 3]);
        draft.Commit();
    }
}
