using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using Xunit;

namespace Hull.BootTests;

/// <summary>Programs in Debian's kernel whose memory accesses go through windows (docs/translator.md, "Windows").</summary>
public sealed class WindowTests
{
    // Processes that fork, write to pages they share, map and give memory back, and patch nothing; on all processors at once.
    private const string Work = """
        for i in 1 2 3 4; do
            (seq $i 7 60000 | sort -rn | awk '{ s = s * 31 % 1000003 + $1; a[$1 % 500] = a[$1 % 500] $1 } END { print s, length(a[7]) }') &
        done | sort
        wait
        seq 1 40000 | gzip -c | gunzip -c | md5sum
        i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; echo $i
        """;

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Always_ComputesAsNever(int vcpus)
    {
        RunResult with = Run("always", vcpus, Work);
        RunResult without = Run("never", vcpus, Work);
        Assert.Equal(without.Text, with.Text);
        Assert.Equal(6, with.Text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.NotEqual(0, Counter(with, "window-faults"));
        Assert.Equal(0, Counter(without, "window-faults"));
    }

    [Fact]
    public void ProgramThatRunsLong_GetsThem_AndAShortOneDoesNot()
    {
        RunResult loop = Run("", 1, "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; echo $i");
        Assert.Equal("200000\n", loop.Text);
        Assert.NotEqual(0, Counter(loop, "windows-opened"));
        Assert.Equal(0, Counter(Run("", 1, "exit 0"), "windows-opened"));
    }

    private static RunResult Run(string use, int vcpus, string script)
    {
        using HullRun run = HullRun.StartIn(
            new Dictionary<string, string> { ["HULL_WINDOWS"] = use },
            "run",
            "--engine",
            "soft",
            "-c",
            vcpus.ToString(CultureInfo.InvariantCulture),
            "--stat",
            "--",
            "sh",
            "-c",
            script);
        RunResult result = run.Finish();
        Assert.True(result.Status == 0, result.ToString());
        return result;
    }

    private static long Counter(RunResult result, string name) =>
        long.Parse(
            result.Error.Split('\n').Single(line => line.StartsWith(name + " ", StringComparison.Ordinal)).Split(' ')[^1],
            CultureInfo.InvariantCulture);
}
