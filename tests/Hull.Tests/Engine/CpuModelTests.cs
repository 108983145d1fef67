using System.Linq;
using Hull.Engine;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Engine;

/// <summary>`--cpu`: what a list of wishes gives, and how it is refused.</summary>
public sealed class CpuModelTests
{
    private static CpuFeatureSet Everything => new((1UL << CpuFeatures.All.Length) - 1);

    [Fact]
    public void Rows_StandInTheOrderOfTheFeatures() =>
        Assert.All(CpuFeatures.All.Select((row, index) => (row, index)), row => Assert.Equal(row.index, (int)row.row.Feature));

    [Theory]
    [InlineData("host-safe", "avx2 aes rdrand pcid nx", "")]
    [InlineData("x86-64-v1", "pcid nx smap fsgsbase x2apic", "pni ssse3 popcnt cx16 lahf_lm avx xsave aes rdrand bmi1 sha_ni")]
    [InlineData("v2", "pni ssse3 sse4_1 sse4_2 popcnt cx16 lahf_lm", "avx xsave movbe abm aes rdrand")]
    [InlineData("x86-64-v3", "avx avx2 bmi1 bmi2 fma f16c movbe abm xsave", "aes sha_ni rdrand adx xsaveopt clwb")]
    [InlineData("v3,-avx2,+sha", "avx fma sha_ni", "avx2")]
    [InlineData("v2,+avx2", "avx2 avx xsave", "fma f16c bmi1")]
    [InlineData("-xsave", "aes bmi2", "avx avx2 fma f16c xsaveopt xsavec xsaves xgetbv1")]
    [InlineData("+sse2,-rdrand", "rdseed", "rdrand")]
    public void Model_HasItsFeatures(string text, string present, string absent)
    {
        CpuFeatureSet set = CpuModel.Parse(text).Resolve(Everything);
        Assert.All(present.Split(' '), name => Assert.True(set.Has(CpuFeatures.Find(name)!.Feature), name));
        Assert.All(
            absent.Split(' ', System.StringSplitOptions.RemoveEmptyEntries),
            name => Assert.False(set.Has(CpuFeatures.Find(name)!.Feature), name));
    }

    [Theory]
    [InlineData("v4", "'v4'")]
    [InlineData("", "''")]
    [InlineData("v2,popcnt", "'popcnt'")]
    [InlineData("v2,+", "'+'")]
    [InlineData("+avx512f", "'avx512f'")]
    [InlineData("-sse2", "sse2")]
    [InlineData("-avx,+avx2", "-avx contradicts")]
    [InlineData("+avx2,-avx", "+avx2 contradicts")]
    public void WhatMeansNothing_IsNamed(string text, string named)
    {
        HullException e = Assert.Throws<HullException>(() => CpuModel.Parse(text).Resolve(Everything));
        Assert.Contains(named, e.Message, System.StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
    }

    [Theory]
    [InlineData("+sha_ni", "no sha_ni")]
    [InlineData("v3", "no bmi2")]
    [InlineData("v3,+sha_ni,-bmi2", "no sha_ni")]
    public void WhatTheHostHasNot_IsNamed(string text, string named)
    {
        CpuFeatureSet host = Everything.Without(CpuFeature.Sha).Without(CpuFeature.Bmi2);
        HullException e = Assert.Throws<HullException>(() => CpuModel.Parse(text).Resolve(host));
        Assert.Contains(named, e.Message, System.StringComparison.Ordinal);
        Assert.False(CpuModel.Parse("v3,-bmi2").Resolve(host).Has(CpuFeature.Bmi2));
        Assert.False(CpuModel.HostSafe.Resolve(host).Has(CpuFeature.Sha));
    }

    [Fact]
    public void AvxWithoutTheHostKernelsHelp_IsNotAvailable()
    {
        CpuFeatureSet set = CpuFeatures.Available(static (leaf, _) => leaf == 1
            ? new CpuidResult(0, 0, ~(1u << 27), uint.MaxValue)
            : new CpuidResult(uint.MaxValue, uint.MaxValue, uint.MaxValue, uint.MaxValue));
        Assert.False(set.Has(CpuFeature.Avx));
        Assert.False(set.Has(CpuFeature.Avx2));
        Assert.True(set.Has(CpuFeature.Bmi2));
    }

    [Fact]
    public void WithoutXsave_TheStateLeafIsEmpty()
    {
        CpuidPolicy policy = CpuidPolicy.For(CpuModel.Parse("-xsave"), 2_000_000_000, 1_000_000_000, 1);
        Assert.Equal(default, policy.Query(0xD, 0));
        Assert.Equal(default, policy.Query(0xD, 1));
        Assert.Equal(1UL, policy.SupportedXcr0);
        Assert.Equal(0UL, policy.SupportedCr4 & (1 << 18));
    }
}
