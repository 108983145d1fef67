using System;
using Hull.Kvm;
using Hull.Kvm.Abi;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Kvm;

/// <summary>What a hypercall's pointers lead to. Needs no KVM.</summary>
public sealed class KvmPageWalkTests : IDisposable
{
    private const ulong Top = 0x1000;
    private const ulong Paging = 0x8000_0001;
    private const ulong WriteProtect = 0x1_0000;
    private const ulong Pae = 0x20;
    private const ulong Smap = 0x20_0000;
    private const ulong LongMode = 0x500;
    private const ulong AlignmentCheck = 0x4_0000;

    private readonly GuestMemory _memory = new(0x80_0000);

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void WithoutPaging_AddressesArePhysical()
    {
        Assert.Equal(0x1234_5678UL, Translate(new KvmSregs(), 0xF_1234_5678, false));
    }

    [Theory]
    [InlineData(0x40_0123, 0x60_0123)] // a page of 2 MiB
    [InlineData(0x1_2345, 0x5_5345)] // of 4 KiB
    public void FourLevels_LeadToPagesOfBothSizes(ulong linear, ulong physical)
    {
        Assert.Equal(physical, Translate(FourLevels(), linear, true));
    }

    [Fact]
    public void EntriesOfThePath_BecomeAccessed_AndTheLeafDirty()
    {
        KvmSregs registers = FourLevels();
        Translate(registers, 0x1_2345, false);
        Assert.Equal(0x5_5023UL, Entry(0x4000 + (0x12 * 8)));
        Translate(registers, 0x1_2345, true);
        Assert.Equal(0x5_5063UL, Entry(0x4000 + (0x12 * 8)));
        Assert.Equal(0x4027UL, Entry(0x3000));
        Assert.Equal(0x2027UL, Entry(Top));
    }

    [Fact]
    public void StoreToAReadOnlyPage_NeedsWriteProtectOff()
    {
        KvmSregs registers = FourLevels();
        Assert.Null(Translate(registers, 0x1_3000, true));
        Assert.Equal(0x5_6001UL, Entry(0x4000 + (0x13 * 8))); // and leaves no mark
        registers.Cr0 &= ~WriteProtect;
        Assert.Equal(0x5_6000UL, Translate(registers, 0x1_3000, true));
    }

    [Fact]
    public void PageOfLevel3_UnderSmap_NeedsAlignmentCheck()
    {
        KvmSregs registers = FourLevels();
        registers.Cr4 |= Smap;
        Assert.Null(Translate(registers, 0x1_4000, false));
        Assert.Equal(0x5_7000UL, Translate(registers, 0x1_4000, false, AlignmentCheck));
    }

    [Theory]
    [InlineData(0x1_5000)] // not present
    [InlineData(0x8000_0000_0000)] // not canonical
    [InlineData(0xFFFF_8000_0000_0000)] // no table
    public void WhereNothingIs_NothingIsFound(ulong linear)
    {
        Assert.Null(Translate(FourLevels(), linear, false));
    }

    [Fact]
    public void ThirtyTwoBitTables_HaveLargePagesAbove4GiB()
    {
        KvmSregs registers = new() { Cr0 = Paging, Cr3 = Top, Cr4 = 0x10 };
        _memory.Write(new GuestPhysical(Top + 4), 0x0040_2083u); // 4 MiB at 0x100400000
        _memory.Write(new GuestPhysical(Top + 8), 0x2003u);
        _memory.Write(new GuestPhysical(0x2000 + (5 * 4)), 0x5_5003u);
        Assert.Equal(0x1_0041_2345UL, Translate(registers, 0x41_2345, true));
        Assert.Equal(0x5_5678UL, Translate(registers, 0x80_5678, true));
    }

    [Fact]
    public void PaeTables_BeginWithFourPointers()
    {
        KvmSregs registers = new() { Cr0 = Paging, Cr3 = 0x1020, Cr4 = Pae };
        _memory.Write(new GuestPhysical(0x1020 + (3 * 8)), 0x2001UL);
        _memory.Write(new GuestPhysical(0x2000), 0x60_0083UL);
        Assert.Equal(0x60_0123UL, Translate(registers, 0xC000_0123, true));
        Assert.Equal(0x2001UL, Entry(0x1020 + (3 * 8)));
    }

    // 0x12000 writable, 0x13000 read-only, 0x14000 of level 3; 2 MiB at 0x400000.
    private KvmSregs FourLevels()
    {
        Put(Top, 0x2003);
        Put(0x2000, 0x3003);
        Put(0x3000, 0x4003);
        Put(0x3010, 0x60_0083);
        Put(0x4000 + (0x12 * 8), 0x5_5003);
        Put(0x4000 + (0x13 * 8), 0x5_6001);
        Put(0x4000 + (0x14 * 8), 0x5_7007);
        foreach (ulong entry in (ReadOnlySpan<ulong>)[Top, 0x2000, 0x3000])
        {
            Put(entry, Entry(entry) | 4); // the leaf decides
        }

        return new KvmSregs { Cr0 = Paging | WriteProtect, Cr3 = Top, Cr4 = Pae, Efer = LongMode };
    }

    private ulong Entry(ulong at) => _memory.Read<ulong>(new GuestPhysical(at));

    private void Put(ulong at, ulong value) => _memory.Write(new GuestPhysical(at), value);

    private ulong? Translate(KvmSregs registers, ulong linear, bool isStore, ulong rflags = 2) =>
        new KvmPageWalk(_memory, registers, rflags).TryTranslate(linear, isStore, out GuestPhysical at) ? at.Value : null;
}
