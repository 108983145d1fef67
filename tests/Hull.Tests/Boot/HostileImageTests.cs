using System;
using Hull.Boot;
using Hull.Host;
using Hull.Memory;
using Xunit;
using Xunit.Abstractions;

namespace Hull.Tests.Boot;

/// <summary>Damaged images: only a HullException may come out, and memory stays bounded.</summary>
public sealed class HostileImageTests(ITestOutputHelper output) : BootFixture
{
    private const long AllocationLimit = 64L << 20;

    [Theory]
    [InlineData("elf")]
    [InlineData("multiboot")]
    [InlineData("multiboot-flat")]
    [InlineData("multiboot2")]
    [InlineData("None")]
    [InlineData("Gzip")]
    [InlineData("Xz")]
    [InlineData("Zstd")]
    [InlineData("Lz4")]
    public void TruncatedEvery64Bytes_OnlyHullExceptions(string kind)
    {
        byte[] image = Image(kind);
        for (int length = 0; length < image.Length; length += 64)
        {
            Try(image.AsSpan(0, length).ToArray());
        }
    }

    [Theory]
    [InlineData("elf", 8000, 101)]
    [InlineData("multiboot", 4000, 107)]
    [InlineData("multiboot-flat", 4000, 108)]
    [InlineData("multiboot2", 4000, 109)]
    [InlineData("Gzip", 6000, 102)]
    [InlineData("Xz", 3000, 103)]
    [InlineData("Zstd", 2500, 104)]
    [InlineData("Lz4", 500, 105)]
    [InlineData("Unknown", 1000, 106)]
    [InlineData("Linux32", 3000, 110)]
    public void SeededMutations_OnlyHullExceptions(string kind, int cases, int seed)
    {
        Random random = new(seed);
        byte[] original = Image(kind);
        for (int i = 0; i < cases; i++)
        {
            byte[] image = [.. original];
            int changes = random.Next(1, 5);
            for (int c = 0; c < changes; c++)
            {
                Mutate(image, random);
            }

            try
            {
                Try(image);
            }
            catch
            {
                output.WriteLine($"kind {kind}, seed {seed}, case {i}");
                throw;
            }
        }
    }

    [Theory]
    [Trait("Category", "Long")]
    [InlineData("elf", 200_000, 201)]
    [InlineData("multiboot", 70_000, 207)]
    [InlineData("multiboot-flat", 60_000, 208)]
    [InlineData("multiboot2", 70_000, 209)]
    public void ManySeededMutations_OnlyHullExceptions(string kind, int cases, int seed) =>
        SeededMutations_OnlyHullExceptions(kind, cases, seed);

    [Fact]
    public void BombOfZeros_StopsAtTheLimit()
    {
        byte[] elf = TestImages.Elf();
        byte[] bomb = [.. elf, .. new byte[300 << 20]];
        byte[] image = TestImages.BzImage(TestImages.Pack(PackingMethod.Gzip, bomb));

        Assert.Contains("more than 256 MiB follow", Refusal(image), StringComparison.Ordinal);
    }

    private static byte[] Image(string kind) => kind switch
    {
        "elf" => TestImages.Elf(),
        "multiboot" => MultibootImages.Elf32(MultibootImages.Header1(3)),
        "multiboot-flat" => MultibootImages.Flat(),
        "multiboot2" => MultibootImages.Image(MultibootImages.Header2(
            [2, 24, MultibootImages.LinkAddress + MultibootImages.HeaderAt, MultibootImages.LinkAddress, 0, MultibootImages.BssEnd],
            [3, 12, MultibootImages.Entry])),
        "Linux32" => Linux32(),
        _ => TestImages.BzImage(TestImages.Pack(Enum.Parse<PackingMethod>(kind), TestImages.Elf())),
    };

    private static byte[] Linux32()
    {
        byte[] image = TestImages.BzImage(TestImages.Pack(PackingMethod.Unknown, TestImages.Elf()));
        TestImages.Put16(image, 0x236, 0);
        return image;
    }

    /// <summary>Mostly in the headers, where it matters, and with numbers that hurt.</summary>
    private static void Mutate(byte[] image, Random random)
    {
        int limit = random.Next(3) switch
        {
            0 => Math.Min(image.Length, 0x270),
            1 => Math.Min(image.Length, 0x1000),
            _ => image.Length,
        };
        int at = random.Next(limit);
        Span<byte> value = stackalloc byte[8];
        BitConverter.TryWriteBytes(value, random.Next(6) switch
        {
            0 => 0UL,
            1 => ulong.MaxValue,
            2 => 1UL << random.Next(64),
            3 => (1UL << random.Next(64)) - 1,
            4 => (ulong)random.NextInt64(0, 32 << 20),
            _ => (ulong)random.NextInt64(),
        });
        int width = Math.Min(1 << random.Next(4), image.Length - at);
        value[..width].CopyTo(image.AsSpan(at));
    }

    private void Try(byte[] image)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            LoadedKernel kernel = Load(image);
            Assert.True(Memory.Contains(new GuestPhysical(kernel.Entry), 1));
            Assert.True(kernel.KernelEnd <= Memory.Size);
        }
        catch (HullException e)
        {
            Assert.DoesNotContain('\n', e.Message);
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, AllocationLimit);
    }
}
