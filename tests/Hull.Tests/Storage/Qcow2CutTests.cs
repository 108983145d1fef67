using System;
using System.Collections.Generic;
using Hull.Storage;
using Hull.Storage.Qcow2;
using Xunit;

namespace Hull.Tests.Storage;

/// <summary>
/// The host is cut at any point, with any of the writes that were not synced lost: the image is whole but for unused
/// clusters, and what a flush was promised for is there.
/// </summary>
public sealed class Qcow2CutTests
{
    private const int Sectors = 2000;

    [Fact]
    public void CutAnywhere_LosesNoFlushedWrite_AndNoMetadata() => Run(new Random().Next(), 8, 25);

    [Fact]
    [Trait("Category", "Long")]
    public void CutAnywhere_ManyTimes() => Run(1, Qcow2InterchangeTests.Count("HULL_QCOW2_CUTS", 4000) / 50, 50);

    [Fact]
    public void FullHost_GivesErrors_AndTheImageStaysWhole()
    {
        MemoryImage file = Create(1, out _);
        using (Qcow2Store store = Open(file))
        {
            file.Capacity = (int)file.Length + 100_000;
            byte[] data = new byte[4096];
            int failures = 0;
            for (ulong at = 0; at + 4096 <= store.Length; at += 4096)
            {
                try
                {
                    store.Write(at, data.AsSpan());
                }
                catch (System.IO.IOException)
                {
                    failures++;
                }
            }

            Assert.True(failures > 0);
            file.Capacity = 64 << 20;
            data.AsSpan().Fill(7);
            store.Write(store.Length - 4096, data);
            store.Flush();
        }

        AssertWhole(file.ToArray(), "after a full host");
    }

    /// <summary>While new clusters are being filled, others have the image: they flush it, make it longer, write there too.</summary>
    [Theory]
    [InlineData(9)]
    [InlineData(14)]
    public void OthersWorkWhileNewClustersAreFilled_AndNoCutLosesAnything(int clusterBits)
    {
        MemoryImage made = new();
        Qcow2Store.Create(made, new Qcow2Options { ClusterSize = 1 << clusterBits, ExtendedL2 = clusterBits == 14 }, Sectors * 512);
        byte[] start = made.ToArray();
        MemoryImage file = new(start);
        byte[] large = new byte[4 << clusterBits];
        Array.Fill(large, (byte)1);
        byte[] sector = new byte[512];
        Array.Fill(sector, (byte)2);
        int flushed = 0;
        using (Qcow2Store store = Open(file))
        {
            file.BeforeNextWrite = () =>
            {
                Assert.True(store.FindRun(0, out bool isZero) > 0 && isZero, "bytes are seen that are not there yet");
                store.Write(0, sector);
                store.Write(900 * 512, sector);
                store.Flush();
                flushed = file.LogLength;
            };
            store.Write(0, large);
            Assert.True(flushed > 0);
            file.BeforeNextWrite = () => store.Discard(0, (ulong)large.Length);
            store.Write((ulong)large.Length, large);
            store.Write(0, large);
            store.Flush();
            int done = file.LogLength;
            for (int point = 0; point <= done; point++)
            {
                byte[] left = file.After(start, point, new Random(point));
                AssertWhole(left, $"cut at {point} of {done}");
                AssertRead(left, 900 * 512, point < flushed ? null : sector, $"cut at {point} of {done}");
                AssertRead(left, 0, point < done ? null : large, $"cut at {point} of {done}");
                AssertRead(left, large.Length, point < done ? null : large, $"cut at {point} of {done}");
            }
        }

        Qcow2Findings findings = Qcow2Check.Run(new MemoryImage(file.ToArray()), Qcow2Repair.None);
        Assert.True(findings is { Corruptions: 0, Leaks: 0 }, string.Join('\n', findings.Messages));
    }

    [Fact]
    public void FullHostWhileNewClustersAreFilled_GivesTheirPlacesBack()
    {
        MemoryImage file = Create(1, out _);
        using (Qcow2Store store = Open(file))
        {
            file.BeforeNextWrite = () => file.Capacity = 1;
            Assert.Throws<System.IO.IOException>(() => store.Write(0, new byte[256 * 512]));
            file.Capacity = 64 << 20;
            store.Flush();
        }

        Qcow2Findings findings = Qcow2Check.Run(new MemoryImage(file.ToArray()), Qcow2Repair.None);
        Assert.True(findings is { Corruptions: 0, Leaks: 0 }, string.Join('\n', findings.Messages));
    }

