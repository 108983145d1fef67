using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Text;
using System.Text.RegularExpressions;
using Xunit;

namespace Hull.BootTests;

/// <summary>qcow2 disks under Debian's own virtio_blk, and `hull image` around them.</summary>
public sealed class Qcow2Tests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-qcow2-").FullName;
    private readonly string _image;

    public Qcow2Tests() => _image = Path.Combine(_folder, "disk.qcow2");

    [Fact]
    public void FilesWrittenByTheGuest_AreOnTheOverlay_AndTheImageBelowStays()
    {
        string raw = Path.Combine(_folder, "base.raw");
        using (FileStream file = File.Create(raw))
        {
            file.SetLength(64 << 20);
        }

        Run("mke2fs", "-q", "-t", "ext4", raw);
        byte[] before = File.ReadAllBytes(raw);
        Hull("image", "create", _image, "--backing", "base.raw");
        RunResult result = HullRun.Hull("run", "-c", "2", "--disk", _image + ",backing=on", "--", "sh", "-c",
            "mount -t ext4 /dev/vda /mnt && for i in 1 2 3 4 5 6 7 8; do cp /bin/busybox /mnt/copy$i; done && rm /mnt/copy5 && umount /mnt "
            + "&& mount -t ext4 -o ro /dev/vda /mnt && cmp /bin/busybox /mnt/copy8 && echo same");

        Assert.True(result is { Status: 0, Text: "same\n" }, result.ToString());
        Assert.True(File.ReadAllBytes(raw).AsSpan().SequenceEqual(before));
        AssertWhole();
        string copy = Path.Combine(_folder, "copy.raw");
        Hull("image", "convert", "--allow-backing", _image, copy);
        Run("e2fsck", "-fn", copy);
    }

    [Fact]
    public void OverlayThatMayNotOpenItsBase_IsOneClearLine()
    {
        File.WriteAllBytes(Path.Combine(_folder, "base.raw"), new byte[1 << 20]);
        Hull("image", "create", _image, "--backing", "base.raw");
        RunResult result = HullRun.Hull("run", "--disk", _image, "--", "true");
        Assert.True(result.Status == 125 && result.Error.Contains("backing=on", StringComparison.Ordinal)
            && result.Error.TrimEnd().Split('\n').Length == 1, result.ToString());
    }

    [Fact]
    public void KilledWhileTheGuestWrites_WhatWasSyncedIsThere()
    {
        Hull("image", "create", _image, "256M");
        int last = 0;
        for (int life = 0; life < 4; life++)
        {
            last = LiveAndDie(last);
            AssertWhole();
        }

        string copy = Path.Combine(_folder, "copy.raw");
        Hull("image", "convert", _image, copy);
        using FileStream disk = File.OpenRead(copy);
        byte[] sector = new byte[512];
        for (int i = 1; i <= last; i++)
        {
            disk.Position = Sector(i) * 512L;
            disk.ReadExactly(sector);
            Assert.StartsWith($"record {i} ", Encoding.ASCII.GetString(sector), StringComparison.Ordinal);
        }
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    // Each in a cluster of its own for long, and over the whole disk.
    private static int Sector(int record) => record * 1013 % (256 << 11);

    // The guest says a number when its record is safe. The process is killed at no special point of the next ones.
    private int LiveAndDie(int last)
    {
        using HullRun run = HullRun.Start("run", "--disk", _image, "--", "sh", "-c", string.Create(CultureInfo.InvariantCulture,
            $"i={last}; while :; do i=$((i+1)); printf '%-512s' \"record $i \" | dd of=/dev/vda bs=512 seek=$((i * 1013 % {256 << 11})) conv=notrunc,fsync 2>/dev/null && echo \"safe $i.\"; done"));
        run.WaitFor($"safe {last + Random.Shared.Next(20, 60)}.");
        run.Signal("KILL");
        RunResult result = run.WaitForEnd();
        Assert.Equal(137, result.Status);
        MatchCollection safe = Regex.Matches(result.Text, @"safe (\d+)\.");
        return safe.Count > 0 ? int.Parse(safe[^1].Groups[1].Value, CultureInfo.InvariantCulture) : last + 20;
    }

    private void AssertWhole()
    {
        RunResult check = HullRun.Hull("image", "check", _image);
        Assert.True(check.Status is 0 or 3, check.ToString());
        if (File.Exists("/usr/bin/qemu-img"))
        {
            using Process theirs = Process.Start("qemu-img", ["check", "-q", "-f", "qcow2", _image]);
            theirs.WaitForExit();
            Assert.True(theirs.ExitCode is 0 or 3, $"qemu-img check: status {theirs.ExitCode}");
        }
    }

    private static void Hull(params string[] arguments)
    {
        RunResult result = HullRun.Hull(arguments);
        Assert.True(result.Status == 0, $"{string.Join(' ', arguments)}: {result}");
    }

    private static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(program, arguments);
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: status {process.ExitCode}");
    }
}
