using System;
using System.Security.Cryptography;
using Xunit;

namespace Hull.BootTests;

public sealed class CommandTests
{
    [Theory]
    [InlineData("true", 0)]
    [InlineData("false", 1)]
    [InlineData("nosuchcommand", 127)]
    [InlineData("/etc/fstab.none", 127)]
    [InlineData("/proc/version", 126)]
    public void CommandsStatus_IsHullsStatus(string command, int status)
    {
        RunResult result = HullRun.Hull("run", "--", command);

        Assert.True(result.Status == status, result.ToString());
    }

    [Fact]
    public void ExitCode_GoesThrough_AndNothingElseIsPrinted()
    {
        RunResult result = HullRun.Hull("run", "--", "sh", "-c", "exit 42");

        Assert.True(result is { Status: 42, Text: "", Error: "" }, result.ToString());
    }

    [Fact]
    public void DeathBySignal_Is128PlusItsNumber()
    {
        RunResult result = HullRun.Hull("run", "--", "sh", "-c", "kill -9 $$");

        Assert.True(result.Status == 137, result.ToString());
    }

    [Fact]
    public void OutputAndError_StayApart()
    {
        RunResult result = HullRun.Hull("run", "--", "sh", "-c", "echo to stdout; echo to stderr >&2");

        Assert.True(result is { Status: 0, Text: "to stdout\n", Error: "to stderr\n" }, result.ToString());
    }

    [Fact]
    public void KernelMessages_DoNotMixIn()
    {
        RunResult result = HullRun.Hull("run", "--", "sh", "-c", "echo '<0>noise' >/dev/kmsg; echo mine");

        Assert.True(result is { Status: 0, Text: "mine\n" }, result.ToString());
    }

    [Fact]
    public void Words_ReachTheCommandUnchanged()
    {
        string[] words = ["a b", "it's", "", "$HOME", "`x`", "\"q\"", "*", "back\\slash", "new\nline", "ü"];

        RunResult result = HullRun.Hull(["run", "--", "printf", "[%s]", .. words]);

        Assert.Equal("[" + string.Join("][", words) + "]", result.Text);
    }

    [Fact]
    public void OneMebibyteOfInput_ArrivesUnchanged_AndComesBack()
    {
        byte[] input = new byte[1 << 20];
        new Random(1).NextBytes(input);

        RunResult sum = HullRun.HullReading(input, "run", "--", "sha256sum");
        RunResult echo = HullRun.HullReading(input, "run", "--", "cat");

        Assert.StartsWith(Convert.ToHexStringLower(SHA256.HashData(input)), sum.Text, StringComparison.Ordinal);
        Assert.True(echo.Output.AsSpan().SequenceEqual(input), $"{echo.Output.Length} bytes came back");
    }

    [Fact]
    public void EmptyInput_IsAnEnd()
    {
        RunResult result = HullRun.Hull("run", "--", "wc", "-c");

        Assert.True(result.Status == 0 && result.Text.Trim() == "0", result.ToString());
    }

    [Fact]
    public void CommandThatDoesNotRead_EndsWithoutItsInput()
    {
        RunResult result = HullRun.HullReading(new byte[1 << 20], "run", "--", "true");

        Assert.True(result.Status == 0, result.ToString());
    }

    [Fact]
    public void LotsOfOutput_ArrivesWhole()
    {
        RunResult result = HullRun.Hull("run", "--", "sh", "-c", "seq 1 100000");

        Assert.True(result.Text.EndsWith("\n99999\n100000\n", StringComparison.Ordinal), result.Error);
        Assert.Equal(588_895, result.Output.Length);
    }

    [Fact]
    public void ProcessLeftBehind_DoesNotHoldTheEnd()
    {
        RunResult result = HullRun.Hull("run", "--", "sh", "-c", "sleep 1000 & echo done");

        Assert.True(result is { Status: 0, Text: "done\n" }, result.ToString());
    }

    [Fact]
    public void TimeLimit_Gives124()
    {
        RunResult result = HullRun.Hull("run", "--timeout", "6", "--", "sleep", "1000");

        Assert.True(result.Status == 124, result.ToString());
        Assert.Equal("hull: the time limit of 6 s is over\n", result.Error);
    }

    [Fact]
    public void OutputBeforeTheTimeLimit_IsKept()
    {
        RunResult result = HullRun.Hull("run", "--timeout", "20", "--", "sh", "-c", "echo early; sleep 1000");

        Assert.True(result is { Status: 124, Text: "early\n" }, result.ToString());
    }

    [Fact]
    public void GuestIsALinuxRoot_WithItsFileSystems()
    {
        RunResult result = HullRun.Hull(
            "run", "-m", "256M", "--name", "tub", "--", "sh", "-c", "id -u; hostname; ls /proc/self/stat /sys/kernel; tty");

        Assert.StartsWith("0\ntub\n", result.Text, StringComparison.Ordinal);
        Assert.Contains("/proc/self/stat", result.Text, StringComparison.Ordinal);
        Assert.EndsWith("not a tty\n", result.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void AppendedWords_AreOnTheKernelsCommandLine()
    {
        RunResult result = HullRun.Hull("run", "--append", "hull.test=7 loglevel=1", "--", "cat", "/proc/cmdline");

        Assert.Contains("hull.test=7 loglevel=1", result.Text, StringComparison.Ordinal);
    }
}
