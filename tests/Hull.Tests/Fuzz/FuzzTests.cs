using System;
using Xunit;
using Xunit.Abstractions;

namespace Hull.Tests.Fuzz;

/// <summary>Nothing that a guest executes, maps or writes may crash, hang or grow the host process.</summary>
[Collection("Alone")]
public sealed class FuzzTests(ITestOutputHelper output)
{
    private const long GrowthLimit = 256 << 20;

    [Theory]
    [Trait("Category", "Long")]
    [InlineData(1, 100)]
    public void RandomCode_InEveryMode_DoesNoHarm(int seed, int epochs) => Run((ulong)seed, 0, epochs);

    private void Run(ulong seed, long first, int epochs)
    {
        FuzzCampaign campaign = new(seed);
        campaign.RunEpoch(first);
        long before = ResidentBytes();
        for (long epoch = first + 1; epoch < first + epochs && campaign.Report.Defect is null; epoch++)
        {
            campaign.RunEpoch(epoch);
        }

        FuzzReport report = campaign.Report;
        ulong flushes = report.Counters["cache-flushes"];
        output.WriteLine($"seed {seed}: {report.Cases} cases, {report.Shutdowns} shutdowns, {flushes} cache flushes");
        Assert.True(report.Defect is null, report.Defect);
        Assert.InRange(ResidentBytes() - before, long.MinValue, GrowthLimit);
        Assert.True(flushes > (ulong)epochs, "the code cache never overflowed");
    }

    // Behind a thousand other tests the collector lets hundreds of megabytes of garbage lie: that is no growth.
    private static long ResidentBytes()
    {
        GC.Collect(2, GCCollectionMode.Aggressive, true, true);
        return FuzzCampaign.ResidentBytes();
    }
}
