using System;
using System.IO;
using Xunit;

namespace Hull.BootTests;

/// <summary>Folders of the host's in Debian's kernels: virtiofs, 9p, and the root as a view of the host's.</summary>
public sealed class ShareTests : IDisposable
{
    private const string Sums = "find . -type f | sort | tr '\\n' '\\0' | xargs -0 sha256sum | sha256sum";

    // Not below /tmp, which under --root host is the guest's own.
    private readonly string _folder = Directory.CreateDirectory(
        Path.Combine(Checkout.Root, "artifacts", "share-" + Path.GetRandomFileName())).FullName;

    public ShareTests()
    {
        Random random = new(5);
        for (int i = 0; i < 200; i++)
        {
            string folder = Directory.CreateDirectory(Path.Combine(_folder, $"d{i % 20}", $"e{i % 7}")).FullName;
            byte[] content = new byte[random.Next(100_000)];
            random.NextBytes(content);
            File.WriteAllBytes(Path.Combine(folder, $"file {i}"), content);
        }
    }

    [Theory]
    [InlineData("1")]
    [InlineData("2")]
    public void Share_HasTheHostsFiles_AndTheHostHasTheGuests(string vcpus)
    {
        RunResult result = HullRun.Hull("run", "-c", vcpus, "--share", _folder + ":tree", "--", "sh", "-c",
            $"cd /mnt/tree && {Sums} && cp -r d1 copy && mv copy copied && rm -r d2 && ln -s d3 link && ln 'd3/e3/file 3' hard "
            + "&& echo written >new && chmod 600 new && truncate -s 3 new && sync");

        Assert.True(result.Status == 0, result.ToString());
        Assert.Equal("wri", File.ReadAllText(Path.Combine(_folder, "new")));
        Assert.Equal("600\n", Shell(".", "stat -c %a new"));
        Assert.False(Directory.Exists(Path.Combine(_folder, "d2")));
        Assert.Equal("d3", new FileInfo(Path.Combine(_folder, "link")).LinkTarget);
        Assert.Equal(Sum("d1"), Sum("copied"));
    }

    [Fact]
    public void SumsOfAllFiles_AreTheSameOnBothSides()
    {
        RunResult result = HullRun.Hull("run", "--share", _folder + ":tree:ro", "--", "sh", "-c", $"cd /mnt/tree && {Sums}");
        Assert.True(result.Status == 0 && result.Text == Sum("."), result.ToString());
    }

    [Fact]
    public void ReadOnlyShare_RefusesWrites()
    {
        RunResult result = HullRun.Hull("run", "--share", _folder + ":tree:ro", "--", "sh", "-c",
            "cd /mnt/tree; touch new 2>/dev/null || echo refused; mount -o remount,rw /mnt/tree; "
            + "touch new 2>/dev/null || echo refused; rm -r d1 2>/dev/null || echo refused");

        Assert.True(result is { Status: 0, Text: "refused\nrefused\nrefused\n" }, result.ToString());
        Assert.True(Directory.Exists(Path.Combine(_folder, "d1")));
    }

    [Fact]
    public void ManyWritersAtOnce_OnTwoVcpus_LoseNothing()
    {
        RunResult result = HullRun.Hull("run", "-c", "2", "--share", _folder + ":tree", "--", "sh", "-c",
            "cd /mnt/tree; for w in 1 2 3 4; do (i=0; while [ $i -lt 40 ]; do mkdir w$w && echo $i >w$w/a && mv w$w/a w$w/b "
            + "&& cat w$w/b >>out$w && mv w$w x$w && rm -r x$w; i=$((i + 1)); done) & done; wait; "
            + "cat out1 out2 out3 out4 | sort -n | uniq -c | grep -c '^ *4 '");

        Assert.True(result is { Status: 0, Text: "40\n" }, result.ToString());
    }

    [Fact]
    public void FileWithoutAName_LivesAsLongAsItIsOpen()
    {
        RunResult result = HullRun.Hull("run", "--share", _folder + ":tree", "--", "sh", "-c",
            "cd /mnt/tree; exec 5<>gone; rm gone; echo hello >&5; stat -L -c '%h %s' /proc/self/fd/5");

        Assert.True(result is { Status: 0, Text: "0 6\n" }, result.ToString());
    }

    [GuestFact(TestGuest.GenericKernel)]
    public void GenericKernel_MountsNineP() => MountNineP("");

    [GuestFact(TestGuest.GenericKernel)]
    public void GenericKernel_MountsNineP_BehindMmio() => MountNineP(",mmio");

    private void MountNineP(string how)
    {
        RunResult result = HullRun.Hull("run", Checkout.GenericKernel!, "--device", $"p9,path={_folder},tag=nine{how}", "--", "sh", "-c",
            $"mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 nine /mnt && cd /mnt && {Sums} "
            + "&& cp -r d1 copy && mv copy copied && rm -r d2 && ln -s d3 link && echo written >new && truncate -s 3 new");

        Assert.True(result.Status == 0, result.ToString());
        Assert.Equal("wri", File.ReadAllText(Path.Combine(_folder, "new")));
        Assert.False(Directory.Exists(Path.Combine(_folder, "d2")));
        Assert.Equal(Sum("d1"), Sum("copied"));
    }

