using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using Xunit;

namespace Hull.BootTests;

/// <summary>
/// A Debian disk that `hull image debian` built and ./check keeps: SeaBIOS, GRUB, Debian's kernel and systemd, with nothing of
/// Hull's in the guest. Each test writes to an overlay of its own.
/// </summary>
public sealed class DebianDiskTests : IDisposable
{
    private static readonly TimeSpan SshLimit = TimeSpan.FromSeconds(120);

    private readonly string _folder = Directory.CreateTempSubdirectory("hull-debian-").FullName;
    private int _port = HostNetwork.FreePort();

    private string Overlay => Path.Combine(_folder, "overlay.qcow2");

    [GuestFact(TestGuest.DebianDisk)]
    public void DebianDisk_RunsAllItsServices_TakesSsh_Reboots_AndPowersOff()
    {
        using HullRun run = Boot("1");
        run.WaitFor("login:");
        Assert.Equal("running\n", Ssh("systemctl is-system-running --wait; systemctl --failed --no-legend"));
        Assert.StartsWith("PING", Ssh("ping -c 1 localhost"), StringComparison.Ordinal);
        string first = Ssh("cat /proc/sys/kernel/random/boot_id");

        Ssh("systemctl reboot");
        run.WaitFor("login:");
        Assert.NotEqual(first, Ssh("cat /proc/sys/kernel/random/boot_id"));

        PowerOff(run);
    }

    [GuestFact(TestGuest.DebianDisk)]
    public void DebianDisk_WhoseHullIsKilled_KeepsWhatWasSynced_AndComesUpClean()
    {
        using (HullRun run = Boot("2"))
        {
            run.WaitFor("login:");
            Assert.Equal("2\n", Ssh("nproc"));
            Ssh("dd if=/dev/urandom of=/var/kept bs=1M count=16 2>/dev/null && sha256sum /var/kept >/var/sum && sync");
            Ssh("nohup sh -c 'while :; do cp /var/kept /var/copy; rm /var/copy; done' >/dev/null 2>&1 &");
            Thread.Sleep(500); // Into the midst of the writes; whatever the moment, the rest has to hold.
            run.Signal("KILL");
            run.WaitForEnd();
        }

        // passt ends when it sees that Hull has; until then the port is its.
        Assert.True(SpinWait.SpinUntil(IsPortFree, TimeSpan.FromSeconds(20)), "passt holds the port");
        using HullRun again = Boot("2");
        again.WaitFor("login:");
        Assert.Equal("/var/kept: OK\nrunning\n", Ssh("sha256sum -c /var/sum; systemctl is-system-running --wait"));
        PowerOff(again);
        AssertClean();
    }

    [GuestFact(TestGuest.DebianDisk)]
    public void DebianDisk_BootsAsAGuestOfXen_ThroughGrub_WithItsOwnDrivers()
    {
        using HullRun run = Boot("2", "--xen");
        run.WaitFor("hvc0");
        run.WaitFor("login:");
        Assert.Equal("running\n", Ssh("systemctl is-system-running --wait; systemctl --failed --no-legend"));
        Assert.Equal(
            "PVH\nvif\n/dev/xvda2\n",
            Ssh("cat /sys/hypervisor/guest_type; basename $(readlink /sys/class/net/e*/device/driver); findmnt -n -o SOURCE /"));
        string first = Ssh("cat /proc/sys/kernel/random/boot_id");

        Ssh("systemctl reboot");
        run.WaitFor("hvc0");
        run.WaitFor("login:");
        Assert.NotEqual(first, Ssh("cat /proc/sys/kernel/random/boot_id"));
        PowerOff(run);
        AssertClean();
    }

    [GuestFact(TestGuest.DebianDisk)]
    public void DebianDisk_TakesADiskAndACard_WhileItRuns_AndUsesThem()
    {
        string name = $"test-{Guid.NewGuid():n}";
        string data = Path.Combine(_folder, "data.qcow2");
        Assert.Equal(0, HullRun.Hull("image", "create", data, "256M").Status);
        using HullRun run = Boot("2", "--name", name);
        run.WaitFor("login:");
        Ssh("systemctl is-system-running --wait");

        Device("add", name, $"disk,file={data},id=data,serial=spare");
        Assert.Equal("2\n", Ssh("until [ -e /dev/disk/by-id/virtio-spare ]; do sleep 0.1; done; mkfs.ext4 -q /dev/disk/by-id/virtio-spare "
            + "&& mount /dev/disk/by-id/virtio-spare /mnt && dd if=/dev/urandom of=/mnt/data bs=1M count=64 2>/dev/null "
            + "&& sha256sum /mnt/data >/mnt/sum && umount /mnt; ls /sys/block/vdb/mq | wc -l"));
        Device("remove", name, "data");
        Assert.Equal("", Ssh("ls /dev/disk/by-id/virtio-spare 2>/dev/null || true"));
        Assert.Equal(0, HullRun.Hull("image", "check", data).Status);
        Device("add", name, $"disk,file={data},serial=spare");
        Assert.Equal("/mnt/data: OK\n", Ssh(
            "until [ -e /dev/disk/by-id/virtio-spare ]; do sleep 0.1; done; mount /dev/disk/by-id/virtio-spare /mnt && sha256sum -c /mnt/sum; umount /mnt"));

        // A second card takes the first one's place.
        int port = HostNetwork.FreePort();
        Device("add", name, $"net,publish=127.0.0.1:{port}:22,id=second");
        Ssh("until networkctl --no-legend | grep -c 'routable *configured' | grep -q 2; do sleep 0.1; done");
        Device("remove", name, "net0");
        _port = port;
        Assert.Equal("1\n", Ssh("ls -d /sys/class/net/e* | wc -l"));
        Assert.Equal(Ssh("sha256sum </usr/bin/perl"), Ssh("cat /usr/bin/perl", "sha256sum"));
        Assert.Equal("running\n", Ssh("systemctl is-system-running --wait; systemctl --failed --no-legend"));
        PowerOff(run);
        AssertClean();
    }

