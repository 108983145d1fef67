using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Xunit;

namespace Hull.BootTests;

public sealed class BadInputTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-test-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("unknown option --bogus", "run", "--bogus")]
    [InlineData("there is no verb 'bogus'", "bogus")]
    [InlineData("-m '5x' is no size", "run", "-m", "5x")]
    [InlineData("give at least 16 MiB", "run", "-m", "1M")]
    [InlineData("--timeout 'soon'", "run", "--timeout", "soon")]
    [InlineData("--deterministic is the soft engine's", "run", "--engine", "kvm", "--deterministic")]
    [InlineData("--engine 'fast'", "run", "--engine", "fast")]
    [InlineData("no CPU feature 'avx512f'", "run", "--cpu", "v3,+avx512f")]
    [InlineData("--cpu 'v9'", "run", "--cpu", "v9")]
    [InlineData("every CPU that Hull shows has sse2", "run", "--cpu", "-sse2")]
    [InlineData("no command after --", "run", "--")]
    [InlineData("only 'hull run' and 'hull xen' take a command", "version", "--", "true")]
    [InlineData("Unrecognized command or argument 'two'", "run", "one", "two")]
    [InlineData("leave out --initrd", "run", "--initrd", "x", "--", "true")]
    [InlineData("/nowhere/bzImage", "run", "/nowhere/bzImage")]
    [InlineData("/etc/passwd is not a kernel", "run", "/etc/passwd")]
    [InlineData("/proc/version", "run", "/proc/version")]
    [InlineData("/tmp", "run", "/tmp")]
    [InlineData("/nowhere/initrd", "run", "--initrd", "/nowhere/initrd")]
    [InlineData("give it more", "run", "-m", "24M")]
    [InlineData("--share '' names no folder", "run", "--share", "", "--", "true")]
    [InlineData("--share ':x:ro' names no folder", "run", "--share", ":x:ro", "--", "true")]
    [InlineData("--root '' names no folder", "run", "--root", "", "--", "true")]
    [InlineData("a disk without a file", "run", "--disk", "", "--", "true")]
    [InlineData("'linux-driver' in", "run", "--disk", "a.img,linux-driver=x", "--", "true")]
    [InlineData("serial, queues, persistent-grants, id, mmio, packed", "run", "--disk", "a.img,what", "--", "true")]
    [InlineData("give the name of a tap device", "run", "--net", "tap=", "--", "true")]
    public void BadArguments_AreOneLineAnd125(string part, params string[] arguments) =>
        AssertRefused(HullRun.Hull(arguments), part);

    [Fact]
    public void EmptyKernel_IsRefused() => AssertRefused(HullRun.Hull("run", Write("empty", [])), "empty is empty");

    [Fact]
    public void TruncatedBzImage_IsRefused()
    {
        byte[] whole = File.ReadAllBytes(Checkout.CloudKernel());

        foreach (int length in (int[])[0x200, 0x1000, 0x8000, whole.Length / 2, whole.Length * 3 / 4])
        {
            AssertRefused(HullRun.Hull("run", Write($"cut-{length}", whole[..length])), $"cut-{length}");
        }
    }

    [Fact]
    public void ElfWithoutAPvhNote_IsRefused()
    {
        byte[] elf = File.ReadAllBytes("/bin/true");

        AssertRefused(HullRun.Hull("run", Write("program", elf)), "program");
    }

    [Fact]
    public void TruncatedInitramfs_IsTheKernelsPanic_OrRefused()
    {
        byte[] half = new byte[100_000];
        "070701"u8.CopyTo(half);

        RunResult result = HullRun.Hull("run", Checkout.CloudKernel(), "--initrd", Write("half.cpio", half));

        Assert.True(result.Status is 7 or 125, result.ToString());
        Assert.DoesNotContain("   at Hull.", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void NoPackageClientAndNoKernel_LeavesNothingInTheStore()
    {
        string bin = Directory.CreateDirectory(Path.Combine(_folder, "bin")).FullName;
        foreach (string tool in (string[])["bash", "find", "env"])
        {
            File.CreateSymbolicLink(Path.Combine(bin, tool), $"/usr/bin/{tool}");
        }

        Dictionary<string, string> environment = new()
        {
            ["PATH"] = bin,
            ["XDG_DATA_HOME"] = Path.Combine(_folder, "data"),
            ["XDG_CACHE_HOME"] = Path.Combine(_folder, "cache"),
        };

        using HullRun run = HullRun.StartIn(environment, "run", "--", "true");

        AssertRefused(run.Finish(), "no kernel in Hull's store");
        Assert.False(Directory.Exists(Path.Combine(_folder, "data"))
            && Directory.EnumerateFileSystemEntries(Path.Combine(_folder, "data"), "*", SearchOption.AllDirectories)
                .Any(File.Exists));
    }

    private static void AssertRefused(RunResult result, string part)
    {
        Assert.True(result.Status == 125, result.ToString());
        Assert.StartsWith("hull: ", result.Error, StringComparison.Ordinal);
        Assert.True(result.Error.Count(letter => letter == '\n') == 1, $"more than a line: {result.Error}");
        Assert.Contains(part, result.Error, StringComparison.Ordinal);
        Assert.Equal("", result.Text);
    }

    private string Write(string name, byte[] content)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllBytes(path, content);
        return path;
    }
}
