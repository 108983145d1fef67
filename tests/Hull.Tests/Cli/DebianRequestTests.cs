using System;
using System.IO;
using Hull.Cli.Debian;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Cli;

public sealed class DebianRequestTests
{
    private static readonly DebianRequest Good = new() { File = Path.Combine(Path.GetTempPath(), "disk.qcow2") };

    [Theory]
    [InlineData("")]
    [InlineData("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me@here\n# a remark\n\n")]
    [InlineData("from=\"10.0.0.1\" ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY= me\n")]
    public void PublicKeys_AreTaken(string keys) => (Good with { Keys = keys }).Validate();

    [Theory]
    [InlineData("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE=\n-----END OPENSSH PRIVATE KEY-----\n")]
    [InlineData("root:x:0:0:root:/root:/bin/bash\n")]
    [InlineData("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me\nsomething else\n")]
    public void FileThatHasNoPublicKeys_IsNotCopiedIntoTheGuest(string keys) =>
        Assert.Contains("--ssh-key", Assert.Throws<HullException>((Good with { Keys = keys }).Validate).Message, StringComparison.Ordinal);

    [Fact]
    public void FolderThatIsNotThere_IsSaidAtOnce() => Assert.Contains(
        "/nowhere", Assert.Throws<HullException>((Good with { File = "/nowhere/disk.qcow2" }).Validate).Message, StringComparison.Ordinal);

    [Fact]
    public void OddWishes_AreClearErrors()
    {
        Assert.Throws<HullException>((Good with { Size = 1 << 30 }).Validate);
        Assert.Throws<HullException>((Good with { Suite = "a b" }).Validate);
        Assert.Throws<HullException>((Good with { Include = ["a;b"] }).Validate);
        Assert.Throws<HullException>((Good with { HostName = "-x" }).Validate);
    }
}
