using System.Diagnostics;
using Xunit;

namespace Hull.BootTests;

/// <summary>A fact that needs a mount name space of its own; skipped where there is none to be had.</summary>
public sealed class MountFactAttribute : FactAttribute
{
    public MountFactAttribute()
    {
        Skip = Reason();
    }

    internal static string? Reason()
    {
        using Process unshare = Process.Start(new ProcessStartInfo("unshare", ["-m", "true"]) { RedirectStandardError = true })!;
        unshare.WaitForExit();
        return unshare.ExitCode == 0 ? null : "unshare -m is not allowed here: run as root";
    }
}

/// <summary>The same for a fact with several cases.</summary>
public sealed class MountTheoryAttribute : TheoryAttribute
{
    public MountTheoryAttribute()
    {
        Skip = MountFactAttribute.Reason();
    }
}
