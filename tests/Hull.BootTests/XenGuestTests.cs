using System;
using System.IO;
using System.Security.Cryptography;
using Xunit;

namespace Hull.BootTests;

/// <summary>Debian's kernels that find Xen: `hull run --xen`.</summary>
public sealed class XenGuestTests
{
    [Theory]
    [InlineData("1")]
    [InlineData("3")]
    public void CloudKernel_BootsAsPvh_AndItsEventsArrive(string vcpus)
    {
        RunResult result = HullRun.Hull(
            "run", "--xen", "-c", vcpus, "--", "sh", "-c",
            "dmesg; cat /sys/hypervisor/type /sys/devices/system/clocksource/clocksource0/current_clocksource; nproc; "
            + "sleep 1; cat /proc/interrupts; exit 9");

        Assert.True(result.Status == 9, result.ToString());
        Assert.Contains("Booting kernel on Xen PVH", result.Text, StringComparison.Ordinal);
        Assert.Contains("Using FIFO-based ABI", result.Text, StringComparison.Ordinal);
        Assert.Contains("Switched APIC routing to physical x2apic", result.Text, StringComparison.Ordinal);
        Assert.Contains($"\nxen\nxen\n{vcpus}\n", result.Text, StringComparison.Ordinal);
        Assert.Matches(@"(?m)^ *\d+: +[1-9]\d* .*xen-percpu +-virq +timer0", result.Text);
        Assert.Matches(@"(?m)^ *\d+: .*[1-9].*xen-dyn +-event +xenbus", result.Text);
    }

    [Fact]
    public void OlderEvents_WorkToo()
    {
        RunResult result = HullRun.Hull(
            "run", "--xen", "-c", "2", "--append", "xen.fifo_events=0", "--", "sh", "-c", "sleep 1; dmesg");

        Assert.True(result.Status == 0, result.ToString());
        Assert.Contains("Using 2-level ABI", result.Text, StringComparison.Ordinal);
    }

    [GuestFact(TestGuest.GenericKernel)]
    public void GenericKernel_BootsAsPvh()
    {
        RunResult result = HullRun.Hull("run", Checkout.GenericKernel!, "--xen", "--", "cat", "/sys/hypervisor/guest_type"); // there, or skipped

        Assert.True(result.Status == 0, result.ToString());
        Assert.Equal("PVH\n", result.Text);
    }

    [Fact]
    public void Console_IsXens_AndPowerOffIsStatus0()
    {
        using HullRun run = HullRun.StartOnTerminal("run --xen --net none");

        run.WaitFor("# ");
        run.Type("tty; echo sum $((6 * 7))\n");
        run.WaitFor("/dev/hvc0");
        run.WaitFor("sum 42");
        run.Type("poweroff\n");

        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Theory]
    [InlineData("1")]
    [InlineData("2")]
    public void Disk_IsXens_AndHoldsWhatTheGuestWrote(string vcpus)
    {
        string image = Path.GetTempFileName();
        try
        {
            byte[] content = RandomNumberGenerator.GetBytes(8 << 20);
            File.WriteAllBytes(image, content);

            RunResult result = HullRun.Hull("run", "--xen", "-c", vcpus, "--disk", image + ",format=raw", "--", "sh", "-c",
                "sha256sum </dev/xvda && printf written | dd of=/dev/xvda bs=4096 seek=100 conv=notrunc,fsync 2>/dev/null");

            Assert.True(result.Status == 0, result.ToString());
            Assert.StartsWith(Convert.ToHexStringLower(SHA256.HashData(content)), result.Text, StringComparison.Ordinal);
            "written"u8.CopyTo(content.AsSpan(100 * 4096));
            Assert.True(File.ReadAllBytes(image).AsSpan().SequenceEqual(content));
        }
        finally
        {
            File.Delete(image);
        }
    }

