using System;
using System.IO;
using Xunit;
using Xunit.Abstractions;

namespace Hull.Tests.Oracle;

/// <summary>Campaigns of the oracle: against itself, and against runners with a known defect.</summary>
[Collection("NativeOracle")]
public sealed class CampaignTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void EveryForm_IsTestedAndRepeatable(bool mode32)
    {
        using NativeRunner native = new();
        using StringWriter text = new();
        CampaignOptions options = new() { Count = 1, StatesPerEncoding = 4, Seed = NewSeed(), Mode32 = mode32 };
        using Campaign campaign = new(options, native, native, text);
        campaign.Run();
        output.WriteLine($"seed {options.Seed}: {campaign.Comparisons} comparisons {text}");
        Assert.Equal(0, campaign.Differences);
        Assert.True(campaign.Comparisons > 4000);
    }

    [Fact]
    public void Programs_AreRepeatable()
    {
        using NativeRunner native = new();
        using StringWriter text = new();
        CampaignOptions options = new() { Count = 3000, Seed = NewSeed() };
        using SequenceCampaign campaign = new(options, native, [native], text);
        campaign.Run();
        output.WriteLine($"seed {options.Seed}: {campaign.Faults} exceptions {text}");
        Assert.Equal(0, campaign.Differences);
    }

    [Theory]
    [InlineData(Defect.AdjustFlag, "RFLAGS")]
    [InlineData(Defect.UpperHalf, "YMM high")]
    [InlineData(Defect.Memory, "memory")]
    [InlineData(Defect.FaultAddress, "CR2")]
    public void Defect_IsFoundAndPrinted(Defect defect, string expected)
    {
        using NativeRunner native = new();
        using StringWriter text = new();
        CampaignOptions options = new() { Count = 3000, FaultsPerThousand = 50, Filter = "Add" };
        using Campaign campaign = new(options, native, new DefectiveRunner(native, defect), text);
        campaign.Run();
        Assert.True(campaign.Differences > 0);
        Assert.Contains(expected, text.ToString(), StringComparison.Ordinal);
        Assert.Contains("RAX=", text.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void FailingProgram_IsCutDown()
    {
        using NativeRunner native = new();
        using StringWriter text = new();
        CampaignOptions options = new() { Count = 500, Sets = FormSets.Integer };
        using SequenceCampaign campaign = new(options, native, [new DefectiveRunner(native, Defect.AdjustFlag)], text);
        campaign.Run();
        Assert.Equal(10, campaign.Differences);
        Assert.Contains("nop", text.ToString(), StringComparison.Ordinal);
    }

    private static ulong NewSeed() => (ulong)Environment.TickCount64;

    public enum Defect
    {
        AdjustFlag,
        UpperHalf,
        Memory,
        FaultAddress,
    }

    private sealed unsafe class DefectiveRunner(NativeRunner native, Defect defect) : IInstructionRunner
    {
        public ulong VerifyWindow() => native.VerifyWindow();

        public void Run(TestCase test, TestResult result)
        {
            native.Run(test, result);
            switch (defect)
            {
                case Defect.AdjustFlag:
                    result.State->Rflags &= ~0x10UL;
                    break;
                case Defect.UpperHalf:
                    result.State->YmmHigh[200] = 0;
                    break;
                case Defect.Memory when !result.Faulted && test.SliceLength > 0:
                    result.Slice[test.SliceLength / 2] ^= 1;
                    break;
                case Defect.FaultAddress:
                    result.Address &= ~0xFFFUL;
                    break;
                default:
                    break;
            }
        }
    }
}