    [Fact]
    public void RootHost_SeesTheHost_AndItsWritesVanish()
    {
        string file = Path.Combine(_folder, "d1", "mark");
        File.WriteAllText(file, "of the host");
        RunResult result = HullRun.Hull("run", "--root", "host", "--", "sh", "-c",
            $"cat {file} && echo changed >{file} && cat {file} && rm -rf {_folder}/d2 && echo x >/etc/hull-was-here "
            + "&& . /etc/os-release && echo $ID && ls /proc/self/exe >/dev/null && touch /run/mine /dev/shm/mine; exit 7");

        Assert.True(result is { Status: 7, Text: "of the hostchanged\ndebian\n" }, result.ToString());
        Assert.Equal("of the host", File.ReadAllText(file));
        Assert.True(Directory.Exists(Path.Combine(_folder, "d2")));
        Assert.False(File.Exists("/etc/hull-was-here"));
    }

    [Fact]
    public void RootHost_StartsWhereTheUserIs_WithTheHostsPrograms()
    {
        RunResult result = HullRun.Hull("run", "--root", "host", "--", "sh", "-c", "pwd; find --version | head -n 1; exit 3");
        Assert.True(result.Status == 3, result.ToString());
        Assert.StartsWith(Environment.CurrentDirectory + "\nfind (GNU", result.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void RootHost_WithAShare_WritesThroughThere()
    {
        RunResult result = HullRun.Hull("run", "--root", "host", "--share", _folder, "--", "sh", "-c", $"echo kept >{_folder}/kept");
        Assert.True(result.Status == 0, result.ToString());
        Assert.Equal("kept\n", File.ReadAllText(Path.Combine(_folder, "kept")));
    }

    [Fact]
    public void RootFolder_IsASystemOfItsOwn_AndItsWritesVanish()
    {
        string system = Path.Combine(_folder, "system");
        Directory.CreateDirectory(Path.Combine(system, "bin"));
        Directory.CreateDirectory(Path.Combine(system, "etc"));
        File.Copy(NetworkTests.ProgramOf("busybox"), Path.Combine(system, "bin/busybox"));
        foreach (string name in (string[])["sh", "cat", "rm", "ls", "touch", "pwd"])
        {
            File.CreateSymbolicLink(Path.Combine(system, "bin", name), "/bin/busybox");
        }

        File.WriteAllText(Path.Combine(system, "etc/mark"), "of the folder\n");
        File.CreateSymbolicLink(Path.Combine(system, "etc/out"), "/../../../etc/passwd");
        RunResult result = HullRun.Hull("run", "--root", system, "--share", Path.Combine(_folder, "d1") + ":one", "--", "sh", "-c",
            "cat /etc/mark; echo changed >/etc/mark; cat /etc/mark; rm /bin/ls; touch /new /mnt/one/new; pwd; cat /etc/out 2>/dev/null || echo closed; "
            + "[ -e /proc/self/exe ] && echo proc; exit 9");

        Assert.True(result is { Status: 9, Text: "of the folder\nchanged\n/\nclosed\nproc\n" }, result.ToString());
        Assert.Equal("of the folder\n", File.ReadAllText(Path.Combine(system, "etc/mark")));
        Assert.True(File.Exists(Path.Combine(_folder, "d1/new")));
        Assert.Equal("bin etc ", Shell("system", "ls | tr '\\n' ' '"));
        Assert.True(File.Exists(Path.Combine(system, "bin/ls")));
        Assert.Equal(127, HullRun.Hull("run", "--root", system, "--", "no-such-command").Status);

        // One that has no shell.
        File.Delete(Path.Combine(system, "bin/sh"));
        result = HullRun.Hull("run", "--root", system, "--", "/bin/cat", "/etc/mark");
        Assert.True(result is { Status: 0, Text: "of the folder\n" }, result.ToString());
    }

    [Fact]
    public void RootHost_NoSuchCommand_Is127()
    {
        Assert.Equal(127, HullRun.Hull("run", "--root", "host", "--", "no-such-command").Status);
    }

    [Fact]
    public void GitWorks_OnASharedTree()
    {
        Assert.NotEmpty(NetworkTests.ProgramOf("git"));
        const string git = "git -c user.name=t -c user.email=t@t.invalid -c init.defaultBranch=m";
        RunResult result = HullRun.Hull("run", "-m", "1G", "--root", "host", "--share", _folder, "--", "sh", "-c",
            $"cd {_folder} && {git} init -q && {git} add . && {git} commit -q -m one "
            + $"&& echo more >>'d3/e3/file 3' && {git} status --short && {git} gc -q && {git} fsck --no-progress");

        Assert.True(result is { Status: 0, Text: " M \"d3/e3/file 3\"\n" }, result.ToString());
    }

    [Theory]
    [InlineData("--share=/nowhere", "/nowhere is no folder")]
    [InlineData("--share=/etc:a b", "'a b' is no tag")]
    [InlineData("--share=/proc", "it is the kernel's")]
    [InlineData("--root=/nowhere", "/nowhere")]
    public void WrongShare_IsOneClearLine(string option, string expected)
    {
        RunResult result = HullRun.Hull("run", option, "--", "true");
        Assert.True(result.Status == 125 && result.Error.Contains(expected, StringComparison.Ordinal)
            && result.Error.TrimEnd().Split('\n').Length == 1, result.ToString());
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    // By the host's own tools.
    private string Sum(string folder) => Shell(folder, Sums);

    private string Shell(string folder, string command)
    {
        using System.Diagnostics.Process shell = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("sh", ["-c", command])
        {
            WorkingDirectory = Path.Combine(_folder, folder),
            RedirectStandardOutput = true,
        })!; // a new process: never null
        return shell.StandardOutput.ReadToEnd();
    }
}
