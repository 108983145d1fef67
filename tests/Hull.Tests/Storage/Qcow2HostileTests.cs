using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using Hull.Host;
using Hull.Storage;
using Hull.Storage.Qcow2;
using Xunit;

namespace Hull.Tests.Storage;

/// <summary>Images that were made to harm: a clear error or a failed request, with little memory and time, and no file
/// opened that nobody named.</summary>
public sealed class Qcow2HostileTests : IDisposable
{
    private const long MostTraffic = 200L << 20;
    private static readonly ulong[] Extremes =
        [0, 1, 2, 7, 8, 63, 64, 511, 512, 0x1_0000, 0x7FFF_FFFF, 0xFFFF_FFFF, 1UL << 55, 1UL << 56, 1UL << 62, 1UL << 63, ulong.MaxValue];

    private readonly ImageFolder _folder = new();

    [QemuFact]
    public void MutatedImages_GiveErrorsOnly() => Mutate(new Random().Next(), 4000);

    [QemuFact]
    [Trait("Category", "Long")]
    public void MutatedImages_ManyTimes() => Mutate(1, Qcow2InterchangeTests.Count("HULL_QCOW2_MUTATIONS", 200_000));

    [Theory]
    [InlineData("/etc/passwd", null, "does not say what format")]
    [InlineData("/etc", "raw", "no regular file")]
    [InlineData("/dev/zero", "raw", "no regular file")]
    [InlineData("/dev/stdin", "raw", "no regular file")]
    [InlineData("json:{\"file.filename\":\"/etc/passwd\"}", "raw", "no file")]
    [InlineData("nbd:localhost:10809", "raw", "no file")]
    [InlineData("file:/etc/passwd", "raw", "no file")]
    [InlineData("nowhere", "raw", "not there")]
    [InlineData("/etc/passwd", "vmdk", "knows raw and qcow2")]
    [InlineData("upper.qcow2", "qcow2", "stand on each other")]
    public void BackingNames_ThatAreNoImages_AreRefusedEvenIfAllowed(string name, string? format, string expected)
    {
        string upper = WriteUpper(name, format);
        HullException e = Assert.Throws<HullException>(() => DiskImage.Open(upper, DiskFormat.Qcow2, true, true));
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void BackingFile_IsRefusedUnlessTheUserAllowsIt()
    {
        File.WriteAllBytes(_folder["lower.img"], new byte[4096]);
        string upper = WriteUpper("lower.img", "raw");
        HullException e = Assert.Throws<HullException>(() => DiskImage.Open(upper, DiskFormat.Qcow2, true));
        Assert.Contains("backing=on", e.Message, StringComparison.Ordinal);
        DiskImage.Open(upper, DiskFormat.Qcow2, true, allowBacking: true).Dispose();
    }

    [Fact]
    public void RawDiskWithAQcow2Header_StaysRaw()
    {
        byte[] content = File.ReadAllBytes(WriteUpper("/etc/passwd", "raw"));
        File.WriteAllBytes(_folder["disk.img"], content);
        using IByteStore store = DiskImage.Open(_folder["disk.img"], DiskFormat.ByEnding, true);
        Assert.IsType<RawStore>(store);
    }

    public void Dispose() => _folder.Dispose();

    private string WriteUpper(string backing, string? format)
    {
        string upper = _folder["upper.qcow2"];
        MemoryImage image = new();
        Qcow2Creator.Write(image, new Qcow2Options { BackingFile = backing, BackingFormat = DiskFormat.Raw });
        byte[] bytes = image.ToArray();
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(24), 0);
        bytes.AsSpan(112, 24).Clear();
        if (format is not null)
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(112), Qcow2Format.BackingFormatExtension);
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(116), (uint)format.Length);
            System.Text.Encoding.ASCII.GetBytes(format, bytes.AsSpan(120));
        }

        File.WriteAllBytes(upper, bytes);
        return upper;
    }

    private void Mutate(int seed, int count)
    {
        Random random = new(seed);
        List<byte[]> images = MakeImages();
        int opened = 0;
        for (int i = 0; i < count; i++)
        {
            byte[] image = [.. images[random.Next(images.Count)]];
            for (int changes = random.Next(1, 4); changes > 0; changes--)
            {
                Change(image, random);
            }

            try
            {
                opened += Use(image, random) ? 1 : 0;
            }
            catch (Exception e)
            {
                string file = Path.Combine(Path.GetTempPath(), "hull-mutated.qcow2");
                File.WriteAllBytes(file, image);
                throw new InvalidOperationException($"seed {seed}, case {i}, image in {file}: {e.GetType().Name}: {e.Message}", e);
            }
        }

        // Else nothing of what is behind the header was tried.
        Assert.True(opened > count / 10, string.Create(CultureInfo.InvariantCulture, $"only {opened} of {count} could be opened"));
    }

    private List<byte[]> MakeImages()
    {
        string raw = _folder["content.img"];
        byte[] content = new byte[64 << 10];
        new Random(1).NextBytes(content.AsSpan(0, 20_000));
        File.WriteAllBytes(raw, content);
        List<byte[]> images = [];
        foreach ((string options, bool packs) in new[]
        {
            ("cluster_size=512,compat=0.10", false), ("cluster_size=512", true), ("cluster_size=4096,compression_type=zstd", true),
            ("cluster_size=16384,extended_l2=on", false), ("cluster_size=1024,refcount_bits=1,lazy_refcounts=on", false),
        })
        {
            string image = _folder[$"{images.Count}.qcow2"];
            string[] pack = packs ? ["-c"] : [];
            QemuTools.Image(["convert", .. pack, "-f", "raw", "-O", "qcow2", "-o", options, raw, image]);
            if (!options.Contains("bits=1,", StringComparison.Ordinal))
            {
                QemuTools.Image("snapshot", "-c", "s", image);
                QemuTools.Io(image, ["write -q -P 7 1024 9000"]);
            }

            if (!options.Contains("0.10", StringComparison.Ordinal))
            {
                QemuTools.Image("bitmap", "--add", image, "b");
            }

            images.Add(File.ReadAllBytes(image));
        }

        return images;
    }

    // Mostly header and tables: numbers in 4 or 8 bytes that are extreme, a bit off, or taken from elsewhere in the image.
    private static void Change(byte[] image, Random random)
    {
        bool isHeader = random.Next(2) == 0;
        int size = random.Next(2) == 0 ? 4 : 8;
        int at = random.Next(isHeader ? 144 : image.Length - 8) / 4 * 4;
        Span<byte> field = image.AsSpan(at, size);
        ulong value = random.Next(5) switch
        {
            0 => Extremes[random.Next(Extremes.Length)],
            1 => (ulong)random.NextInt64(),
            2 => BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(random.Next(image.Length - 8) / 8 * 8)),
            3 => (ulong)random.Next(image.Length) & ~511UL | ((ulong)random.Next(4) << 62),
            _ => BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(Math.Min(at, image.Length - 8))) ^ (1UL << random.Next(64)),
        };
        if (size == 8)
        {
            BinaryPrimitives.WriteUInt64BigEndian(field, value);
        }
        else
        {
            BinaryPrimitives.WriteUInt32BigEndian(field, (uint)(value >> (random.Next(2) * 32)));
        }
    }

    // As hull image check, a guest that reads, and one that writes; each on the image as it was.
    private static bool Use(byte[] image, Random random)
    {
        bool isOpen = false;
        MemoryImage checkedFile = new(image) { Capacity = 8 << 20 };
        Try(() => Qcow2Check.Run(checkedFile, (Qcow2Repair)random.Next(3)));
        Assert.True(checkedFile.Traffic < MostTraffic, $"the check moved {checkedFile.Traffic} bytes");
        foreach (bool readOnly in new[] { true, false })
        {
            MemoryImage file = new(image) { Capacity = 8 << 20 };
            Try(() =>
            {
                using Qcow2Store store = Qcow2Store.Open(
                    file, readOnly, _ => throw new HullException("another image"), readOnly && random.Next(4) == 0 ? "s" : null);
                isOpen = true;
                ulong end = Math.Min(store.Length, 1 << 20);
                byte[] buffer = new byte[4096];
                for (int i = 0; i < 12 && end > 512; i++)
                {
                    ulong at = (ulong)random.NextInt64((long)end / 512) * 512;
                    int length = (int)Math.Min(end - at, (ulong)random.Next(1, 9) * 512);
                    int what = readOnly ? 0 : random.Next(6);
                    Try(() => Touch(store, at, buffer.AsSpan(0, length), what));
                }
            });
            Assert.True(file.Traffic < MostTraffic, $"use moved {file.Traffic} bytes");
        }

        return isOpen;
    }

    private static void Touch(Qcow2Store store, ulong at, Span<byte> bytes, int what)
    {
        switch (what)
        {
            case 0 or 1:
                store.Read(at, bytes);
                break;
            case 2:
                store.Discard(at, (uint)bytes.Length);
                break;
            case 3:
                store.WriteZeroes(at, (uint)bytes.Length, true);
                break;
            case 4:
                store.Flush();
                break;
            default:
                store.Write(at, bytes);
                break;
        }
    }

    private static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is HullException or IOException)
        {
            Assert.True(e.Message.Length > 10 && !e.Message.Contains('\n', StringComparison.Ordinal), e.Message);
        }
    }
}
