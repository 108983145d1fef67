using System;
using System.Diagnostics;
using System.IO;
using Xunit;

namespace Hull.BootTests;

/// <summary>
/// The host lets its guest down: a full disk, an image that goes away. The guest sees errors, the user which file it is and
/// why, and all is well again when the cause is gone.
/// </summary>
public sealed class HostTroubleTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-trouble").FullName;

    private string Image => Path.Combine(_folder, "disk.img");

    [MountFact]
    public void FullDisk_IsAnErrorInTheGuest_UntilThereIsRoom()
    {
        // A small file system in a mount name space of its own; something else fills half of it until the test says so.
        string go = Path.Combine(_folder, "go");
        string guest = "dd if=/dev/zero of=/dev/vda bs=1M count=12 conv=fsync 2>/dev/null || echo failed; "
            + "until dd if=/dev/zero of=/dev/vda bs=1M count=12 conv=fsync 2>/dev/null; do sleep 0.2; done; echo recovered";
        string script = $"mkdir {_folder}/small && mount -t tmpfs -o size=16m tmpfs {_folder}/small && cd {_folder}/small "
            + "&& truncate -s 64M disk.img && dd if=/dev/zero of=filler bs=1M count=8 2>/dev/null || exit 1; "
            + $"(until [ -e {go} ]; do sleep 0.1; done; rm filler) & exec {Checkout.Hull} run --disk disk.img -- sh -c '{guest}'";
        using HullRun run = HullRun.StartProgram("unshare", "-m", "bash", "-c", script);
        run.WaitFor("failed\n");
        File.WriteAllText(go, "");
        run.WaitFor("recovered\n");
        RunResult result = run.WaitForEnd();

        Assert.Equal(0, result.Status);
        Assert.Matches("hull: writing the guest's disk fails: .*disk.img", result.Error);
        Assert.Contains("No space left", result.Error, StringComparison.Ordinal);
        Assert.Contains("hull: writing the guest's disk works again", result.Error, StringComparison.Ordinal);
        Assert.True(result.Error.Split('\n').Length < 6, result.Error);
    }

    [Fact]
    public void RemovedImage_IsAnErrorInTheGuest()
    {
        MakeImage();
        using HullRun run = HullRun.Start("run", "--disk", Image, "--", "sh", "-c",
            "echo up; while echo x | dd of=/dev/vda conv=fsync 2>/dev/null; do sleep 0.1; done; echo failed");
        run.WaitFor("up\n");
        File.Delete(Image);
        RunResult result = run.WaitForEnd();

        Assert.True(result is { Status: 0, Text: "failed\n" }, result.ToString());
        Assert.Contains($"hull: writing the guest's disk fails: {Image} was removed while in use", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void CutImage_IsAnErrorInTheGuest_UntilItIsWhole()
    {
        MakeImage();
        using HullRun run = HullRun.Start("run", "--disk", Image, "--", "sh", "-c",
            "echo up; while dd if=/dev/vda of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null; do sleep 0.1; done; echo failed; "
            + "until dd if=/dev/vda of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null; do sleep 0.1; done; echo recovered");
        run.WaitFor("up\n");
        Run("truncate", "-s", "0", Image);
        run.WaitFor("failed\n");
        Run("truncate", "-s", "32M", Image);
        run.WaitFor("recovered\n");
        RunResult result = run.WaitForEnd();

        Assert.Equal(0, result.Status);
        Assert.Contains($"hull: reading the guest's disk fails: {Image} ends at 0", result.Error, StringComparison.Ordinal);
        Assert.Contains("hull: reading the guest's disk works again", result.Error, StringComparison.Ordinal);
    }

    [MountFact]
    public void FullDisk_InterruptsACapture_WhichHasWholeFramesOnly()
    {
        string guest = "until [ -e /mnt/signs/room ]; do ping -c 1 -W 1 -s 1400 192.0.2.1 >/dev/null; done; "
            + "ping -c 3 -s 200 192.0.2.1 >/dev/null; echo done";
        string script = $"cd {_folder} && mkdir small signs && mount -t tmpfs -o size=16k tmpfs small || exit 1; "
            + "(until grep -q 'c.pcap fails' words; do sleep 0.1; done; mount -o remount,size=4m small; touch signs/room) & "
            + $"{Checkout.Hull} run --pcap small/c.pcap --share signs:signs:ro -- sh -c '{guest}' 2>words; "
            + "status=$?; cp small/c.pcap .; cat words >&2; exit $status";
        RunResult result = HullRun.StartProgram("unshare", "-m", "bash", "-c", script).WaitForEnd();

        Assert.True(result is { Status: 0, Text: "done\n" }, result.ToString());
        Assert.Contains("hull: the capture small/c.pcap fails: No space left", result.Error, StringComparison.Ordinal);
        Assert.Contains("hull: the capture small/c.pcap works again", result.Error, StringComparison.Ordinal);
        byte[] file = File.ReadAllBytes(Path.Combine(_folder, "c.pcap"));
        int at = 24;
        int frames = 0;
        for (; at < file.Length; frames++)
        {
            at += 16 + BitConverter.ToInt32(file, at + 8);
        }

        Assert.Equal(file.Length, at);
        Assert.True(frames > 12, $"{frames} frames");
    }

    [MountFact]
    public void SharedFolder_ThatIsFull_TakesNoWrites_OrIsRemoved_IsNamed_AndComesBack() =>
        TroubleWithAFolder("--share small/s:s --share signs:signs:ro", "");

    [GuestFact(TestGuest.GenericKernel)]
    public void NinePFolder_ThatIsFull_TakesNoWrites_OrIsRemoved_IsNamed_AndComesBack()
    {
        const string mount = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000";
        Assert.Null(MountFactAttribute.Reason());
        TroubleWithAFolder(
            $"{Checkout.GenericKernel} --device p9,path={_folder}/small/s,tag=s --device p9,path={_folder}/signs,tag=signs",
            $"mkdir /mnt/s /mnt/signs; {mount} s /mnt/s && {mount} signs /mnt/signs || exit 9; ");
    }

    private void TroubleWithAFolder(string options, string mount)
    {
        string guest = mount + "say() { echo $1; until [ -e /mnt/signs/$1 ]; do sleep 0.1; done; }; again() { until \"$@\" 2>/dev/null; do sleep 0.2; done; }; "
            + "cd /mnt/s && dd if=/dev/zero of=big bs=64k count=64 2>/dev/null || say full; again dd if=/dev/zero of=big bs=64k count=64; "
            + "rm big; say room; again touch new; say ro; again touch new; say gone; until cat f 2>/dev/null; do sleep 0.2; done";
        string script = $"cd {_folder} && mkdir small signs && mount -t tmpfs -o size=2m tmpfs small && mkdir small/s || exit 1; "
            + "until_said() { until grep -q $1 said; do sleep 0.1; done; }; : >said; : >words; "
            + "(until_said full; mount -o remount,size=8m small; touch signs/full; until_said room; mount -o remount,ro small; touch signs/room; "
            + "until grep -q Read-only words; do sleep 0.1; done; mount -o remount,rw small; until_said ro; touch signs/ro; until_said gone; "
            + "rm -rf small/s; touch signs/gone; until grep -q 'was removed' words; do sleep 0.1; done; mkdir small/s; echo anew >small/s/f) & "
            + $"{Checkout.Hull} run {options} -- sh -c '{guest}' >said 2>words; "
            + "status=$?; cat said; cat words >&2; exit $status";
        RunResult result = HullRun.StartProgram("unshare", "-m", "bash", "-c", script).WaitForEnd();

        Assert.True(result is { Status: 0, Text: "full\nroom\nro\ngone\nanew\n" }, result.ToString());
        Assert.Contains($"hull: writing the shared folder {_folder}/small/s fails: No space left on device", result.Error, StringComparison.Ordinal);
        Assert.Contains($"hull: writing the shared folder {_folder}/small/s works again", result.Error, StringComparison.Ordinal);
        Assert.Contains($"hull: writing the shared folder {_folder}/small/s fails: Read-only file system", result.Error, StringComparison.Ordinal);
        Assert.Contains($"hull: the shared folder {_folder}/small/s fails: it was removed", result.Error, StringComparison.Ordinal);
        Assert.Contains($"hull: the shared folder {_folder}/small/s works again", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void OutputThatCannotBeWritten_IsTheEndOfACommand_ButNotOfAMachine()
    {
        RunResult command = HullRun.StartProgram("bash", "-c", $"exec {Checkout.Hull} run -- sh -c 'yes; sleep 1000' >/dev/full").WaitForEnd();
        RunResult machine = HullRun.StartProgram(
            "bash", "-c", $"(sleep 4; echo poweroff) | {Checkout.Hull} run >/dev/full").WaitForEnd();

        Assert.Equal(125, command.Status);
        Assert.Contains("hull: standard output (/dev/full) fails: No space left", command.Error, StringComparison.Ordinal);
        Assert.Equal(0, machine.Status);
        Assert.Single(machine.Error.Split('\n'), static line => line.Contains("what the guest prints is lost", StringComparison.Ordinal));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(program, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }

    private void MakeImage()
    {
        using FileStream file = File.Create(Image);
        file.SetLength(32 << 20);
    }
}
