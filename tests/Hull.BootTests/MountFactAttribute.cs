using System.Diagnostics;
using Xunit;

namespace Hull.BootTests;

/// <summary>A fact that needs a mount name space of its own; skipped where there is none to be had.</summary>
public sealed class MountFactAttribute : FactAttribute
{
    public MountFactAttribute()
    {
        using Process unshare = Process.Start(new ProcessStartInfo("unshare", ["-m", "true"]) { RedirectStandardError = true })!;
        unshare.WaitForExit();
        if (unshare.ExitCode != 0)
        {
            Skip = "unshare -m is not allowed here: run as root";
        }
    }
}
