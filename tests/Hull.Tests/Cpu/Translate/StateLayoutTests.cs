using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Translate;

/// <summary>The numbers that generated code holds are where the fields are.</summary>
public sealed unsafe class StateLayoutTests
{
    [Fact]
    public void ConstantOffsets_MatchTheStruct()
    {
        CpuState state;
        byte* start = (byte*)&state;
        Assert.Equal(StateLayout.FlagWord, (int)((byte*)&state.FlagWord - start));
        Assert.Equal(StateLayout.AttentionBits, (int)((byte*)&state.AttentionBits - start));
        Assert.Equal(StateLayout.InterruptFlag, (int)(&state.InterruptFlag - start));
        Assert.Equal(StateLayout.DirectionFlag, (int)(&state.DirectionFlag - start));
        Assert.Equal(StateLayout.InterruptShadow, (int)(&state.InterruptShadow - start));
        Assert.Equal(StateLayout.JumpCacheKey, (int)((byte*)&state.JumpCacheKey - start));
        Assert.Equal(StateLayout.UserJumpCacheKey, (int)((byte*)&state.UserJumpCacheKey - start));
        Assert.Equal(StateLayout.Scratch0, (int)((byte*)&state.Scratch0 - start));
        Assert.Equal(StateLayout.Gpr, (int)((byte*)state.Gpr - start));
        Assert.Equal(StateLayout.Rip, (int)((byte*)&state.Rip - start));
        Assert.Equal(StateLayout.SystemFlags, (int)((byte*)&state.SystemFlags - start));
        Assert.Equal(StateLayout.Segments, (int)((byte*)&state.Segments - start));
        Assert.Equal(24, sizeof(CpuSegment));
    }

    [Fact]
    public void VectorAndX87Images_AreAligned()
    {
        Assert.Equal(0, StateLayout.Xmm % 16);
        Assert.Equal(0, StateLayout.X87 % 16);
    }

    [Fact]
    public void State_FitsBelowTheTables()
    {
        Assert.True(sizeof(CpuState) <= StateLayout.SlotBase, $"{sizeof(CpuState)} bytes");
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(0xFFFF_FFFF_8100_0040UL)]
    [InlineData(0x7FFF_1234_5678UL)]
    public void JumpIndex_StaysInTheTable(ulong rip)
    {
        Assert.InRange(StateLayout.JumpIndex(rip), 0, StateLayout.JumpCacheEntries - 1);
    }
}
