using Hull.Engine;
using Xunit;

namespace Hull.Tests.Engine;

/// <summary>What a guest is told, over an invented host that has everything.</summary>
public sealed class CpuidPolicyTests
{
    private const uint Osxsave = 1u << 27;

    private static CpuModel WithoutAvx => CpuModel.Parse("-avx,-bmi1,-bmi2");

    [Fact]
    public void HiddenFeatures_StayHidden()
    {
        CpuidPolicy policy = Make("GenuineIntel", CpuModel.HostSafe);
        CpuidResult one = policy.Query(1, 0);
        Assert.Equal(0u, one.Ecx & ((1u << 3) | (1u << 5) | (1u << 6))); // MONITOR, VMX, SMX
        CpuidResult seven = policy.Query(7, 0);
        Assert.Equal(0u, seven.Ebx & ((1u << 4) | (1u << 11) | (1u << 14) | (1u << 16) | (1u << 31)));
        Assert.Equal(0u, seven.Ecx & ((1u << 3) | (1u << 7) | (1u << 16)));
        Assert.Equal(0u, seven.Edx & ((1u << 20) | (1u << 24)));
    }

    [Fact]
    public void Avx_IsAskedFor()
    {
        CpuidPolicy without = Make("GenuineIntel", WithoutAvx);
        Assert.Equal(0u, without.Query(1, 0).Ecx & ((1u << 12) | (1u << 28) | (1u << 29)));
        Assert.Equal(0u, without.Query(7, 0).Ebx & ((1u << 3) | (1u << 5) | (1u << 8)));
        Assert.Equal(3u, without.SupportedXcr0);
        CpuidPolicy with = Make("GenuineIntel", CpuModel.HostSafe);
        Assert.NotEqual(0u, with.Query(1, 0).Ecx & (1u << 28));
        Assert.NotEqual(0u, with.Query(7, 0).Ebx & (1u << 5));
        Assert.Equal(7u, with.SupportedXcr0);
        Assert.Equal(832u, with.Query(0xD, 0).Ecx);
    }

    [Fact]
    public void DynamicBits_FollowTheContext()
    {
        CpuidPolicy policy = Make("GenuineIntel", CpuModel.HostSafe);
        CpuidContext context = new() { ApicId = 5, Osxsave = true, Xcr0 = 7, ApicEnabled = false };
        Assert.Equal(Osxsave, policy.Query(1, 0, context).Ecx & Osxsave);
        Assert.Equal(5u, policy.Query(1, 0, context).Ebx >> 24);
        Assert.Equal(0u, policy.Query(1, 0, context).Edx & (1u << 9));
        Assert.Equal(0u, policy.Query(1, 0).Ecx & Osxsave);
        Assert.Equal(832u, policy.Query(0xD, 0, context).Ebx);
        Assert.Equal(576u, policy.Query(0xD, 0, context with { Xcr0 = 3 }).Ebx);
        Assert.Equal(5u, policy.Query(0xB, 0, context).Edx);
        Assert.Equal(5u, policy.Query(0xB, 7, context).Edx);
    }

    [Theory]
    [InlineData(2_600_000_000UL, 1_000_000_000UL)]
    [InlineData(2_299_998_000UL, 1_000_000_000UL)]
    [InlineData(3_793_254_321UL, 1_000_000_000UL)]
    [InlineData(2_100_000_000UL, 25_000_000UL)]
    public void CrystalLeaf_GivesTheFrequencyBack_InLinuxArithmetic(ulong tsc, ulong bus)
    {
        CpuidResult leaf = Make("GenuineIntel", WithoutAvx, tsc, bus).Query(0x15, 0);
        uint kilohertz = unchecked(leaf.Ecx / 1000 * leaf.Ebx / leaf.Eax);
        Assert.Equal(bus, leaf.Ecx);
        Assert.InRange(kilohertz, (tsc / 1000) - 2, (tsc / 1000) + 2);
    }

    [Fact]
    public void Topology_HasOneCorePerVcpu()
    {
        CpuidPolicy policy = Make("GenuineIntel", WithoutAvx, vcpus: 6);
        Assert.Equal(3u, policy.Query(0xB, 1).Eax);
        Assert.Equal(6u, policy.Query(0xB, 1).Ebx);
        Assert.Equal(6u, (policy.Query(1, 0).Ebx >> 16) & 0xFF);
        Assert.NotEqual(0u, policy.Query(1, 0).Edx & (1u << 28));
    }

    [Fact]
    public void Intel_NeedsNoMitigation()
    {
        CpuidPolicy policy = Make("GenuineIntel", WithoutAvx);
        Assert.NotEqual(0u, policy.Query(7, 0).Edx & (1u << 29));
        Assert.Equal(0x4000_0000_0D10_E17BUL, CpuidPolicy.ArchCapabilities);
    }

    [Fact]
    public void Amd_HasItsOwnLeaves()
    {
        CpuidPolicy policy = Make("AuthenticAMD", WithoutAvx);
        Assert.False(policy.IsIntel);
        Assert.Equal(0u, policy.Query(7, 0).Edx & (1u << 29));
        Assert.NotEqual(0u, policy.Query(0x8000_0008, 0).Ebx & (1u << 26));
        Assert.NotEqual(0u, policy.Query(0x8000_0021, 0).Eax & (1u << 2));
        Assert.Equal(default, policy.Query(4, 0));
    }

    [Fact]
    public void UnknownLeaves_AreZero()
    {
        CpuidPolicy policy = Make("GenuineIntel", CpuModel.HostSafe);
        Assert.Equal(default, policy.Query(0x4000_0000, 0));
        Assert.Equal(default, policy.Query(0x8FFF_FFFF, 0));
        Assert.Equal(default, policy.Query(0x14, 0));
    }

    [Fact]
    public void AddressSizes_AreAtMost46And48()
    {
        CpuidPolicy policy = Make("GenuineIntel", CpuModel.HostSafe);
        Assert.Equal(46, policy.PhysicalBits);
        Assert.Equal(0x302Eu, policy.Query(0x8000_0008, 0).Eax);
    }

    /// <summary>A policy over an invented host of a vendor.</summary>
    internal static CpuidPolicy Make(
        string vendor, CpuModel model, ulong tsc = 2_000_000_000, ulong bus = 1_000_000_000, int vcpus = 1) =>
        CpuidPolicy.Over((leaf, subleaf) => Host(vendor, leaf, subleaf), tsc, bus, vcpus, model);

    private static CpuidResult Host(string vendor, uint leaf, uint subleaf) => leaf switch
    {
        0 when vendor == "GenuineIntel" => new(0x20, 0x756E_6547, 0x6C65_746E, 0x4965_6E69),
        0 => new(0x10, 0x6874_7541, 0x444D_4163, 0x6974_6E65),
        1 => new(0x806F8, uint.MaxValue, uint.MaxValue, uint.MaxValue),
        4 when subleaf > 3 => default,
        4 => new(0x121, 0, 0, 0),
        0x8000_0000 => new(0x8000_0028, 0, 0, 0),
        0x8000_0008 => new(0x3934, uint.MaxValue, uint.MaxValue, 0),
        _ => new(uint.MaxValue, uint.MaxValue, uint.MaxValue, uint.MaxValue),
    };
}
