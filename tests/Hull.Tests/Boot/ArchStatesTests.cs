using System;
using Hull.Boot;
using Hull.Engine;
using Xunit;

namespace Hull.Tests.Boot;

public sealed class ArchStatesTests : BootFixture
{
    [Fact]
    public void Reset_StartsAtTheTopOfFourGibibytes()
    {
        ArchState state = ArchStates.Reset(0);

        Assert.Equal(0xFFFF_FFF0UL, state.Segments[1].Base + state.Rip);
        Assert.Equal(0x6000_0010UL, state.Cr0);
        Assert.False(state.WaitingForStartup);
        Assert.Equal(0x40, BitConverter.ToUInt16(state.Fxsave));
    }

    [Fact]
    public void ResetOfAnotherProcessor_WaitsForStartup() => Assert.True(ArchStates.Reset(3).WaitingForStartup);

    [Fact]
    public void Long_IsAtRestInLongMode()
    {
        ArchState state = ArchStates.Long(Memory, 0x100_0000, 0x7000);

        Assert.Equal((0x100_0000UL, 0x7000UL, 2UL), (state.Rip, state.Gpr[6], state.Rflags));
        Assert.Equal((0x8000_0031UL, 0x20UL, 0x500UL), (state.Cr0, state.Cr4, state.Efer));
        Assert.Equal((0x10, 0xA09Bu), (state.Segments[1].Selector, state.Segments[1].Attributes));
        Assert.Equal((0x18, 0xC093u), (state.Segments[3].Selector, state.Segments[3].Attributes));
        Assert.Equal(0x37F, BitConverter.ToUInt16(state.Fxsave));
        Assert.Equal(0x1F80u, BitConverter.ToUInt32(state.Fxsave, 24));
    }

    [Fact]
    public void Gdt_AgreesWithTheHiddenPartsOfTheSegments()
    {
        ArchStates.Long(Memory, 0x100_0000, 0x7000);

        Assert.Equal(0x00AF_9B00_0000_FFFFUL, Read<ulong>(BootLayout.Gdt + 0x10));
        Assert.Equal(0x00CF_9300_0000_FFFFUL, Read<ulong>(BootLayout.Gdt + 0x18));
        Assert.Equal(0x0000_8B00_0000_0067UL, Read<ulong>(BootLayout.Gdt + 0x20));
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(0x12_3456UL)]
    [InlineData(0xFFFF_FFFFUL)]
    public void PageTables_MapFourGibibytesOntoThemselves(ulong linear)
    {
        ArchStates.Long(Memory, 0x100_0000, 0x7000);

        ulong pml4 = Read<ulong>(BootLayout.PageTables + (8 * (linear >> 39)));
        ulong pdpt = Read<ulong>((pml4 & ~0xFFFUL) + (8 * (linear >> 30 & 0x1FF)));
        ulong directory = Read<ulong>((pdpt & ~0xFFFUL) + (8 * (linear >> 21 & 0x1FF)));
        Assert.Equal(0x83UL, directory & 0xFFF);
        Assert.Equal(linear, (directory & ~0xFFFUL) | (linear & 0x1F_FFFF));
    }
}
