using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using Hull.Cli.Commands;
using Hull.Host;
using Hull.Storage;
using Hull.Storage.Qcow2;
using Xunit;

namespace Hull.Tests.Storage;

public sealed class DiskToolTests : IDisposable
{
    private readonly ImageFolder _folder = new();

    [QemuTheory]
    [InlineData("compression_type=zlib", true)]
    [InlineData("compression_type=zstd,cluster_size=4096", true)]
    [InlineData("extended_l2=on", false)]
    [InlineData("compat=0.10", false)]
    [InlineData("cluster_size=2097152,lazy_refcounts=on", false)]
    public void Convert_GivesTheSameDisk_InBothDirections(string options, bool packs)
    {
        byte[] content = Content(5_000_192);
        string raw = _folder["content.raw"];
        File.WriteAllBytes(raw, content);
        string[] pack = packs ? ["-c"] : [];
        QemuTools.Image(["convert", .. pack, "-f", "raw", "-O", "qcow2", "-o", options, raw, _folder["theirs.qcow2"]]);

        List<double> shares = [];
        DiskTool.Convert(new(_folder["theirs.qcow2"]), _folder["ours.raw"], default, new(), new Shares(shares));
        Assert.True(File.ReadAllBytes(_folder["ours.raw"]).AsSpan().SequenceEqual(content));
        Assert.Equal(1, shares[^1]);

        DiskTool.Convert(new(_folder["ours.raw"]), _folder["ours.qcow2"], default, new(), null);
        QemuTools.AssertContent(_folder["ours.qcow2"], content, "ours");
        QemuTools.AssertClean(_folder["ours.qcow2"], "ours");
    }

    [Fact]
    public void ConvertThatIsCutShort_LeavesNoHalfDisk()
    {
        File.WriteAllBytes(_folder["content.raw"], Content(16 << 20));
        using CancellationTokenSource source = new();
        Assert.Throws<OperationCanceledException>(() => DiskTool.Convert(
            new(_folder["content.raw"]), _folder["half.qcow2"], default, new(), new Ending(source), source.Token));

        Assert.False(File.Exists(_folder["half.qcow2"]));
    }

    [QemuFact]
    public void Info_TellsWhatQemuMade()
    {
        QemuTools.Image("create", "-q", "-f", "qcow2", _folder["base.qcow2"], "1G");
        string image = _folder["top.qcow2"];
        QemuTools.Image("create", "-q", "-f", "qcow2", "-o", "cluster_size=32k,extended_l2=on,refcount_bits=32,compression_type=zstd",
            "-b", "base.qcow2", "-F", "qcow2", image);
        QemuTools.Image("snapshot", "-c", "before", image);
        QemuTools.Image("bitmap", "--add", image, "b0");

        DiskReport report = DiskTool.Inspect(image, default);

        Assert.Equal(1UL << 30, report.Size);
        Assert.True(report.Qcow2 is
        {
            Version: 3, ClusterSize: 32768, ExtendedL2: true, RefcountBits: 32, Compression: "zstd", BackingFile: "base.qcow2",
            BackingFormat: "qcow2", Dirty: false, Corrupt: false,
        });
        Assert.Equal("before", Assert.Single(report.Qcow2!.Snapshots).Name);
        Assert.Equal(new BitmapReport("b0", true, false), Assert.Single(report.Qcow2.Bitmaps));
    }

    [QemuFact]
    public void Bitmap_ThatRecords_IsKeptAndSaysThatItIsNotUpToDate()
    {
        string image = _folder["disk.qcow2"];
        QemuTools.Image("create", "-q", "-f", "qcow2", image, "64M");
        QemuTools.Image("bitmap", "--add", image, "recording");
        QemuTools.Image("bitmap", "--add", "--disable", image, "kept");
        using (IByteStore store = DiskImage.Open(image, default, false))
        {
            store.Write(0, new byte[4096]);
        }

        Assert.Equal([new BitmapReport("recording", true, true), new BitmapReport("kept", false, false)],
            DiskTool.Inspect(image, default).Qcow2!.Bitmaps);
        QemuTools.AssertClean(image, "bitmaps");
        Assert.Contains("in-use", QemuTools.Image("info", image), StringComparison.Ordinal);
    }

    [QemuFact]
    public void Check_FindsAndMends_WhatIsWrong()
    {
        string image = _folder["disk.qcow2"];
        DiskTool.Create(image, default, 64 << 20, new Qcow2Options());
        QemuTools.Io(image, ["write -q -P 1 0 1M"]);
        byte[] bytes = File.ReadAllBytes(image);

        // One cluster more is counted than is there, and one that is there is not.
        bytes[0x20000 + (60 * 2) + 1] = 1;
        File.WriteAllBytes(image, bytes);
        Assert.True(DiskTool.Check(image, default, Qcow2Repair.None) is { Corruptions: 0, Leaks: 1 });
        Assert.True(DiskTool.Check(image, default, Qcow2Repair.Leaks) is { Corruptions: 0, Leaks: 0, LeaksFixed: 1 });
        QemuTools.AssertClean(image, "leak mended");

        bytes = File.ReadAllBytes(image);
        bytes[0x20000 + (6 * 2) + 1] = 0;
        bytes[79] |= (byte)Qcow2Format.Corrupt;
        File.WriteAllBytes(image, bytes);
        Assert.Throws<HullException>(() => DiskImage.Open(image, default, readOnly: false));
        Assert.True(DiskTool.Check(image, default, Qcow2Repair.None) is { Corruptions: > 0 });
        Assert.True(DiskTool.Check(image, default, Qcow2Repair.All) is { Corruptions: 0, Leaks: 0 });
        QemuTools.AssertClean(image, "counts mended");
        DiskImage.Open(image, default, readOnly: false).Dispose();
    }

