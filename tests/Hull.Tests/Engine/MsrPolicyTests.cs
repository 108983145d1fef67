using Hull.Engine;
using Xunit;

namespace Hull.Tests.Engine;

/// <summary>The MSRs that hold plain state.</summary>
public sealed class MsrPolicyTests
{
    private readonly CpuidPolicy _cpuid = CpuidPolicy.HostSafe(2_000_000_000, 1_000_000_000, 1);
    private readonly ulong[] _slots = new ulong[MsrPolicy.SlotCount];

    public MsrPolicyTests() => MsrPolicy.Reset(_cpuid, _slots);

    [Fact]
    public void Pat_StartsAsTheManualSays_AndTakesOnlyMemoryTypes()
    {
        Assert.Equal(0x0007_0406_0007_0406UL, Read(0x277));
        Assert.True(Write(0x277, 0x0007_0406_0007_0106));
        Assert.False(Write(0x277, 2));
        Assert.Equal(0x0007_0406_0007_0106UL, Read(0x277));
    }

    [Fact]
    public void Mtrrs_CheckTypesAndReservedBits()
    {
        Assert.Equal(0x508UL, Read(0xFE));
        Assert.False(Write(0xFE, 0));
        Assert.True(Write(0x200, 0x8000_0006));
        Assert.False(Write(0x200, 0x8000_0007));
        Assert.True(Write(0x201, 0x3FFF_8000_0800));
        Assert.False(Write(0x201, 1UL << 60));
        Assert.True(Write(0x2FF, 0xC00));
        Assert.False(Write(0x2FF, 0x1000));
        Assert.True(Write(0x26F, 0x0606_0606_0606_0606));
        Assert.False(Write(0x26F, 0x0202_0202_0202_0202));
    }

    [Fact]
    public void EverySlot_HasOneOwner()
    {
        bool[] taken = new bool[MsrPolicy.SlotCount];
        foreach (uint index in MsrPolicy.StateIndexes)
        {
            MsrRule rule = MsrPolicy.Find(index, _cpuid);
            if (rule.HasSlot)
            {
                Assert.False(taken[rule.Slot], $"slot {rule.Slot} of MSR {index:x}");
                taken[rule.Slot] = true;
            }
        }
    }

    [Theory]
    [InlineData("AuthenticAMD", true)]
    [InlineData("GenuineIntel", false)] // it has no HWCR
    public void MachineCheckStatus_TakesAValue_OnlyWhenHwcrSaysSo(string vendor, bool takes)
    {
        CpuidPolicy cpuid = CpuidPolicyTests.Make(vendor, CpuModel.HostSafe);
        MsrPolicy.Reset(cpuid, _slots);
        bool Writes(uint index, ulong value) => MsrPolicy.TryWrite(index, cpuid, _slots, value, out _);

        Assert.False(Writes(0x405, 1UL << 63));
        Assert.Equal(takes, Writes(0xC001_0015, 1 << 18)); // McStatusWrEn
        Assert.Equal(takes, Writes(0x405, 1UL << 63));
        Assert.True(Writes(0x405, 0));
    }

    [Fact]
    public void Unknown_IsNotKnown()
    {
        Assert.False(MsrPolicy.TryRead(0xC000_0200, _cpuid, _slots, out _));
        Assert.False(MsrPolicy.TryWrite(0xC000_0200, _cpuid, _slots, 0, out bool known));
        Assert.False(known);
    }

    [Fact]
    public void Command_CannotBeRead()
    {
        Assert.True(Write(0x49, 1));
        Assert.False(Write(0x49, 2));
        Assert.False(MsrPolicy.TryRead(0x49, _cpuid, _slots, out _));
    }

    private ulong Read(uint index)
    {
        Assert.True(MsrPolicy.TryRead(index, _cpuid, _slots, out ulong value));
        return value;
    }

    private bool Write(uint index, ulong value) => MsrPolicy.TryWrite(index, _cpuid, _slots, value, out _);
}
