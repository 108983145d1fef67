using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using Xunit;

namespace Hull.BootTests;

/// <summary>
/// The calls of `file-calls.c` on shared folders, against the same calls on a disk's ext4: names, links, renames, attributes, holes,
/// mappings, locks, large folders, other users. What a share does otherwise is listed here.
/// </summary>
public sealed class FileCallTests : IDisposable
{
    private const string Options = "trans=virtio,version=9p2000.L,msize=512000,cache=mmap";

    // No devices on the host, and a whiteout is one; FUSE of Linux 6.1 has no files without a name.
    private static readonly string[] Always =
    [
        """renameat2(AT_FDCWD, "moved", AT_FDCWD, "gone", RENAME_WHITEOUT)""",
        """mknod("null", S_IFCHR | 0600, 0x103)""",
        "O_TMPFILE",
    ];

    // What the 9p client of Linux 6.1 has not: flags of rename, fallocate, holes, fractions of seconds, two kinds of locks beside each
    // other. And what follows from a rename that did not happen. A write takes set-user-ID away, also root's.
    private static readonly string[] NineP =
    [
        .. Always,
        """renameat2(AT_FDCWD, "b", AT_FDCWD, "fresh", RENAME_NOREPLACE)""",
        """renameat2(AT_FDCWD, "fresh", AT_FDCWD, "moved", RENAME_EXCHANGE)""",
        """renameat2(AT_FDCWD, "fresh", AT_FDCWD, "d", RENAME_EXCHANGE)""",
        "content of fresh",
        "content of moved",
        "\"fresh\"",
        "\"m\"",
        "s.st_atim.tv_nsec",
        "s.st_mtim.tv_nsec",
        "lseek(file, 100 << 20, SEEK_DATA)",
        "lseek(file, 100 << 20, SEEK_HOLE)",
        "lseek(file, 0, SEEK_HOLE)",
        "fallocate(file, 0, 0, 2 << 20)",
        "fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 3 << 20)",
        "fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192)",
        "fallocate(file, FALLOC_FL_ZERO_RANGE, 16384, 4096)",
        "pread(file, text, 1, 4096) == 1 && text[0] == 0",
        "pread(file, text, 1, 16384) == 1 && text[0] == 0",
        "s.st_size",
        "fcntl(file, F_OFD_SETLK, &open_file)",
        "fcntl(other, F_OFD_SETLK, &open_file)",
    ];

    private readonly string _work = Directory.CreateDirectory(
        Path.Combine(Checkout.Root, "artifacts", "calls-" + Path.GetRandomFileName())).FullName;

    [ToolFact("gcc", "mke2fs")]
    public void Share_DoesWhatADisksFileSystemDoes()
    {
        AssertSame(Disk(), Run("run", "--share", Folder("share"), "--share", Folder("tool") + ":tool:ro", "--", "/mnt/tool/file-calls", "/mnt/share"), Always);
    }

    [GuestFact(TestGuest.GenericKernel)]
    public void NineP_DoesWhatADisksFileSystemDoes_AsFarAsItsClientGoes()
    {
        List<string> share = Run("run", Checkout.GenericKernel!, "--device", $"p9,path={Folder("share")},tag=share",
            "--device", $"p9,path={Folder("tool")},tag=tool", "--", "sh", "-c",
            $"mkdir /tmp/tool; mount -t 9p -o {Options} share /mnt && mount -t 9p -o {Options} tool /tmp/tool && exec /tmp/tool/file-calls /mnt");
        AssertSame(Disk(), share, NineP);
    }

    /// <inheritdoc/>
    public void Dispose() => Directory.Delete(_work, recursive: true);

    private static void AssertSame(List<string> disk, List<string> share, string[] differ)
    {
        Assert.True(disk.Count > 270, string.Join('\n', disk));
        List<string> wrong = [];
        for (int i = 0; i < Math.Max(disk.Count, share.Count); i++)
        {
            string expected = i < disk.Count ? disk[i] : "";
            string found = i < share.Count ? share[i] : "";
            if (expected != found && !differ.Any(call => found.StartsWith(call + ":", StringComparison.Ordinal)))
            {
                wrong.Add($"disk:  {expected}\nshare: {found}");
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));

        // One that works by now belongs off the list.
        foreach (string call in differ)
        {
            Assert.Contains(Enumerable.Range(0, share.Count), i => share[i] != disk[i] && share[i].StartsWith(call + ":", StringComparison.Ordinal));
        }
    }

    private List<string> Disk()
    {
        string image = Path.Combine(_work, "disk.img");
        using (FileStream file = File.Create(image))
        {
            file.SetLength(7L << 30);
        }

        Process("mke2fs", "-q", "-t", "ext4", image);
        return Run("run", "--disk", image, "--share", Folder("tool") + ":tool:ro", "--", "sh", "-c",
            "mkdir /tmp/disk && mount -t ext4 /dev/vda /tmp/disk && mkdir /tmp/disk/folder && exec /mnt/tool/file-calls /tmp/disk/folder");
    }

    private static List<string> Run(params string[] arguments)
    {
        RunResult result = HullRun.Hull(arguments);
        Assert.True(result.Status == 0, result.ToString());
        return [.. System.Text.Encoding.Latin1.GetString(result.Output).TrimEnd('\n').Split('\n')];
    }

    // The guest's other users have to be able to come in; the program is in the folder named tool.
    private string Folder(string name)
    {
        string path = Path.Combine(_work, name);
        if (!Directory.Exists(path))
        {
            Directory.CreateDirectory(path);
            Process("chmod", "755", path);
            if (name == "tool")
            {
                Process("gcc", "-O1", "-static", "-w", "-o", Path.Combine(path, "file-calls"),
                    Path.Combine(Checkout.Root, "tests", "Hull.BootTests", "file-calls.c"));
            }
        }

        return path;
    }

    private static void Process(string program, params string[] arguments)
    {
        using Process process = System.Diagnostics.Process.Start(program, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