    [Fact]
    public void PersistentGrants_AreReusedByTheGuest_AndItsDataIsRight()
    {
        string image = Path.GetTempFileName();
        try
        {
            byte[] content = RandomNumberGenerator.GetBytes(32 << 20);
            File.WriteAllBytes(image, content);

            RunResult result = HullRun.Hull(
                "run", "--xen", "-c", "2", "--disk", image + ",format=raw,persistent-grants", "--", "sh", "-c",
                "dmesg | grep 'blkfront: xvda'; sha256sum </dev/xvda && "
                + "dd if=/dev/xvda of=/tmp/one bs=64k count=64 skip=256 2>/dev/null && "
                + "dd if=/tmp/one of=/dev/xvda bs=64k conv=notrunc,fsync 2>/dev/null && "
                + "echo 3 >/proc/sys/vm/drop_caches && head -c 4194304 /dev/xvda | cmp - /tmp/one");

            Assert.True(result.Status == 0, result.ToString());
            Assert.Contains("persistent grants: enabled", result.Text, StringComparison.Ordinal);
            Assert.Contains(Convert.ToHexStringLower(SHA256.HashData(content)), result.Text, StringComparison.Ordinal);
            content.AsSpan(16 << 20, 4 << 20).CopyTo(content);
            Assert.True(File.ReadAllBytes(image).AsSpan().SequenceEqual(content));
        }
        finally
        {
            File.Delete(image);
        }
    }

    [Theory]
    [InlineData("1")]
    [InlineData("2")]
    public void Guest_SleepsAndWakes_WithItsDiskAndCard_AndIsSeen(string vcpus)
    {
        string image = Path.GetTempFileName();
        string name = $"xen-{Guid.NewGuid():n}";
        try
        {
            File.WriteAllBytes(image, RandomNumberGenerator.GetBytes(1 << 20));
            using HullRun run = HullRun.Start("run", "--xen", "-c", vcpus, "--name", name, "--net", "user", "--disk", image + ",format=raw",
                "--", "sh", "-c", "sum() { echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/xvda; }; one=$(sum); echo up; "
                + "until dmesg | grep -q 'Restarting tasks'; do usleep 10000; done; [ \"$one\" = \"$(sum)\" ] && "
                + "router=$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p') && arping -q -c 1 -w 20 -I eth0 $router && "
                + "dd if=/dev/zero of=/dev/xvda bs=4096 count=1 conv=fsync 2>/dev/null && echo awake; exit 7");
            run.WaitFor("up\n");

            Assert.Matches(@"(?m)^ *1 backend .* xenstore$", Hull("ports"));
            Assert.Matches(@"(?m) backend .* vbd$", Hull("ports"));
            Assert.Matches(@"(?m)^ *\d+ +0x\w+ +0 write write$", Hull("grants"));
            Assert.Contains("/device/vif/0/state = \"4\"   (n1,r0)", Hull("store"), StringComparison.Ordinal);
            Assert.Contains("\"path\": \"/local/domain/1/domid\"", Hull("store", "-o", "json"), StringComparison.Ordinal);

            Hull("suspend");
            RunResult again = HullRun.Hull("xen", "suspend", name);
            Assert.Contains("sleeps already", again.Error, StringComparison.Ordinal);
            Hull("resume");
            run.WaitFor("awake\n");
            RunResult result = run.WaitForEnd();
            Assert.True(result.Status == 7, result.ToString());
        }
        finally
        {
            File.Delete(image);
        }

        string Hull(string verb, params string[] more)
        {
            RunResult result = HullRun.Hull(["xen", verb, name, .. more]);
            Assert.True(result.Status == 0, result.ToString());
            return result.Text;
        }
    }

    [Fact]
    public void DiskAndCard_ComeAndGo_ThroughXensDrivers()
    {
        string image = Path.GetTempFileName();
        string name = $"xen-{Guid.NewGuid():n}";
        try
        {
            byte[] content = RandomNumberGenerator.GetBytes(1 << 20);
            File.WriteAllBytes(image, content);
            using HullRun run = HullRun.Start("run", "--xen", "--name", name, "--net", "none", "--", "sh", "-c",
                "echo up; until [ -e /dev/xvda ] && [ -e /sys/class/net/eth0 ]; do usleep 20000; done; sha256sum </dev/xvda; "
                + "printf written | dd of=/dev/xvda conv=notrunc,fsync 2>/dev/null; ip link set eth0 up; "
                + "until grep -q 1 /sys/class/net/eth0/carrier; do usleep 20000; done; echo ready; "
                + "while [ -e /dev/xvda ] || [ -e /sys/class/net/eth0 ]; do usleep 20000; done; echo gone; "
                + "until [ -e /dev/xvda ]; do usleep 20000; done; dd if=/dev/xvda bs=7 count=1 2>/dev/null; echo; sleep 1000");
            run.WaitFor("up\n");
            Assert.Equal("data\n", Hull("add", $"disk,file={image},format=raw,id=data"));
            Assert.Equal("net0\n", Hull("add", "net"));
            run.WaitFor(Convert.ToHexStringLower(SHA256.HashData(content)));
            run.WaitFor("ready\n");
            Assert.Matches("data +disk +-\\s+net0 +net +-", Hull("list"));
            Hull("remove", "data");
            Hull("remove", "net0");
            run.WaitFor("gone\n");
            Assert.DoesNotContain("data", Hull("list"), StringComparison.Ordinal);
            using (FileStream alone = new(image, FileMode.Open, FileAccess.ReadWrite, FileShare.None))
            {
                Assert.Equal((byte)'w', alone.ReadByte());
            }

            Hull("add", $"disk,file={image},format=raw"); // the place is free again
            run.WaitFor("written\n");
        }
        finally
        {
            File.Delete(image);
        }

        string Hull(string verb, params string[] more)
        {
            RunResult result = HullRun.Hull(["device", verb, name, .. more]);
            Assert.True(result.Status == 0, result.ToString());
            return result.Text;
        }
    }

