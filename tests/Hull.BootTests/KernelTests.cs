using System;
using System.Text.RegularExpressions;
using Xunit;

namespace Hull.BootTests;

public sealed partial class KernelTests
{
    [GuestFact(TestGuest.GenericKernel)]
    public void GenericKernel_RunsACommand()
    {
        RunResult result = HullRun.Hull("run", Checkout.GenericKernel!, "--", "uname", "-r"); // there, or skipped

        Assert.True(result.Status == 0, result.ToString());
        Assert.Matches("^[0-9.-]+-amd64\n$", result.Text);
    }

    [GuestFact(TestGuest.Installer)]
    public void Installer_ReachesItsFirstMenu()
    {
        using HullRun run = HullRun.StartOnTerminal(
            $"run {Checkout.InstallerKernel} --initrd {Checkout.InstallerInitrd} -m 1G");

        run.WaitFor("Select a language");
        run.Type("\x01x");

        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Theory]
    [InlineData("s2idle", "")]
    [InlineData("deep", "ACPI: PM: Waking up from system sleep state S3\n")]
    public void Suspend_EndsAtTheClocksAlarm(string way, string said)
    {
        RunResult result = HullRun.Hull("run", "--engine", "soft", "-c", "2", "--timeout", "120", "--", "sh", "-c",
            $"echo {way} >/sys/power/mem_sleep && echo +3 >/sys/class/rtc/rtc0/wakealarm && echo mem >/sys/power/state && " +
            "dmesg | sed -n 's/^.*] //; /Waking up/p; /PM: suspend exit/p'; nproc");

        Assert.True(result.Status == 0 && result.Text == said + "PM: suspend exit\n2\n", result.ToString());
    }

    [Fact]
    public void KernelWithoutARoot_PanicsAndSaysSo()
    {
        RunResult result = HullRun.Hull("run", "--initrd", "none");

        Assert.True(result.Status == 7, result.ToString());
        Assert.Contains("Unable to mount root fs", result.Error, StringComparison.Ordinal);
        Assert.Matches(PanicLine(), result.Error);
    }

    [GeneratedRegex(@"(?m)^hull: the guest's kernel panicked \(.*\) \(rip 0x[0-9a-f]+\); its last lines:$")]
    private static partial Regex PanicLine();
}
