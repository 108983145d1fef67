using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using Xunit;

namespace Hull.BootTests;

/// <summary>
/// Debian's kernel in virtual time: two runs are the same, and so are whole blocks and single steps. The whole boot is
/// compared by <c>./check steps</c>, which sets <c>HULL_STEPS_UNTIL</c> (nanoseconds of virtual time).
/// </summary>
public sealed class DeterministicTests
{
    private static readonly string[] Command =
        ["sh", "-c", "date; cat /proc/uptime; dd if=/dev/urandom bs=16 count=1 2>/dev/null | od -x; sleep 2; date"];

    [Fact]
    public void TwoRuns_AreTheSame()
    {
        (RunResult first, string[] points) = Run(long.MaxValue, 100_000_000);
        (RunResult second, string[] others) = Run(long.MaxValue, 100_000_000);

        Assert.True(first.Status == 0, first.ToString());
        Assert.Contains("2026", first.Text, StringComparison.Ordinal);
        Assert.Equal(first.Text, second.Text);
        Assert.Equal(points, others);
        Assert.Equal(Counter(first, "instructions"), Counter(second, "instructions"));
        Assert.Equal(Counter(first, "state-hash"), Counter(second, "state-hash"));
        Assert.True(points.Length > 20);
    }

    [Fact]
    public void WholeBlocks_AreTheSameAsSingleSteps()
    {
        string? wish = Environment.GetEnvironmentVariable("HULL_STEPS_UNTIL");
        long until = wish is null ? 150_000_000 : long.Parse(wish, CultureInfo.InvariantCulture);
        (_, string[] blocks) = Run(until, 10_000_000);
        (_, string[] steps) = Run(until, 10_000_000, "--block-limit", "1");
        (_, string[] short3) = Run(until, 10_000_000, "--block-limit", "3");

        Assert.True(blocks.Length >= 15);
        Assert.Equal(blocks, steps);
        Assert.Equal(blocks, short3);
    }

    private static (RunResult Result, string[] Points) Run(long until, long period, params string[] more)
    {
        string file = Path.GetTempFileName();
        try
        {
            string points = string.Create(CultureInfo.InvariantCulture, $"{file},every={period},until={until}");
            using HullRun run = HullRun.StartIn(
                new Dictionary<string, string> { ["HULL_STAT"] = "1" },
                ["run", "--deterministic", "--checkpoints", points, .. more, "--", .. Command]);
            RunResult result = run.Finish();
            return (result, File.ReadAllLines(file));
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static string Counter(RunResult result, string name) =>
        Array.Find(result.Error.Split('\n'), line => line.StartsWith(name + " ", StringComparison.Ordinal))
            ?? throw new InvalidOperationException($"no counter {name}: {result}");
}
