using System;
using System.IO;
using System.IO.Compression;
using Xunit;

namespace Hull.BootTests;

/// <summary>Debian's Xen with its dom0 through `hull xen demo`.</summary>
public sealed class XenDemoTests : IDisposable
{
    private readonly string _log = Path.GetTempFileName();

    public void Dispose() => File.Delete(_log);

    [Fact]
    public void Command_RunsInDom0_WithItsStreamsAndStatus()
    {
        RunResult result = HullRun.Hull("xen", "demo", "--log", _log, "--", "sh", "-c", "xl list; echo words >&2; exit 7");

        Assert.True(result.Status == 7, result.ToString());
        Assert.Matches(@"(?m)^Domain-0 +0 +640 +1 +r-----", result.Text);
        Assert.EndsWith("words\n", result.Error, StringComparison.Ordinal);
        Assert.Contains("(XEN) Xen version 4.17", File.ReadAllText(_log), StringComparison.Ordinal);
    }

    [Fact]
    public void Disks_ComeAndGo_FromFilesAndDevicesOfDom0()
    {
        const string script = """
            set -e
            for disk in one two; do
                dd if=/dev/zero of=/tmp/$disk bs=1M count=4 2>/dev/null
                echo $disk-of-dom0 | dd of=/tmp/$disk conv=notrunc 2>/dev/null
            done
            xl create -q /etc/xen/domu.cfg 'disk=["format=raw,vdev=xvda,access=rw,target=/tmp/one"]'
            xl console domu >/tmp/screen 2>&1 </dev/null &
            until grep -q 'domu: Linux' /tmp/screen; do usleep 100000; done
            tty=$(xenstore-read /local/domain/1/console/tty)
            losetup /dev/loop5 /tmp/two
            xl block-attach domu phy:/dev/loop5 xvdb w
            until xl block-list domu | grep -q '^51728 .* 4 '; do usleep 100000; done
            echo 'until [ -b /dev/xvdb ]; do usleep 100000; done; head -c 12 /dev/xvda; head -c 12 /dev/xvdb' >$tty
            until grep -q '^two-of-dom0' /tmp/screen; do usleep 100000; done
            grep '^one-of-dom0' /tmp/screen
            echo 'echo written | dd of=/dev/xvda conv=fsync 2>/dev/null; echo sum $((6 * 7))' >$tty
            until grep -q 'sum 42' /tmp/screen; do usleep 100000; done
            head -c 8 /tmp/one
            xl block-detach domu xvdb
            xl destroy domu
            until ! losetup -a | grep -q /tmp/one; do usleep 100000; done
            echo all went well
            """;

        RunResult result = HullRun.Hull("xen", "demo", "--timeout", "200", "--", "sh", "-c", script);

        Assert.True(result.Status == 0, result.ToString());
        Assert.StartsWith("one-of-dom0", result.Text, StringComparison.Ordinal);
        Assert.EndsWith("written\nall went well\n", result.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void FourProcessors_AreDom0s()
    {
        RunResult result = HullRun.Hull("xen", "demo", "-c", "4", "--", "sh", "-c", "nproc; xl vcpu-list");

        Assert.True(result.Status == 0, result.ToString());
        Assert.StartsWith("4\n", result.Text, StringComparison.Ordinal);
        for (int i = 0; i < 4; i++)
        {
            Assert.Matches($@"(?m)^Domain-0 +0 +{i} +\d+ +[r-][b-]-", result.Text);
        }
    }

    [Theory]
    [InlineData(1, "vmlinuz")]
    [InlineData(2, "vmlinux")]
    public void Files_BootByHullRun_AndPowerOff(int vcpus, string kernel)
    {
        string folder = Directory.CreateTempSubdirectory("hull-test-").FullName;
        try
        {
            RunResult image = HullRun.Hull("xen", "image", folder, "--", "sh", "-c", "xl list >/dev/console");
            Assert.True(image.Status == 0, image.ToString());
            string[] words = File.ReadAllLines(Path.Combine(folder, "words"));
            string initrd = Path.Combine(folder, "initrd.gz");
            using (FileStream packed = File.Create(initrd))
            using (GZipStream gzip = new(packed, CompressionLevel.Fastest))
            {
                gzip.Write(File.ReadAllBytes(Path.Combine(folder, "initrd")));
            }

            RunResult result = HullRun.Hull(
                "run", Path.Combine(folder, "xen.gz"), "-m", "1G", "-c", $"{vcpus}", "--append", words[0],
                "--module", $"{Path.Combine(folder, kernel)} {words[1]}", "--module", initrd);

            Assert.True(result.Status == 0, result.ToString());
            Assert.Matches($@"(?m)Domain-0 +0 +640 +{vcpus} +r-----", result.Text);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Toolstack_StartsStopsAndMovesAGuest(int vcpus)
    {
        const string script = """
            set -e
            xl create -q /etc/xen/domu.cfg
            xl console domu >/tmp/screen 2>&1 </dev/null &
            until grep -q 'domu: Linux .* PV guest of xen' /tmp/screen; do usleep 100000; done
            echo 'echo sum $((6 * 7))' >"$(xenstore-read /local/domain/1/console/tty)"
            until grep -q 'sum 42' /tmp/screen; do usleep 100000; done
            xl pause domu; xl list domu; xl unpause domu
            xl save domu /tmp/image 2>/dev/null
            xl restore /tmp/image 2>/dev/null
            xl list
            xl mem-set domu 80
            until [ $(xl list domu | awk 'NR == 2 { print $3 }') = 80 ]; do usleep 100000; done
            xl shutdown -w domu >/dev/null
            ! xl list domu 2>/dev/null
            xl create -q /etc/xen/domu.cfg; xl destroy domu; xl list
            test-xenstore >/dev/null; test-resource >/dev/null
            echo all went well
            """;

        RunResult result = HullRun.Hull("xen", "demo", "-c", $"{vcpus}", "--", "sh", "-c", script);

        Assert.True(result.Status == 0, result.ToString());
        Assert.Matches(@"(?m)^domu +1 +96 +1 +..p---", result.Text);
        Assert.Matches(@"(?m)^domu +2 +96 +1 +", result.Text);
        Assert.EndsWith("all went well\n", result.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void Terminal_HasAShell_AndTheGuestsConsole()
    {
        using HullRun run = HullRun.StartOnTerminal("xen demo");

        run.WaitFor("# ");
        run.Type("xl create -c /etc/xen/domu.cfg\n");
        run.WaitFor("PV guest of xen");
        run.WaitFor("# ");
        run.Type("echo sum $((6 * 7))\n");
        run.WaitFor("sum 42");
        run.WaitFor("# ");
        run.Type("\x1d"); // alone: xenconsole looks for a read of one byte
        run.WaitFor("# ");
        run.Type("xl destroy domu; exit 5\n");

        Assert.Equal(5, run.WaitForEnd().Status);
    }

    [Fact]
    public void Shell_ReadsWhatComesThroughAPipe()
    {
        RunResult result = HullRun.HullReading("xl info | grep xen_version; exit 3\n"u8.ToArray(), "xen", "demo");

        Assert.True(result.Status == 3, result.ToString());
        Assert.Matches(@"^xen_version +: 4\.17\.", result.Text);
    }
}
