using System;
using System.IO;
using Hull.Cli.Xen;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Cli;

public sealed class ElfDynamicTests
{
    [Fact]
    public void HostsShell_NeedsTheCLibrary()
    {
        byte[] shell = File.ReadAllBytes("/bin/sh");

        Assert.Contains("libc.so.6", ElfDynamic.ReadNeeded("/bin/sh", shell));
    }

    [Fact]
    public void Script_NeedsNothing() => Assert.Empty(ElfDynamic.ReadNeeded("script", "#!/bin/sh\n"u8));

    [Fact]
    public void DamagedPrograms_AreHullExceptionsOrAnswers()
    {
        byte[] shell = File.ReadAllBytes("/bin/sh");
        Random random = new(5);
        int refused = 0;
        for (int i = 0; i < 2000; i++)
        {
            byte[] damaged = shell.AsSpan(0, random.Next(4, 4096)).ToArray();
            for (int j = 0; j < 8; j++)
            {
                damaged[random.Next(4, damaged.Length)] = (byte)random.Next(256);
            }

            try
            {
                ElfDynamic.ReadNeeded("damaged", damaged);
            }
            catch (HullException)
            {
                refused++;
            }
        }

        Assert.InRange(refused, 1, 2000);
    }

    [Theory]
    [InlineData("libyajl.so.2", "libyajl2")]
    [InlineData("libxentoollog.so.1", "libxentoollog1")]
    [InlineData("libnl-3.so.200", "libnl-3-200")]
    [InlineData("libgcc_s.so.1", "libgcc-s1")]
    public void Library_IsInThePackageOfItsName(string library, string package) =>
        Assert.Equal(package, Toolstack.PackageOf(library));
}
