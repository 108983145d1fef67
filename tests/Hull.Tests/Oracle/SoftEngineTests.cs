using System;
using System.Globalization;
using System.IO;
using Hull.Cpu.Mmu;
using Xunit;
using Xunit.Abstractions;

namespace Hull.Tests.Oracle;

/// <summary>
/// The soft engine against the host CPU. A new seed each time, printed; a failing one becomes an InlineData row. Longer:
/// <c>HULL_ORACLE_COUNT</c> (comparisons of the long test), or tests/Hull.Oracle.
/// </summary>
[Collection("NativeOracle")]
[Trait("Category", "Oracle")]
public sealed class SoftEngineTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void EveryForm_EqualsTheHost(bool mode32) =>
        RunForms(new CampaignOptions { Seed = NewSeed(), Count = 100_000, Mode32 = mode32 });

    // Limits, expand-down, read-only and null segments, in compatibility mode.
    [Fact]
    public void SegmentsThatAreNotFlat_EqualTheHost() =>
        RunForms(new CampaignOptions { Seed = NewSeed(), Count = 100_000, Mode32 = true, SegmentsPerThousand = 1000 });

    // LAR, LSL, VERR, VERW, loads of all segment registers, far branches, with descriptors of an LDT.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void DescriptorsOfAnLdt_EqualTheHost(bool mode32) =>
        RunForms(new CampaignOptions { Seed = NewSeed(), Count = 100_000, Mode32 = mode32, Sets = FormSets.Segments });

    [Fact]
    public void Faults_EqualTheHost() =>
        RunForms(new CampaignOptions { Seed = NewSeed(), Count = 20_000, StatesPerEncoding = 4, FaultsPerThousand = 400 });

    [Theory]
    [InlineData(8)]
    [InlineData(300)]
    public void ThroughWindows_EqualsTheHost(int faults)
    {
        using SoftRunner soft = new(SoftMode.Linked, WindowUse.Always);
        RunForms(new CampaignOptions { Seed = NewSeed(), Count = 100_000, FaultsPerThousand = faults }, soft);
        Assert.NotEqual(0UL, soft.WindowFaults);
    }

    [Theory]
    [InlineData((int)SoftMode.Single, false)]
    [InlineData((int)SoftMode.Block, false)]
    [InlineData((int)SoftMode.Linked, false)]
    [InlineData((int)SoftMode.Linked, true)]
    [InlineData((int)SoftMode.Block, false, true)]
    [InlineData((int)SoftMode.Linked, false, true)]
    public void Programs_EqualTheHost(int mode, bool mode32, bool windows = false)
    {
        CampaignOptions options = new() { Seed = NewSeed(), Count = 5000, Mode32 = mode32, PassKnownGaps = true };
        using SoftRunner soft = new((SoftMode)mode, windows ? WindowUse.Always : WindowUse.Never);
        using NativeRunner native = new();
        using StringWriter text = new();
        using SequenceCampaign campaign = new(options, native, [soft], text);
        campaign.Run();
        output.WriteLine($"seed {options.Seed}: {campaign.Comparisons} programs, {campaign.Faults} exceptions");
        output.WriteLine(text.ToString());
        Assert.Equal(0, campaign.Differences);
    }

    [Fact]
    [Trait("Category", "Long")]
    public void FiveMillion_EqualTheHost()
    {
        string? wish = Environment.GetEnvironmentVariable("HULL_ORACLE_COUNT");
        long count = wish is null ? 5_000_000 : long.Parse(wish, CultureInfo.InvariantCulture);
        RunForms(new CampaignOptions { Seed = NewSeed(), Count = count * 3 / 5 });
        using SoftRunner windows = new(SoftMode.Linked, WindowUse.Always);
        RunForms(new CampaignOptions { Seed = NewSeed(), Count = count / 5 }, windows);
        RunForms(new CampaignOptions { Seed = NewSeed(), Count = count / 5, Mode32 = true });
    }

    private static ulong NewSeed() => (ulong)Environment.TickCount64;

    private void RunForms(CampaignOptions options)
    {
        using SoftRunner soft = new(SoftMode.Single);
        RunForms(options, soft);
    }

    private void RunForms(CampaignOptions options, SoftRunner soft)
    {
        using NativeRunner native = new();
        using StringWriter text = new();
        using Campaign campaign = new(options with { PassKnownGaps = true }, native, soft, text);
        campaign.Run();
        output.WriteLine($"seed {options.Seed}, 32-bit {options.Mode32}: {campaign.Comparisons} comparisons, "
            + $"{campaign.Faults} exceptions, {campaign.Differences} differences");
        foreach ((string gap, long count) in campaign.Gaps)
        {
            output.WriteLine($"{count} known: {gap}");
        }

        output.WriteLine(text.ToString());
        Assert.Equal(0, campaign.Differences);
        Assert.Empty(campaign.Untested);
    }
}
