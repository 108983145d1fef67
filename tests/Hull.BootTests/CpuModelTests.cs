using Xunit;

namespace Hull.BootTests;

/// <summary>`--cpu` in a whole guest: Linux boots on each level and sees what was asked for.</summary>
public sealed class CpuModelTests
{
    [Theory]
    [InlineData("x86-64-v1", "ssse3 popcnt avx xsave aes", "sse2 nx smap")]
    [InlineData("v2,+aes", "avx rdrand", "sse4_2 popcnt aes")]
    [InlineData("-avx,-x2apic", "avx avx2 fma x2apic", "xsave")]
    public void Guest_SeesTheModel(string model, string absent, string present)
    {
        RunResult result = HullRun.Hull("run", "--cpu", model, "--", "grep", "-m1", "flags", "/proc/cpuinfo");

        Assert.True(result.Status == 0, result.ToString());
        string flags = result.Text.TrimEnd() + " ";
        Assert.All(absent.Split(' '), name => Assert.DoesNotContain($" {name} ", flags));
        Assert.All(present.Split(' '), name => Assert.Contains($" {name} ", flags));
    }
}