    [GuestFact(TestGuest.DebianRepository)]
    public void DebianDisk_InstallsACompiler_FromARepositoryOfTheHosts_AndStaysWhole()
    {
        using (HostWebServer server = new(Checkout.DebianRepository!)) // there, or skipped
        {
            using HullRun run = Boot("2");
            run.WaitFor("login:");
            Ssh(TakePackagesFrom(server, ""));
            Ssh("DEBIAN_FRONTEND=noninteractive apt-get -q -y install build-essential");
            Assert.Equal("", Ssh("dpkg --audit; dpkg --verify build-essential gcc-12 libc6-dev make"));
            Assert.Equal("42\n", Ssh(
                "printf '#include <iostream>\\nint main() { std::cout << 42 << std::endl; }' >a.cc && g++ -O2 -o a a.cc && ./a"));
            Assert.Equal("running\n", Ssh("systemctl is-system-running --wait; systemctl --failed --no-legend"));
            PowerOff(run);
        }

        AssertClean();
    }

    /// <summary>
    /// Packages that Debian has in two versions go to the older one, and are upgraded from there; the kernel is unpacked, its initramfs
    /// and GRUB's menu are written anew, and it boots.
    /// </summary>
    [GuestFact(TestGuest.DebianUpgrade)]
    public void DebianDisk_IsUpgraded_FromBookwormToItsSecurityArchive_AndComesUpWhole()
    {
        string[][] list = [.. File.ReadAllLines(Path.Combine(Checkout.DebianUpgrade!, "list")).Select(static line => line.Split(' '))];
        string[][] packages = [.. list.Where(static row => row[1] != "-")];
        string kernel = list.Single(static row => row[1] == "-")[0];
        string names = string.Join(' ', packages.Select(static row => row[0]));
        string versions = $"dpkg-query -W -f '${{Package}} ${{Version}}\n' {names} 2>/dev/null | sort";
        using (HostWebServer server = new(Checkout.DebianUpgrade!)) // there, or skipped
        {
            using HullRun run = Boot("2");
            run.WaitFor("login:");
            string apt = "DEBIAN_FRONTEND=noninteractive apt-get -q -y";
            Ssh($"{TakePackagesFrom(server, "/old")}; {apt} --allow-downgrades --only-upgrade install "
                + $"{string.Join(' ', packages.Select(static row => $"{row[0]}={row[1]}"))}");
            string[] before = Ssh(versions).Split('\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.True(before.Length >= 3, string.Join('\n', before));
            Assert.All(before, line => Assert.Contains(packages, row => line == $"{row[0]} {row[1]}"));

            Ssh($"sed -i s,/old,/new, /etc/apt/sources.list; apt-get -q update; {apt} dist-upgrade; {apt} --reinstall install {kernel}");
            string[] after = Ssh(versions).Split('\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(before.Length, after.Length);
            Assert.All(after, line => Assert.Contains(packages, row => line == $"{row[0]} {row[2]}"));
            Assert.Equal("", Ssh($"dpkg --audit; dpkg --verify {kernel} {string.Join(' ', after.Select(static line => line.Split(' ')[0]))}"));
            Assert.Equal("new\n", Ssh($"[ /boot/initrd.img-{kernel["linux-image-".Length..]} -nt /etc/apt/sources.list ] && [ /boot/grub/grub.cfg -nt /etc/apt/sources.list ] && echo new"));

            Ssh("systemctl reboot");
            run.WaitFor("login:");
            Assert.Equal($"{kernel}\nrunning\n", Ssh("echo linux-image-$(uname -r); systemctl is-system-running --wait; systemctl --failed --no-legend"));
            PowerOff(run);
        }

        AssertClean();
    }

    [Fact]
    public void DiskWithoutBootSector_IsRefused_WithWhatToDo()
    {
        string image = Path.Combine(_folder, "empty.img");
        using (FileStream file = File.Create(image))
        {
            file.SetLength(1 << 20);
        }

        RunResult result = HullRun.Hull("run", "--disk", image);

        Assert.Equal(125, result.Status);
        Assert.Contains("empty.img has no boot sector", result.Error, StringComparison.Ordinal);
        Assert.Contains("'-- sh'", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void BootSector_WritesThroughTheBios_ToTheConsole()
    {
        // INT 10h, function 0Eh for each letter; then for ever.
        byte[] sector = new byte[1 << 20];
        int at = 0;
        foreach (char letter in "started\r\n")
        {
            byte[] code = [0xB8, (byte)letter, 0x0E, 0xBB, 0x07, 0x00, 0xCD, 0x10];
            code.CopyTo(sector, at);
            at += code.Length;
        }

        new byte[] { 0xF4, 0xEB, 0xFD }.CopyTo(sector, at);
        new byte[] { 0x55, 0xAA }.CopyTo(sector, 510);
        string image = Path.Combine(_folder, "boot.img");
        File.WriteAllBytes(image, sector);

        using HullRun run = HullRun.Start("run", "--disk", image, "--net", "none");
        run.WaitFor("SeaBIOS (version");
        run.WaitFor("started\r\n");
    }

    [Fact]
    public void FirmwareWithAKernelsOptions_IsRefused()
    {
        RunResult result = HullRun.Hull("run", "--firmware", "bios", "--append", "quiet");

        Assert.Equal(125, result.Status);
        Assert.Contains("--firmware boots what is on a disk", result.Error, StringComparison.Ordinal);
    }

    /// <inheritdoc/>
    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private HullRun Boot(string vcpus, params string[] more)
    {
        if (!File.Exists(Overlay))
        {
            RunResult made = HullRun.Hull("image", "create", Overlay, "--backing", Checkout.DebianDisk!);
            Assert.True(made.Status == 0, made.ToString());
        }

        string publish = string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{_port}:22");
        return HullRun.Start(["run", "-c", vcpus, .. more, "--disk", Overlay + ",backing=on", "--publish", publish]);
    }

    private bool IsPortFree()
    {
        try
        {
            using TcpListener listener = new(IPAddress.Loopback, _port);
            listener.Start();
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static void Device(params string[] arguments)
    {
        RunResult result = HullRun.Hull(["device", .. arguments]);
        Assert.True(result.Status == 0, result.ToString());
    }

    // The port answers before the guest's server does: the first attempts may fail. A reboot cuts its own session off.
    // With a filter the host's shell gets what the command prints.
    private string Ssh(string command, string filter = "cat")
    {
        DateTime end = DateTime.UtcNow + SshLimit;
        while (true)
        {
            ProcessStartInfo info = new("bash",
            [
                "-c", $"set -o pipefail; ssh \"$@\" | {filter}", "ssh", "-p", _port.ToString(CultureInfo.InvariantCulture), "-i", Checkout.DebianKey, "-o", "StrictHostKeyChecking=no",
                "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-o", "IdentitiesOnly=yes",
                "root@127.0.0.1", command,
            ])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            };
            using Process ssh = Process.Start(info)!; // a new process: never null
            string output = ssh.StandardOutput.ReadToEnd();
            string error = ssh.StandardError.ReadToEnd();
            ssh.WaitForExit();
            if (ssh.ExitCode == 0 || command.StartsWith("systemctl", StringComparison.Ordinal) && output.Length + error.Length == 0)
            {
                return output;
            }

            bool isEarly = error.Contains("Connection", StringComparison.Ordinal) || error.Contains("kex_", StringComparison.Ordinal);
            Assert.True(isEarly && DateTime.UtcNow < end, $"ssh '{command}': status {ssh.ExitCode}\n{output}\n{error}");
            Thread.Sleep(500);
        }
    }

    private void PowerOff(HullRun run)
    {
        Ssh("systemctl poweroff");
        RunResult result = run.WaitForEnd();
        Assert.True(result.Status == 0, result.ToString());
    }

    // Words that make a folder of the host's server the guest's only source of packages.
    private static string TakePackagesFrom(HostWebServer server, string folder) =>
        $"rm -rf /etc/apt/sources.list.d/*; {HostNetwork.Router} "
        + $"echo \"deb [trusted=yes] http://$router:{server.Port}{folder} ./\" >/etc/apt/sources.list; apt-get -q update";

    private void AssertClean()
    {
        string raw = Path.Combine(_folder, "whole.raw");
        RunResult converted = HullRun.Hull("image", "convert", "--allow-backing", Overlay, raw);
        Assert.True(converted.Status == 0, converted.ToString());
        using Process check = Process.Start("sh", ["-c", $"e2fsck -fn '{raw}?offset=2097152'"]);
        check.WaitForExit();
        Assert.Equal(0, check.ExitCode);
        RunResult image = HullRun.Hull("image", "check", Overlay);
        Assert.True(image.Status == 0, image.ToString());
    }
}
