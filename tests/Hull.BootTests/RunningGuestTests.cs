using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Text.RegularExpressions;
using System.Threading;
using Xunit;

namespace Hull.BootTests;

/// <summary>What is done to a guest of Debian's kernel while it runs: disks and cards that come and go, the balloon, stop.</summary>
public sealed partial class RunningGuestTests : IDisposable
{
    private readonly string _name = $"test-{Guid.NewGuid():n}";
    private readonly string _image = Path.Combine(Path.GetTempPath(), $"hull-hot-{Guid.NewGuid():n}.img");

    [Fact]
    public void Disk_IsAdded_Mounted_AndTakenOut()
    {
        using (FileStream file = File.Create(_image))
        {
            file.SetLength(32 << 20);
        }

        using (Process format = Process.Start("mke2fs", ["-q", "-t", "ext4", _image]))
        {
            format.WaitForExit();
        }

        using HullRun run = HullRun.Start("run", "--name", _name, "--", "sh", "-c",
            "echo up; until [ -e /dev/vda ]; do usleep 20000; done; mount -t ext4 /dev/vda /mnt && echo hello >/mnt/file && echo mounted; "
            + "sync; sleep 1; "
            + "umount /mnt && echo unmounted; while [ -e /dev/vda ]; do usleep 20000; done; echo gone; sleep 1000");
        run.WaitFor("up\n");
        Assert.Equal("data\n", Do("device", "add", _name, $"disk,file={_image},id=data"));
        Assert.Matches("data +disk +01", Do("device", "list", _name));
        run.WaitFor("unmounted\n");
        Do("device", "remove", _name, "data");
        run.WaitFor("gone\n");
        Assert.DoesNotContain("disk", Do("device", "list", _name), StringComparison.Ordinal);

        // Nobody has it any more.
        using FileStream alone = new(_image, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
    }

    [Fact]
    public void NetworkCard_IsAddedWithAPasstOfItsOwn()
    {
        using HullRun run = HullRun.Start("run", "--name", _name, "--net", "none", "--", "sh", "-c",
            "echo up; until [ -e /sys/class/net/eth0 ]; do usleep 20000; done; ip link set eth0 up; "
            + "until grep -q 1 /sys/class/net/eth0/carrier; do usleep 20000; done; echo carrier; "
            + "while [ -e /sys/class/net/eth0 ]; do usleep 20000; done; echo gone; sleep 1000");
        run.WaitFor("up\n");
        Do("device", "add", _name, "net");
        run.WaitFor("carrier\n");
        Do("device", "remove", _name, "net0");
        run.WaitFor("gone\n");
        using Process children = Process.Start(new ProcessStartInfo("pgrep", ["-P", $"{run.Id}", "passt"]) { RedirectStandardOutput = true })!;
        Assert.Equal("", children.StandardOutput.ReadToEnd());
    }

    [Fact]
    public void DeviceThatIsNotThere_IsOneClearLine()
    {
        using HullRun run = HullRun.Start("run", "--name", _name, "--device", "rng", "--", "sh", "-c", "echo up; sleep 1000");
        run.WaitFor("up\n");
        RunResult result = HullRun.Hull("device", "remove", _name, "disk7");
        Assert.Equal(125, result.Status);
        Assert.Contains("rng0", result.Error, StringComparison.Ordinal);
        result = HullRun.Hull("device", "add", _name, "disk,file=/nowhere/d.img");
        Assert.True(result.Status == 125 && result.Error.Contains("/nowhere/d.img", StringComparison.Ordinal), result.ToString());
        result = HullRun.Hull("run", "--name", _name, "--", "true");
        Assert.True(result.Status == 125 && result.Error.Contains("runs already", StringComparison.Ordinal), result.ToString());
        Do("stop", _name);
        Assert.Equal(143, run.WaitForEnd().Status);
        Assert.DoesNotContain(_name, Do("ps"), StringComparison.Ordinal);
    }

    [Fact]
    public void Balloon_GivesMemoryBackToTheHost()
    {
        using HullRun run = HullRun.Start("run", "-m", "512M", "--name", _name, "--device", "balloon,keep-free", "--", "sh", "-c",
            "dd if=/dev/zero of=/tmp/fill bs=1M count=250 2>/dev/null; rm /tmp/fill; echo filled; sleep 1000");
        run.WaitFor("filled\n");
        long before = TouchedMegabytes(run.Id);
        Do("balloon", _name, "128M");
        WaitUntil(() => Do("balloon", _name) == "128M\n");
        long after = TouchedMegabytes(run.Id);
        Assert.True(after < before - 150, $"{before} MiB before, {after} MiB after");
        Do("balloon", _name, "512M");
        WaitUntil(() => Do("balloon", _name) == "512M\n");
    }

    [Fact]
    public void Balloon_TellsWhatTheGuestSaysOfItsMemory()
    {
        using HullRun run = HullRun.Start("run", "-m", "512M", "--name", _name, "--device", "balloon", "--", "sh", "-c",
            "echo up; read line; dd if=/dev/zero of=/tmp/fill bs=1M count=200 2>/dev/null; echo filled; sleep 1000");
        run.WaitFor("up\n");
        (long total, long free) = Memory();
        Assert.InRange(total, 420, 512);
        run.Type("\n");
        run.WaitFor("filled\n");
        (_, long less) = Memory();
        Assert.InRange(less, free - 260, free - 150);
        Assert.Contains("\"minorFaults\": ", Do("balloon", _name, "--statistics", "-o", "json"), StringComparison.Ordinal);

        (long Total, long Free) Memory()
        {
            Match match = Statistics().Match(Do("balloon", _name, "--statistics"));
            return (long.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture), long.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture));
        }
    }

    [Fact]
    public void FreePages_GoBackByThemselves()
    {
        using HullRun run = HullRun.Start("run", "-m", "512M", "--name", _name, "--device", "balloon", "--", "sh", "-c",
            "dd if=/dev/zero of=/tmp/fill bs=1M count=250 2>/dev/null; echo filled; until [ -e /tmp/go ]; do sleep 1; rm -f /tmp/fill; done");
        run.WaitFor("filled\n");
        Assert.True(TouchedMegabytes(run.Id) > 250);
        WaitUntil(() => TouchedMegabytes(run.Id) < 150);
    }

    public void Dispose() => File.Delete(_image);

    private static string Do(params string[] arguments)
    {
        RunResult result = HullRun.Hull(arguments);
        Assert.True(result.Status == 0, result.ToString());
        return result.Text;
    }

    private static void WaitUntil(Func<bool> condition)
    {
        DateTime end = DateTime.UtcNow + TimeSpan.FromSeconds(60);
        while (!condition())
        {
            Assert.True(DateTime.UtcNow < end, "it did not happen in a minute");
            Thread.Sleep(100);
        }
    }

    // Guest RAM is the one shared memory of the process.
    private static long TouchedMegabytes(int id) =>
        long.Parse(Touched().Match(File.ReadAllText($"/proc/{id}/status")).Groups[1].Value, CultureInfo.InvariantCulture) >> 10;

    [GeneratedRegex("^total ([0-9]+)M\nfree ([0-9]+)M\navailable [0-9]+M\n")]
    private static partial Regex Statistics();

    [GeneratedRegex("RssShmem:\\s*([0-9]+) kB")]
    private static partial Regex Touched();
}
