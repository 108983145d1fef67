using System;
using System.IO;
using System.Linq;
using Xunit;

namespace Hull.BootTests;

/// <summary>`hull doctor` through the published command, which is compiled for any x86-64 and must ask the host.</summary>
public sealed class DoctorTests
{
    [Fact]
    public void Features_AreTheHosts()
    {
        string[] host = File.ReadLines("/proc/cpuinfo").First(line => line.StartsWith("flags", StringComparison.Ordinal)).Split(' ');
        string line = HullRun.Hull("doctor").Text.Split('\n').First(text => text.Contains("cpu features", StringComparison.Ordinal));
        string[] found = line.Split("(not:")[0].Split(' ');

        foreach (string feature in (string[])["aes", "avx", "avx2", "fma", "bmi1", "bmi2", "avx512f"])
        {
            Assert.True(host.Contains(feature) == found.Contains(feature), $"{feature}: {line}");
        }
    }

    [MountFact]
    public void KvmThatMakesNoMachine_IsExplained()
    {
        // A /dev of its own, where /dev/kvm is a plain file.
        string folder = Directory.CreateTempSubdirectory("hull-test-").FullName;
        string script = $"mount -t tmpfs tmpfs {folder} && cp -a /dev/null /dev/zero /dev/random /dev/urandom {folder} "
            + $"&& : >{folder}/kvm && mount --bind {folder} /dev && exec {Checkout.Hull} doctor";
        RunResult result = HullRun.StartProgram("unshare", "-m", "bash", "-c", script).WaitForEnd();
        Directory.Delete(folder);

        Assert.Contains(
            "there, but makes no virtual machine (KVM_GET_API_VERSION failed: Inappropriate ioctl for device)",
            result.Text, StringComparison.Ordinal);
    }
}
