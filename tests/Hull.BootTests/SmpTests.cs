using System;
using System.Diagnostics;
using System.Globalization;
using System.Threading;
using Xunit;

namespace Hull.BootTests;

/// <summary>Debian's kernels with several vCPUs, more than the host has cores.</summary>
public sealed class SmpTests
{
    // What a kernel says when processors do not come up, stand still, or disagree about the time.
    private const string Complaints =
        "soft lockup|hard LOCKUP|rcu.*stall|unsynchronized|Marking TSC unstable|Call Trace|failed to (boot|respond)|hung task|BUG:";

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(16)]
    public void CloudKernel_BringsUpAllProcessors_WithoutComplaint(int vcpus) => BootAndLook(vcpus);

    [GuestFact(TestGuest.GenericKernel)]
    public void GenericKernel_BringsUpFourProcessors_WithoutComplaint() => BootAndLook(4, Checkout.GenericKernel!);

    [GuestFact(TestGuest.GenericKernel)]
    public void WithoutAcpi_ProcessorsAndInterruptsAreInTheMpTable()
    {
        const string script = "nproc; grep -c IO-APIC.*edge /proc/interrupts; grep -c IO-APIC.*virtio /proc/interrupts";
        RunResult result = HullRun.Hull(
            "run", Checkout.GenericKernel!, "-c", "3", "--net", "user", "--append", "acpi=off pci=nomsi", "--", "sh", "-c", script);
        Assert.True(result.Status == 0, result.ToString());
        string[] lines = result.Text.Split('\n');
        Assert.Equal("3", lines[0]);
        Assert.NotEqual("0", lines[1]);
        Assert.Equal("1", lines[2]); // the card, by its pin
    }

    [Fact]
    public void ProcessesOnAllProcessors_CountExactly()
    {
        // Pipes, forks and a lock file: wake-ups, shootdowns and copied pages between processors.
        const string script = """
            for i in 1 2 3 4; do (for j in $(seq 1 50); do echo $i $j | cat; done) & done | sort | uniq | wc -l
            wait
            """;
        RunResult result = HullRun.Hull("run", "-c", "4", "--", "sh", "-c", script);
        Assert.Equal("200", result.Text.Trim());
        Assert.Equal(0, result.Status);
    }

    /// <summary>Halted processors wait; they do not look again and again whether something has come.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(16)]
    public void IdleGuest_UsesUnderTwoPercentOfACore(int vcpus)
    {
        using HullRun run = HullRun.Start(
            "run", "-c", vcpus.ToString(CultureInfo.InvariantCulture), "--", "sh", "-c", "sleep 2; echo quiet; sleep 8; echo over");

        run.WaitFor("quiet");
        TimeSpan before = run.ProcessorTime;
        long start = Stopwatch.GetTimestamp();
        Thread.Sleep(6_000);
        double used = (run.ProcessorTime - before) / Stopwatch.GetElapsedTime(start);
        run.WaitFor("over");

        Assert.True(used < 0.02, $"{used:P1} of a core");
        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Fact]
    public void Reboot_StartsAllProcessorsAgain()
    {
        const string prompt = "/root # ";
        using HullRun run = HullRun.StartOnTerminal("run -c 4");

        run.WaitFor(prompt);
        run.Type("touch /tmp/first-life; reboot\r");
        run.WaitFor("BusyBox");
        run.WaitFor(prompt);
        run.Type("ls /tmp/first-life; echo cpus-$(nproc)\r");
        run.WaitFor("No such file");
        run.WaitFor("\ncpus-4\r");
        run.Type("poweroff\r");

        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Fact]
    public void Panic_OfOneProcessorOfFour_IsReported()
    {
        RunResult result = HullRun.Hull("run", "-c", "4", "--", "sh", "-c", "echo c >/proc/sysrq-trigger");

        Assert.True(result.Status == 125, result.ToString());
        Assert.Contains("kernel panicked (sysrq triggered crash)", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Sigterm_EndsABusyMachineOfFour()
    {
        using HullRun run = HullRun.Start(
            "run", "-c", "4", "--", "sh", "-c", "for i in 1 2 3 4; do (while :; do :; done) & done; echo busy; wait");

        run.WaitFor("busy");
        run.Signal("TERM");

        Assert.Equal(128 + 15, run.WaitForEnd().Status);
    }

    [Theory]
    [InlineData("0")]
    [InlineData("65")]
    public void ImpossibleNumberOfProcessors_IsRefused(string vcpus)
    {
        RunResult result = HullRun.Hull("run", "-c", vcpus, "--", "true");

        Assert.Equal(125, result.Status);
        Assert.Contains("1 to 64", result.Error, StringComparison.Ordinal);
    }

    private static void BootAndLook(int vcpus, params string[] kernel)
    {
        string[] arguments =
        [
            "run", .. kernel, "-c", $"{vcpus}", "--", "sh", "-c", $"nproc; dmesg | grep -iE '{Complaints}'; true",
        ];
        RunResult result = HullRun.Hull(arguments);
        Assert.Equal($"{vcpus}", result.Text.Trim());
        Assert.Equal(0, result.Status);
    }
}