    private static void AssertRead(byte[] image, int offset, byte[]? expected, string context)
    {
        if (expected is not null)
        {
            using Qcow2Store store = Open(new MemoryImage(image));
            byte[] read = new byte[expected.Length];
            store.Read((ulong)offset, read);
            Assert.True(read.AsSpan().SequenceEqual(expected), $"{context}: at {offset}");
        }
    }

    private static void Run(int firstSeed, int lives, int cuts)
    {
        for (int seed = firstSeed; seed < firstSeed + lives; seed++)
        {
            Random random = new(seed);
            MemoryImage file = Create(seed, out byte[] start);
            List<Promise> promises = Live(file, random);
            for (int i = 0; i < cuts; i++)
            {
                int point = random.Next(file.LogLength + 1);
                byte[] left = file.After(start, point, random.Next(3) == 0 ? null : random);
                string context = $"seed {seed}, cut at {point} of {file.LogLength}";
                AssertWhole(left, context);
                AssertPromises(left, promises.FindLast(promise => promise.Point <= point), context);
            }
        }
    }

    private static MemoryImage Create(int seed, out byte[] start)
    {
        Random random = new(seed);
        int clusterBits = random.Next(9, 15);
        MemoryImage made = new();
        Qcow2Options options = new()
        {
            ClusterSize = 1 << clusterBits,
            ExtendedL2 = clusterBits == 14,
            RefcountBits = 1 << random.Next(7),
        };
        Qcow2Store.Create(made, options, Sectors * 512);
        start = made.ToArray();
        return new MemoryImage(start);
    }

    // Random changes; at each flush it is noted what the disk must still have, and what of it was changed since.
    private static List<Promise> Live(MemoryImage file, Random random)
    {
        byte[] content = new byte[Sectors * 512];
        List<Promise> promises = [new Promise(0, [.. content], new bool[Sectors])];
        using Qcow2Store store = Open(file);
        for (int i = 0; i < 60; i++)
        {
            int first = random.Next(Sectors);
            int count = Math.Min(random.Next(1, random.Next(2) == 0 ? 4 : 100), Sectors - first);
            Span<byte> part = content.AsSpan(first * 512, count * 512);
            switch (random.Next(5))
            {
                case 0:
                    store.Flush();
                    promises.Add(new Promise(file.LogLength, [.. content], new bool[Sectors]));
                    continue;
                case 1:
                    part.Clear();
                    store.WriteZeroes((ulong)first * 512, (ulong)part.Length, random.Next(2) == 0);
                    break;
                case 2:
                    store.Discard((ulong)first * 512, (ulong)part.Length);
                    store.Read((ulong)first * 512, part);
                    break;
                default:
                    random.NextBytes(part);
                    store.Write((ulong)first * 512, part);
                    break;
            }

            promises[^1].Changed.AsSpan(first, count).Fill(true);
        }

        return promises;
    }

    private static void AssertWhole(byte[] image, string context)
    {
        Qcow2Findings findings = Qcow2Check.Run(new MemoryImage(image), Qcow2Repair.None);
        Assert.True(findings.Corruptions == 0, $"{context}: {string.Join('\n', findings.Messages)}");
    }

    private static void AssertPromises(byte[] image, Promise? promise, string context)
    {
        using Qcow2Store store = Open(new MemoryImage(image));
        byte[] sector = new byte[512];
        for (int i = 0; promise is not null && i < Sectors; i++)
        {
            if (!promise.Changed[i])
            {
                store.Read((ulong)i * 512, sector);
                Assert.True(sector.AsSpan().SequenceEqual(promise.Content.AsSpan(i * 512, 512)), $"{context}: sector {i}, flushed at {promise.Point}");
            }
        }
    }

    private static Qcow2Store Open(IImageFile file) =>
        Qcow2Store.Open(file, false, _ => throw new InvalidOperationException("it names no other file"));

    /// <summary>What a flush promised.</summary>
    private sealed record Promise(int Point, byte[] Content, bool[] Changed);
}