    [QemuFact]
    public void ImageThatWasLeftDirty_IsMendedWhenItIsOpened()
    {
        string image = _folder["disk.qcow2"];
        QemuTools.Image("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", image, "64M");

        // qemu-io ends at once, as a host that was cut.
        QemuTools.TryRun("qemu-io", ["-f", "qcow2", "-c", "write -q -P 5 0 1M", "-c", "flush", "-c", "abort", image]);
        Assert.True(DiskTool.Inspect(image, default).Qcow2!.Dirty);
        using (IByteStore store = DiskImage.Open(image, default, readOnly: false))
        {
            byte[] read = new byte[1 << 20];
            store.Read(0, read);
            Assert.Equal(-1, read.AsSpan().IndexOfAnyExcept((byte)5));
        }

        QemuTools.AssertClean(image, "was dirty");
    }

    [Fact]
    public void WrongWishes_LeaveTheOldImageAsItIs()
    {
        string image = _folder["disk.qcow2"];
        DiskTool.Create(image, default, 1 << 20, new Qcow2Options());
        byte[] before = File.ReadAllBytes(image);
        Assert.Throws<HullException>(() => DiskTool.Create(image, default, 1 << 20, new Qcow2Options { ClusterSize = 1000 }));
        Assert.Throws<HullException>(() => DiskTool.Create(image, default, 1UL << 50, new Qcow2Options { ClusterSize = 512 }));
        Assert.Throws<HullException>(() => DiskTool.Create(image, default, 1 << 20, new Qcow2Options { Version2 = true, Zstd = true }));
        Assert.Throws<HullException>(() => DiskTool.Create(image, default, null, new Qcow2Options()));
        Assert.Throws<HullException>(() => DiskTool.Resize(image, default, _ => 4096, mayShrink: false, allowBacking: false));
        Assert.Throws<HullException>(() => DiskTool.Convert(new(image), image, default, new(), null));
        Assert.Equal(before, File.ReadAllBytes(image));
    }

    [Fact]
    public void Raw_IsMadeResizedAndHasNothingToCheck()
    {
        string image = _folder["disk.raw"];
        DiskTool.Create(image, default, 1 << 20, new Qcow2Options());
        Assert.Equal(3UL << 20, DiskTool.Resize(image, default, old => old + (2 << 20), false, false));
        Assert.Equal(3 << 20, new FileInfo(image).Length);
        Assert.Null(DiskTool.Check(image, default, Qcow2Repair.None));
        Assert.Throws<HullException>(() => DiskTool.Create(image, default, 1 << 20, new Qcow2Options { Zstd = true }));
    }

    [Fact]
    public void SizeThatTheHostsFileSystemLacks_IsAnErrorOfTheHosts()
    {
        string image = _folder["disk.raw"];
        DiskTool.Create(image, default, 1 << 20, new Qcow2Options());
        Exception? e = Record.Exception(() => DiskTool.Resize(image, default, _ => long.MaxValue & ~511L, false, false));
        Assert.True(e is null or IOException, $"{e}"); // tmpfs has files of that size, ext4 has not
        Assert.Equal(e is null, new FileInfo(image).Length > 1 << 20);
        Assert.True(e is null || e.Message.Contains(image, StringComparison.Ordinal), e?.Message);
    }

    [Fact]
    public void NamedPipe_IsRefused_AndNotWaitedFor()
    {
        string pipe = _folder["pipe.raw"];
        using System.Diagnostics.Process make = System.Diagnostics.Process.Start("mkfifo", [pipe]);
        make.WaitForExit();
        Assert.Contains("pipe", Assert.Throws<HullException>(() => DiskTool.Inspect(pipe, default)).Message, StringComparison.Ordinal);
        Assert.Throws<HullException>(() => DiskTool.Create(pipe, default, 1 << 20, new Qcow2Options()));
        Assert.Throws<HullException>(() => DiskImage.Open(pipe, default, readOnly: false));
    }

    [Theory]
    [InlineData("512", 512ul)]
    [InlineData("10G", 10ul << 30)]
    [InlineData("64k", 64ul << 10)]
    public void Size_IsInBytesOrUnits(string text, ulong bytes) => Assert.Equal(bytes, ImageCommand.ReadSize(text));

    [Theory]
    [InlineData("")]
    [InlineData("+")]
    [InlineData("-1")]
    [InlineData("16E")]
    [InlineData("1.5G")]
    [InlineData("99999999999999999999")]
    public void NoSize_IsAClearError(string text) => Assert.Throws<HullException>(() => ImageCommand.ReadSize(text));

    public void Dispose() => _folder.Dispose();

    private static byte[] Content(int length)
    {
        byte[] content = new byte[length];
        Random random = new(1);
        for (int at = 0; at + 20_000 < length; at += 100_000)
        {
            random.NextBytes(content.AsSpan(at, 7000));
            content.AsSpan(at + 10_000, 10_000).Fill(9);
        }

        return content;
    }

    private sealed class Ending(CancellationTokenSource source) : IProgress<double>
    {
        public void Report(double value) => source.Cancel();
    }

    private sealed class Shares(List<double> shares) : IProgress<double>
    {
        public void Report(double value) => shares.Add(value);
    }
}
