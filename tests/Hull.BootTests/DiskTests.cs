using System;
using System.Diagnostics;
using System.IO;
using System.Security.Cryptography;
using Xunit;

namespace Hull.BootTests;

/// <summary>A raw disk under Debian's own virtio_blk and ext4.</summary>
public sealed class DiskTests : IDisposable
{
    private readonly string _image = Path.Combine(Path.GetTempPath(), $"hull-disk-{Guid.NewGuid():n}.img");

    public DiskTests()
    {
        using FileStream file = File.Create(_image);
        file.SetLength(64 << 20);
    }

    [Theory]
    [InlineData("1")]
    [InlineData("2")]
    public void FilesWrittenByTheGuest_AreOnTheDisk(string vcpus)
    {
        using (Process format = Process.Start("mke2fs", ["-q", "-t", "ext4", _image]))
        {
            format.WaitForExit();
        }

        RunResult result = HullRun.Hull("run", "-c", vcpus, "--disk", _image, "--", "sh", "-c",
            "ls /sys/block/vda/mq | wc -l; mount -t ext4 /dev/vda /mnt && cp /bin/busybox /mnt/copy && umount /mnt "
            + "&& mount -t ext4 -o ro /dev/vda /mnt && cmp /bin/busybox /mnt/copy && echo same");

        // A request queue for each vCPU.
        Assert.True(result.Status == 0 && result.Text == $"{vcpus}\nsame\n", result.ToString());
    }

    [Fact]
    public void TheGuestReadsWhatTheFileHas_AndWritesWhereItSays()
    {
        byte[] content = RandomNumberGenerator.GetBytes(8 << 20);
        File.WriteAllBytes(_image, content);

        RunResult result = HullRun.Hull("run", "--disk", _image, "--", "sh", "-c",
            "sha256sum </dev/vda && printf written | dd of=/dev/vda bs=4096 seek=100 conv=notrunc 2>/dev/null && sync");

        Assert.StartsWith(Convert.ToHexStringLower(SHA256.HashData(content)), result.Text, StringComparison.Ordinal);
        "written"u8.CopyTo(content.AsSpan(100 * 4096));
        Assert.True(File.ReadAllBytes(_image).AsSpan().SequenceEqual(content));
    }

    [Fact]
    public void ReadOnlyDisk_CannotBeWritten()
    {
        RunResult result = HullRun.Hull("run", "--disk", _image + ",readonly", "--", "sh", "-c",
            "cat /sys/block/vda/ro; echo x 2>/dev/null >/dev/vda || echo refused");

        Assert.True(result is { Status: 0, Text: "1\nrefused\n" }, result.ToString());
    }

    [Theory]
    [InlineData("--disk=/nowhere/d.img", "/nowhere/d.img")]
    [InlineData("--disk=d.dat", "format=raw")]
    [InlineData("--disk=d.img,what=1", "'what'")]
    [InlineData("--device=flux", "'flux'")]
    public void WrongDisk_IsOneClearLine(string option, string expected)
    {
        RunResult result = HullRun.Hull("run", option, "--", "true");

        Assert.True(result.Status == 125 && result.Error.Contains(expected, StringComparison.Ordinal)
            && result.Error.TrimEnd().Split('\n').Length == 1, result.ToString());
    }

    [Fact]
    public void Deterministic_RunsWithADiskAreTheSame()
    {
        string first = Checkpoints();
        Assert.Equal(first, Checkpoints());
        Assert.True(first.Split('\n').Length > 10, first);
    }

    public void Dispose() => File.Delete(_image);

    private string Checkpoints()
    {
        string file = _image + ".checkpoints";

        // From a pipe even the end of the input comes when it comes; from /dev/null nothing does.
        RunResult result = HullRun.StartProgram(
            "sh", "-c", "exec \"$@\" </dev/null", "sh", Checkout.Hull, "run", "--deterministic", "--checkpoints",
            $"{file},every=100000000", "--disk", _image + ",readonly", "--", "sh", "-c", "sha256sum </dev/vda >/dev/null").Finish();
        Assert.True(result.Status == 0, result.ToString());
        string text = File.ReadAllText(file);
        File.Delete(file);
        return text;
    }
}
