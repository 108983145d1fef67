using System;
using Xunit;

namespace Hull.BootTests;

public sealed class GuestDeathTests
{
    private const string Crash = "echo c >/proc/sysrq-trigger";

    [Theory]
    [InlineData("")]
    [InlineData("panic=0")]
    [InlineData("panic=30")]
    [InlineData("", "--xen")] // SHUTDOWN_crash
    public void Panic_IsReported_WhateverTheKernelDoesAfterIt(string append, params string[] options)
    {
        RunResult result = HullRun.Hull(["run", .. options, "--append", append, "--", "sh", "-c", Crash]);

        Assert.True(result.Status == 125, result.ToString());
        Assert.StartsWith(
            "hull: the guest's kernel panicked (sysrq triggered crash) before its command ended (rip 0x",
            result.Error,
            StringComparison.Ordinal);
        Assert.Contains("hull:   [", result.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at Hull.", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void PanicOnTheConsole_IsStatus7()
    {
        using HullRun run = HullRun.StartOnTerminal("run");

        run.WaitFor("/root # ");
        run.Type(Crash + "\r");

        Assert.Equal(7, run.WaitForEnd().Status);
    }

    [Fact]
    public void EndOfTheKernelsInit_IsAPanic()
    {
        RunResult result = HullRun.Hull("run", "--append", "rdinit=/bin/true");

        Assert.True(result.Status == 7, result.ToString());
        Assert.Contains("Attempted to kill init", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void RebootDuringACommand_IsNoSuccess()
    {
        RunResult result = HullRun.Hull("run", "--", "sh", "-c", "busybox reboot -f; sleep 100");

        Assert.True(result.Status == 125, result.ToString());
        Assert.Equal("hull: the guest reset the machine before its command ended\n", result.Error);
    }

    [Fact]
    public void PowerOffDuringACommand_IsNoSuccess()
    {
        RunResult result = HullRun.Hull("run", "--", "sh", "-c", "busybox poweroff -f; sleep 100");

        Assert.True(result.Status == 125, result.ToString());
        Assert.Equal("hull: the guest switched the power off before its command ended\n", result.Error);
    }
}
