using Xunit;

namespace Hull.BootTests;

/// <summary>Guests that a test may need besides the cloud kernel of Hull's own store.</summary>
public enum TestGuest
{
    /// <summary>Debian's linux-image-amd64.</summary>
    GenericKernel,

    /// <summary>debian-installer-12-netboot-amd64.</summary>
    Installer,

    /// <summary>A disk that `hull image debian` built.</summary>
    DebianDisk,

    /// <summary>Such a disk, and a folder of packages that it can install.</summary>
    DebianRepository,

    /// <summary>Such a disk, and folders of packages in two versions.</summary>
    DebianUpgrade,
}

/// <summary>A fact about a guest; skipped, with the reason, where the guest has not been fetched.</summary>
public sealed class GuestFactAttribute : FactAttribute
{
    public GuestFactAttribute(TestGuest guest)
    {
        Guest = guest;
        string? path = guest switch
        {
            TestGuest.GenericKernel => Checkout.GenericKernel,
            TestGuest.Installer => Checkout.InstallerInitrd,
            TestGuest.DebianRepository => Checkout.DebianDisk is null ? null : Checkout.DebianRepository,
            TestGuest.DebianUpgrade => Checkout.DebianDisk is null ? null : Checkout.DebianUpgrade,
            _ => Checkout.DebianDisk,
        };
        if (path is null)
        {
            Skip = $"{guest} is not in artifacts/guests: run ./check boot with a network";
        }
    }

    public TestGuest Guest { get; }
}
