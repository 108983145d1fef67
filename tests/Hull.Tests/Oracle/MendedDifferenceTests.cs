using System.IO;
using Xunit;
using Xunit.Abstractions;

namespace Hull.Tests.Oracle;

/// <summary>Differences from the host CPU that the oracle has found and that are mended: the forms stay equal.</summary>
[Collection("NativeOracle")]
public sealed class MendedDifferenceTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData("Fldenv")]
    [InlineData("Fnsave")]
    public void ANewTop_KeepsThePhysicalX87Registers(string form) => AssertEqual(form);

    [Fact]
    public void PendingX87Exception_ComesBeforeTheOperandsFault() => AssertEqual("Fst_m64fp");

    [Theory]
    [InlineData("Pabsd_mm")]
    [InlineData("Paddq_mm")]
    public void PendingX87Exception_ComesBeforeTheFaultOfAnMmxOperand(string form) => AssertEqual(form, faults: 500);

    [Fact]
    public void Xsavec_WritesSixteenBytesOfTheHeader() => AssertEqual("Xsavec");

    [Fact]
    public void Enter_CopiesFramePointersItHasJustPushed() => AssertEqual("Enter");

    [Fact]
    public void Gather_ThatFaults_LeavesSignsInTheMaskAndTheTargetsUpperHalf() => AssertEqual("gather", faults: 300);

    [Fact]
    public void MisalignedYmmOperand_IsProtectionFaultBeforePageFault() => AssertEqual("Vmovntdq_m256", faults: 300);

    [Fact]
    public void MaskMove_OfNothing_StillChecksTheAddress() => AssertEqual("Maskmovq", faults: 300);

    [Fact]
    public void SegmentPrefix_MeansNothingToAnAssistIn64BitMode() => AssertEqual("Vpmaskmov", faults: 300);

    [Fact]
    public void RepeatedPortInstruction_WithCountZero_ChecksThePermission() => AssertEqual("Insb");

    [Fact]
    public void MisalignedCmpxchg16b_AcrossPages_IsProtectionFault() =>
        AssertEqual("Cmpxchg16b", faults: 300, mode: SoftMode.Block);

    [Fact]
    public void PushOfASegmentRegister_ChecksTheTwoBytesThatItWrites() =>
        AssertEqual("Pushd_DS", faults: 500, mode32: true);

    [Fact]
    public void Lar_ShowsTheLimitsBits_WhereTheHostDoes() => AssertEqual("Lar_");

    [Fact]
    public void MovsxdToSixteenBits_ReadsWhatTheHostReads() => AssertEqual("Movsxd_r16", faults: 900);

    [Theory]
    [InlineData("VEX_Rorx_r32")]
    [InlineData("VEX_Vcvttss2si_r32")]
    [InlineData("VEX_Vmovd_rm32")]
    public void VexW_OutsideLongMode_IsIgnored(string form) => AssertEqual(form, mode32: true);

    [Fact]
    public void VexBlendRegister_OutsideLongMode_HasThreeBits() => AssertEqual("VEX_Vblendvps", mode32: true);

    [Fact]
    public void MisalignedOperand_OnAStackThatIsNotCanonical_IsProtectionFault() => AssertEqual("Movaps", faults: 900);

    [Theory]
    [InlineData("Movaps")]
    [InlineData("Fxsave_m512byte")]
    [InlineData("Xsave")]
    public void MisalignedOperand_BehindTheStacksLimit_IsProtectionFault(string form) =>
        AssertEqual(form, mode32: true, segments: true);

    [Theory]
    [InlineData("Xrstor")]
    [InlineData("Xsavec")]
    public void AvxPart_IsChecked_AgainstTheLimit(string form) => AssertEqual(form, mode32: true, segments: true);

    [Fact]
    public void RetfsSelector_IsChecked_WithAllOfItsSlot() => AssertEqual("Retfd", mode32: true, segments: true);

    private void AssertEqual(
        string form, int faults = 8, bool mode32 = false, SoftMode mode = SoftMode.Single, bool segments = false)
    {
        using NativeRunner native = new();
        using SoftRunner soft = new(mode);
        using StringWriter text = new();
        CampaignOptions options = new()
        {
            Count = segments ? 20_000 : 2000,
            SegmentsPerThousand = segments ? 1000 : 0,
            Filter = form,
            FaultsPerThousand = faults,
            Mode32 = mode32,
        };
        using Campaign campaign = new(options, native, soft, text);
        campaign.Run();
        output.WriteLine(text.ToString());
        Assert.True(campaign.Comparisons >= 2000);
        Assert.Equal(0, campaign.Differences);
    }
}
