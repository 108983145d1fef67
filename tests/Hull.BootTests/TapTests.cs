using System.Diagnostics;
using System.IO;
using Xunit;

namespace Hull.BootTests;

/// <summary>Tap devices in a network namespace that the test makes, with the kernel's own bridge and busybox's DHCP server.</summary>
public sealed class TapTests
{
    [TapFact]
    public void TwoGuestsOnABridge_SendEachOtherAndTheHostWholeFiles_AlsoAfterATapIsMadeAnew()
    {
        string script = Path.Combine(Checkout.Root, "tests", "Hull.BootTests", "taps.sh");
        RunResult result = HullRun.StartScript($"exec unshare -rn bash {script} {Checkout.Hull}").WaitForEnd();

        Assert.True(result.Status == 0, result.ToString());
        Assert.Contains("guest to host", result.Text, System.StringComparison.Ordinal);
        Assert.Contains("back again", result.Text, System.StringComparison.Ordinal);
    }
}

/// <summary>A fact about taps; skipped where nobody may make one.</summary>
public sealed class TapFactAttribute : FactAttribute
{
    public TapFactAttribute()
    {
        using Process probe = Process.Start(new ProcessStartInfo("unshare", ["-rn", "ip", "tuntap", "add", "tap0", "mode", "tap"])
        {
            RedirectStandardError = true,
        })!;
        probe.WaitForExit();
        if (probe.ExitCode != 0)
        {
            Skip = "this host lets nobody make a tap in a namespace (user namespaces, /dev/net/tun)";
        }
    }
}
