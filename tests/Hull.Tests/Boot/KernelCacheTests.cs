using System.Linq;
using Hull.Boot;
using Xunit;

namespace Hull.Tests.Boot;

public sealed class KernelCacheTests : BootFixture
{
    private readonly MemoryCache _cache = new();

    [Fact]
    public void SecondLoad_ComesFromTheCache()
    {
        LoadedKernel first = LoadWithCache();
        FillMemory();

        LoadedKernel second = LoadWithCache();

        Assert.Equal((1, 1), (_cache.Committed, _cache.Opened));
        Assert.Equal(first.Entry, second.Entry);
        Assert.Equal(TestImages.Text(), Read(TestImages.LinkAddress, TestImages.TextSize));
    }

    [Fact]
    public void EntryWithAnyFlippedByte_IsBuiltAnew()
    {
        LoadWithCache();
        string key = _cache.Blobs.Keys.Single();
        byte[] good = _cache.Blobs[key];
        for (int at = 0; at < good.Length; at += 61)
        {
            byte[] bad = [.. good];
            bad[at] ^= 0x10;
            _cache.Blobs[key] = bad;

            LoadWithCache();

            Assert.Equal(good, _cache.Blobs[key]);
            Assert.Equal(TestImages.Text(), Read(TestImages.LinkAddress, TestImages.TextSize));
        }
    }

    [Fact]
    public void EntryCutAnywhere_IsBuiltAnew()
    {
        LoadWithCache();
        string key = _cache.Blobs.Keys.Single();
        byte[] good = _cache.Blobs[key];
        for (int length = 0; length < good.Length; length += 97)
        {
            _cache.Blobs[key] = good[..length];

            LoadWithCache();

            Assert.Equal(good, _cache.Blobs[key]);
        }
    }

    [Fact]
    public void OtherKernelOfTheSameName_DoesNotGetTheEntry()
    {
        LoadWithCache();
        byte[] elf = TestImages.Elf();
        elf[^1] ^= 1;

        byte[] image = TestImages.BzImage(TestImages.Pack(PackingMethod.Xz, elf));
        BootLoader.Load(Memory, Request(image) with { Cache = _cache });

        Assert.Equal(2, _cache.Blobs.Count);
    }

    [Fact]
    public void DamagedKernel_LeavesNothingInTheCache()
    {
        byte[] image = TestImages.BzImage(TestImages.Pack(PackingMethod.Xz, TestImages.Elf()));
        image[^120] ^= 0x10;

        Refusal(Request(image) with { Cache = _cache });

        Assert.Empty(_cache.Blobs);
    }

    private LoadedKernel LoadWithCache()
    {
        byte[] image = TestImages.BzImage(TestImages.Pack(PackingMethod.Xz, TestImages.Elf()));
        return BootLoader.Load(Memory, Request(image) with { Cache = _cache });
    }
}
