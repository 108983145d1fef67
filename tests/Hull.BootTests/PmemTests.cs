using System;
using System.Diagnostics;
using System.IO;
using System.Security.Cryptography;
using Xunit;

namespace Hull.BootTests;

/// <summary>Persistent memory under Debian's own virtio_pmem, nd_pmem and ext4 with DAX.</summary>
public sealed class PmemTests : IDisposable
{
    private readonly string _image = Path.Combine(Path.GetTempPath(), $"hull-pmem-{Guid.NewGuid():n}.img");

    public PmemTests()
    {
        using (FileStream file = File.Create(_image))
        {
            file.SetLength(64 << 20);
        }

        Assert.Equal((0, ""), Run("mke2fs", "-q", "-b", "4096", "-t", "ext4", _image));
    }

    [Theory]
    [InlineData("512M", "1", "")]
    [InlineData("3584M", "2", "")]
    [InlineData("512M", "1", ",mmio,packed")]
    public void FilesWrittenByTheGuest_AreInTheFile_ByDax(string memory, string vcpus, string how)
    {
        RunResult result = HullRun.Hull("run", "-m", memory, "-c", vcpus, "--pmem", _image + how, "--", "sh", "-c",
            "mount -t ext4 -o dax /dev/pmem0 /mnt && grep -o dax=always /proc/mounts && cp /bin/busybox /mnt/busybox "
            + "&& echo hello >/mnt/hello && sync && /mnt/busybox echo ran && umount /mnt");

        Assert.True(result is { Status: 0, Text: "dax=always\nran\n" }, result.ToString());
        Assert.Equal(0, Run("e2fsck", "-fn", _image).Status);
        Assert.Equal((0, "hello\n"), Run("debugfs", "-R", "cat /hello", _image));
    }

    [Fact]
    public void ReadOnlyFile_IsSharedByTwoGuests_AndStaysAsItIs()
    {
        byte[] before = SHA256.HashData(File.ReadAllBytes(_image));
        string[] command =
        [
            "run", "--pmem", _image + ",readonly", "--", "sh", "-c",
            "mount -t ext4 -o dax /dev/pmem0 /mnt && echo x >/mnt/file && sync && echo written; read line; cat /mnt/file; umount /mnt",
        ];
        using HullRun first = HullRun.Start(command);
        using HullRun second = HullRun.Start(command);
        first.WaitFor("written\n");
        second.WaitFor("written\n");
        RunResult[] results = [first.Finish([(byte)'\n']), second.Finish([(byte)'\n'])];

        Assert.All(results, result => Assert.True(result is { Status: 0, Text: "x\n" }, result.ToString()));
        Assert.Equal(before, SHA256.HashData(File.ReadAllBytes(_image)));
    }

    [Fact]
    public void TwoFiles_AreTwoDevices()
    {
        string other = _image + ".other";
        byte[] content = RandomNumberGenerator.GetBytes(3_000_001);
        File.WriteAllBytes(other, content);
        try
        {
            RunResult result = HullRun.Hull("run", "--pmem", _image, "--pmem", other + ",readonly", "--", "sh", "-c",
                "cat /sys/block/pmem0/size /sys/block/pmem1/size; "
                + "head -c 3000001 /dev/pmem1 | sha256sum");

            Assert.StartsWith("131072\n8192\n", result.Text, StringComparison.Ordinal);
            Assert.Contains(Convert.ToHexStringLower(SHA256.HashData(content)), result.Text, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(other);
        }
    }

    [Fact]
    public void CutFile_IsAnErrorInTheGuest_AndALineForTheUser()
    {
        using HullRun run = HullRun.Start("run", "--pmem", _image, "--", "sh", "-c",
            "echo up; read line; dd if=/dev/zero of=/dev/pmem0 bs=1M count=4 conv=fsync 2>/dev/null || echo failed; "
            + "cmp -n 65536 /dev/pmem0 /dev/zero && echo zeros");
        run.WaitFor("up\n");
        Assert.Equal(0, Run("truncate", "-s", "0", _image).Status);
        RunResult result = run.Finish([(byte)'\n']);

        Assert.True(result is { Status: 0, Text: "failed\nzeros\n" }, result.ToString());
        Assert.Matches("hull: the guest's persistent memory fails: .*hull-pmem.*was cut", result.Error);
    }

    [Theory]
    [InlineData("/nowhere/pmem.img", "/nowhere/pmem.img")]
    [InlineData("/dev/null", "0 bytes")]
    [InlineData("odd.img", "truncate -s %2M")]
    [InlineData("odd.img,what=1", "'what'")]
    public void WrongFile_IsOneClearLine(string text, string expected)
    {
        File.WriteAllBytes(_image, new byte[3]);
        RunResult result = HullRun.Hull("run", "--pmem", text.Replace("odd.img", _image, StringComparison.Ordinal), "--", "true");

        Assert.True(result.Status == 125 && result.Error.Contains(expected, StringComparison.Ordinal)
            && result.Error.TrimEnd().Split('\n').Length == 1, result.ToString());
    }

    public void Dispose() => File.Delete(_image);

    private static (int Status, string Text) Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        string text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, text);
    }
}