    [Fact]
    public void Balloon_GivesMemoryBack_AndTakesItAgain()
    {
        const string script = """
            cd /sys/devices/system/xen_memory/xen_memory0
            full=$(cat target_kb)
            total() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
            first=$(total)
            echo $((full - 300000)) >target_kb
            until [ $(total) -lt $((first - 290000)) ]; do usleep 10000; done
            echo $full >target_kb
            until [ $(total) -eq $first ]; do usleep 10000; done
            head -c 220000000 /dev/zero >/dev/shm/full && echo all is back
            """;

        RunResult result = HullRun.Hull("run", "--xen", "-m", "512M", "--net", "none", "--", "sh", "-c", script);

        Assert.True(result.Status == 0, result.ToString());
        Assert.Equal("all is back\n", result.Text);
    }

    [Fact]
    public void Grub_ReachesItsPrompt_AndReadsTheDisk()
    {
        string image = Path.GetTempFileName();
        try
        {
            using (FileStream file = File.OpenWrite(image))
            {
                file.SetLength(8 << 20);
            }

            using HullRun run = HullRun.StartOnTerminal($"run --xen --net none --disk {image},format=raw");
            run.WaitFor("grub> ");
            run.Type("ls\n");
            run.WaitFor("(xen/xvda)");
            run.Type("halt\n");
            Assert.Equal(0, run.WaitForEnd().Status);
        }
        finally
        {
            File.Delete(image);
        }
    }

    [Fact]
    public void Trace_ShowsNamesArgumentsAndResults()
    {
        string trace = Path.GetTempFileName();
        try
        {
            RunResult result = HullRun.Hull("run", "--xen", $"--trace=hypercalls,file={trace}", "--", "true");
            Assert.True(result.Status == 0, result.ToString());
            string lines = File.ReadAllText(trace);
            Assert.Matches(@"(?m)^\d+\.\d{6} vcpu0 memory_op\(add_to_physmap, domid=DOMID_SELF, space=0, idx=0, gpfn=\w+\) = 0$", lines);
            Assert.Matches(@"(?m)event_channel_op\(bind_virq, virq=0, vcpu=0\) = 0, port=\d+$", lines);
            Assert.Matches(@"(?m)hvm_op\(pagetable_dying, .*\) = -22 \(EINVAL\)$", lines);
        }
        finally
        {
            File.Delete(trace);
        }
    }

    [Theory]
    [InlineData("run --trace=hypercalls -- true", "give --xen")]
    [InlineData("run --xen --trace=syscalls -- true", "give hypercalls or hypercalls,file=FILE")]
    [InlineData("run --xen --trace=hypercalls,file=/nowhere/f -- true", "cannot write the log /nowhere/f")]
    public void Trace_OfSomethingElse_IsRefused(string arguments, string message)
    {
        RunResult result = HullRun.Hull(arguments.Split(' '));
        Assert.Equal(125, result.Status);
        Assert.Contains(message, result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Xen_IsForRealTime()
    {
        RunResult result = HullRun.Hull("run", "--xen", "--deterministic", "--", "true");

        Assert.Equal(125, result.Status);
        Assert.Contains("leave out --deterministic", result.Error, StringComparison.Ordinal);
    }
}
