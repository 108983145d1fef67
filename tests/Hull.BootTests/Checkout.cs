using System;
using System.IO;
using System.Linq;
using Xunit;

namespace Hull.BootTests;

/// <summary>The checkout that the tests belong to, and the guests that ./check has fetched into it.</summary>
internal static class Checkout
{
    internal static string Root { get; } = FindRoot();

    internal static string Hull => Path.Combine(Root, "hull");

    private static string Guests =>
        Environment.GetEnvironmentVariable("HULL_TEST_GUESTS") ?? Path.Combine(Root, "artifacts", "guests");

    /// <summary>Debian's kernel for all machines; null when it is not there.</summary>
    internal static string? GenericKernel => Newest(Path.Combine(Guests, "generic", "boot"), "vmlinuz-*");

    /// <summary>The unpacked package of that kernel, with its modules; null when it is not there.</summary>
    internal static string? GenericKernelPackage => GenericKernel is null ? null : Path.Combine(Guests, "generic");

    /// <summary>The text installer's kernel.</summary>
    internal static string? InstallerKernel => Newest(Installer, "linux");

    /// <summary>The text installer's RAM disk.</summary>
    internal static string? InstallerInitrd => Newest(Installer, "initrd.gz");

    /// <summary>The Debian disk that ./check has built; null when it is not there. Its root takes <see cref="DebianKey"/>.</summary>
    internal static string? DebianDisk => Newest(Path.Combine(Guests, "debian-disk"), "*.qcow2");

    /// <summary>The private key for the disk's root.</summary>
    internal static string DebianKey => Path.Combine(Guests, "debian-disk", "key");

    /// <summary>A folder with Debian's packages for a compiler, and their index; null when it is not there.</summary>
    internal static string? DebianRepository =>
        Newest(Path.Combine(Guests, "repository"), "Packages") is null ? null : Path.Combine(Guests, "repository");

    /// <summary>Debian's cloud kernel in the user's store, where the first run puts it; its modules are in `modules` beside it.</summary>
    internal static string CloudKernel()
    {
        RunResult first = HullRun.Hull("run", "--", "true");
        Assert.True(first.Status == 0, first.ToString());
        string data = Environment.GetEnvironmentVariable("XDG_DATA_HOME")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".local/share");
        return Directory.GetDirectories(Path.Combine(data, "hull/kernels"), "*cloud*")
            .Select(folder => Path.Combine(folder, "vmlinuz"))
            .First(File.Exists);
    }

    /// <summary>
    /// A folder with two repositories, old and new, and a list of what is in both (name, old version, new one; of the kernel the new one
    /// only); null when it is not there.
    /// </summary>
    internal static string? DebianUpgrade =>
        Newest(Path.Combine(Guests, "upgrade"), "list") is null ? null : Path.Combine(Guests, "upgrade");

    private static string Installer => Path.Combine(
        Guests,
        "debian-installer-12-netboot-amd64/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64");

    private static string? Newest(string folder, string pattern) => Directory.Exists(folder)
        ? Directory.GetFiles(folder, pattern).Order(StringComparer.Ordinal).LastOrDefault()
        : null;

    private static string FindRoot()
    {
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (File.Exists(Path.Combine(at.FullName, "Hull.slnx")))
            {
                return at.FullName;
            }
        }

        throw new InvalidOperationException("no Hull.slnx above the test binary");
    }
}
