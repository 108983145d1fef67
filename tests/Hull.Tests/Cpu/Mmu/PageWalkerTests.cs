using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Cpu.Mmu;

/// <summary>Walks page tables laid out in real guest memory, in every paging mode.</summary>
public sealed unsafe class PageWalkerTests : IDisposable
{
    private const int Ok = PageWalker.Success;
    private const int PhysicalBits = 46;
    private const ulong Root = 0x1000;
    private const ulong Second = 0x2000;
    private const ulong Third = 0x3000;
    private const ulong Fourth = 0x4000;
    private const ulong NoExecute = 1UL << 63;
    private readonly GuestMemory _memory = new(16 << 20);
    private CpuState _cpu;

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void NoPaging_IsIdentity_AndMayBeWritten()
    {
        _cpu.Cr0 = Cr0.Pe;
        Assert.Equal(Ok, Walk(0xFEDC_B123, Access.Store, out PageTranslation page));
        Assert.Equal(0xFEDC_B000UL, page.PhysicalPage);
        Assert.True(page.Writable);
    }

    [Fact]
    public void FourLevels_SmallPage_TranslatesAndSetsAccessedEverywhere()
    {
        FourLevels();
        Assert.Equal(Ok, Walk(0x20_1234, Access.Load, out PageTranslation page));
        Assert.Equal(0x12_3000UL, page.PhysicalPage);
        Assert.False(page.Writable);
        Assert.Equal(0x2027UL, Read(Root));
        Assert.Equal(0x3027UL, Read(Second));
        Assert.Equal(0x4027UL, Read(Third + 8));
        Assert.Equal(0x12_3027UL, Read(Fourth + 8));
    }

    [Fact]
    public void FourLevels_Store_SetsDirtyInTheLeafOnly()
    {
        FourLevels();
        Assert.Equal(Ok, Walk(0x20_1000, Access.Store, out PageTranslation page));
        Assert.True(page.Writable);
        Assert.Equal(0x4027UL, Read(Third + 8));
        Assert.Equal(0x12_3067UL, Read(Fourth + 8));
    }

    [Theory]
    [InlineData(0x40_1234UL, Third + 16, 0x60_0087UL, 0x60_1000UL)]
    [InlineData(0x4032_1000UL, Second + 8, 0x8000_0087UL, 0x8032_1000UL)]
    public void FourLevels_LargePages_AddTheOffset(ulong linear, ulong entry, ulong value, ulong physical)
    {
        FourLevels();
        Write(entry, value);
        Assert.Equal(Ok, Walk(linear, Access.Load, out PageTranslation page));
        Assert.Equal(physical, page.PhysicalPage);
    }

    [Theory]
    [InlineData(Root)]
    [InlineData(Second)]
    [InlineData(Third + 8)]
    [InlineData(Fourth + 8)]
    public void NotPresent_AtAnyLevel_SaysOnlyTheAccess(ulong entry)
    {
        FourLevels();
        Write(entry, 0);
        Assert.Equal(0, Walk(0x20_1000, Access.Load, out _));
        Assert.Equal(2, Walk(0x20_1000, Access.Store, out _));
        _cpu.Cpl = 3;
        Assert.Equal(4 | 16, Walk(0x20_1000, Access.Fetch, out _));
    }

    [Theory]
    [InlineData(Root, 1UL << 46)]
    [InlineData(Second, 1UL << 51)]
    [InlineData(Root, 0x80UL)]
    [InlineData(Fourth + 8, 1UL << 46)]
    public void ReservedBits_Raise_PresentAndReserved(ulong entry, ulong bit)
    {
        FourLevels();
        Write(entry, Read(entry) | bit);
        Assert.Equal(9, Walk(0x20_1000, Access.Load, out _));
    }

    [Fact]
    public void LargePage_WithLowAddressBits_IsReserved()
    {
        FourLevels();
        Write(Third + 16, 0x60_2087);
        Assert.Equal(9, Walk(0x40_0000, Access.Load, out _));
        Write(Third + 16, 0x60_1087); // bit 12 is PAT
        Assert.Equal(Ok, Walk(0x40_0000, Access.Load, out _));
    }

    [Fact]
    public void NoExecuteBit_IsReservedWithoutNxe()
    {
        FourLevels();
        Write(Fourth + 8, Read(Fourth + 8) | NoExecute);
        Assert.Equal(1 | 16, Walk(0x20_1000, Access.Fetch, out _));
        Assert.Equal(Ok, Walk(0x20_1000, Access.Load, out _));
        _cpu.Efer &= ~Efer.Nxe;
        Assert.Equal(9, Walk(0x20_1000, Access.Load, out _));
    }

    [Fact]
    public void NoExecute_AboveTheLeaf_Counts()
    {
        FourLevels();
        Write(Second, Read(Second) | NoExecute);
        Assert.Equal(1 | 16, Walk(0x20_1000, Access.Fetch, out _));
    }

    [Theory]
    [InlineData(Root)]
    [InlineData(Second)]
    [InlineData(Third + 8)]
    [InlineData(Fourth + 8)]
    public void SupervisorPage_RefusesUsers(ulong entry)
    {
        FourLevels();
        Write(entry, Read(entry) & ~4UL);
        Assert.Equal(Ok, Walk(0x20_1000, Access.Load, out _));
        _cpu.Cpl = 3;
        Assert.Equal(1 | 4, Walk(0x20_1000, Access.Load, out _));
        Assert.Equal(Ok, Walk(0x20_1000, Access.Load | Access.System, out _));
    }

    [Fact]
    public void ReadOnlyPage_RefusesSupervisorsOnlyWithWp()
    {
        FourLevels();
        Write(Third + 8, Read(Third + 8) & ~2UL);
        _cpu.Cr0 |= Cr0.Wp;
        Assert.Equal(1 | 2, Walk(0x20_1000, Access.Store, out _));
        _cpu.Cr0 &= ~Cr0.Wp;
        Assert.Equal(Ok, Walk(0x20_1000, Access.Store, out PageTranslation page));
        Assert.True(page.Writable);
        _cpu.Cpl = 3;
        Assert.Equal(1 | 2 | 4, Walk(0x20_1000, Access.Store, out _));
    }

    [Fact]
    public void AFaultingWalk_LeavesAccessedBitsAlone()
    {
        FourLevels();
        _cpu.Cr0 |= Cr0.Wp;
        Write(Fourth + 8, 0x12_3005);
        Assert.Equal(1 | 2, Walk(0x20_1000, Access.Store, out _));
        Assert.Equal(0x2007UL, Read(Root));
        Assert.Equal(0x12_3005UL, Read(Fourth + 8));
    }

    [Fact]
    public void Smep_RefusesSupervisorFetchFromUserPages()
    {
        FourLevels();
        Assert.Equal(Ok, Walk(0x20_1000, Access.Fetch, out _));
        _cpu.Cr4 |= Cr4.Smep;
        Assert.Equal(1 | 16, Walk(0x20_1000, Access.Fetch, out _));
        _cpu.Cpl = 3;
        Assert.Equal(Ok, Walk(0x20_1000, Access.Fetch, out _));
    }

    [Fact]
    public void Smap_RefusesSupervisorDataOnUserPages_UnlessAc()
    {
        FourLevels();
        _cpu.Cr4 |= Cr4.Smap;
        Assert.Equal(1, Walk(0x20_1000, Access.Load, out _));
        Assert.Equal(3, Walk(0x20_1000, Access.Store, out _));
        _cpu.SystemFlags |= Rflags.Ac;
        Assert.Equal(Ok, Walk(0x20_1000, Access.Store, out _));
        Assert.Equal(1, Walk(0x20_1000, Access.Load | Access.System, out _));
        _cpu.SystemFlags = 0;
        Write(Fourth + 8, Read(Fourth + 8) & ~4UL);
        Assert.Equal(Ok, Walk(0x20_1000, Access.Load | Access.System, out _));
    }

    [Fact]
    public void Global_NeedsPge()
    {
        FourLevels();
        Write(Fourth + 8, Read(Fourth + 8) | 0x100);
        Walk(0x20_1000, Access.Load, out PageTranslation page);
        Assert.False(page.Global);
        _cpu.Cr4 |= Cr4.Pge;
        Walk(0x20_1000, Access.Load, out page);
        Assert.True(page.Global);
    }

    [Fact]
    public void TablesOutsideRam_ReadAsOnes_AndFault()
    {
        FourLevels();
        Write(Root, 0xFEC0_0007);
        Assert.Equal(9, Walk(0x20_1000, Access.Load, out _));
        _cpu.Cr3 = 0x0FFF_FFFF_F000;
        Assert.Equal(9, Walk(0x20_1000, Access.Load, out _));
    }

    [Fact]
    public void Legacy_SmallPage_TranslatesAndMarks()
    {
        Legacy();
        Assert.Equal(Ok, Walk(0x40_1234, Access.Store, out PageTranslation page));
        Assert.Equal(0x12_3000UL, page.PhysicalPage);
        Assert.Equal(0x2027u, Read32(Root + 4));
        Assert.Equal(0x12_3067u, Read32(Second + 4));
    }

    [Fact]
    public void Legacy_LargePage_NeedsPse_AndReaches40Bits()
    {
        Legacy();
        Write32(Root + 8, 0x0080_0087 | (5 << 13));
        _cpu.Cr4 = Cr4.Pse;
        Assert.Equal(Ok, Walk(0x81_2345, Access.Load, out PageTranslation page));
        Assert.Equal(0x5_0081_2000UL, page.PhysicalPage);
        Write32(Root + 8, 0x0080_0087 | (1 << 21));
        Assert.Equal(9, Walk(0x81_2345, Access.Load, out _));
        _cpu.Cr4 = 0;
        Write32(Root + 8, 0x2087); // without PSE bit 7 means nothing: a table
        Assert.Equal(Ok, Walk(0x80_1000, Access.Load, out page));
        Assert.Equal(0x12_3000UL, page.PhysicalPage);
    }

    [Fact]
    public void Legacy_FetchBit_IsNotToldWithoutSmep()
    {
        Legacy();
        Write32(Second + 4, 0);
        Assert.Equal(0, Walk(0x40_1000, Access.Fetch, out _));
        _cpu.Cr4 = Cr4.Smep;
        Assert.Equal(16, Walk(0x40_1000, Access.Fetch, out _));
    }

    [Fact]
    public void Pae_TranslatesThroughThePointerTable()
    {
        Pae();
        Assert.Equal(Ok, Walk(0x4020_1000, Access.Store, out PageTranslation page));
        Assert.Equal(0x12_3000UL, page.PhysicalPage);
        Assert.Equal(Second | 1, Read(Root + 0x28)); // no accessed bit in a PDPTE
        Assert.Equal(0x12_3067UL, Read(Third + 8));
    }

    [Fact]
    public void Pae_ReservedBits_ReachFurtherThanInLongMode()
    {
        Pae();
        Write(Third + 8, Read(Third + 8) | (1UL << 52));
        Assert.Equal(9, Walk(0x4020_1000, Access.Load, out _));
    }

    [Fact]
    public void Pae_PointersAreLoadedWholeOrNotAtAll()
    {
        Pae();
        Write(Root + 0x28, 0);
        Assert.Equal(Ok, Walk(0x4020_1000, Access.Load, out _));
        Write(Root + 0x20, Second | 1);
        Write(Root + 0x30, Second | 3); // bit 1 is reserved
        Assert.False(LoadPdptes());
        Assert.Equal(Ok, Walk(0x4020_1000, Access.Load, out _));
        Assert.Equal(0, Walk(0x20_1000, Access.Load, out _));
        Write(Root + 0x30, Second | 2); // not present: nothing is reserved
        Assert.True(LoadPdptes());
        Assert.Equal(Ok, Walk(0x20_1000, Access.Load, out _));
        Assert.Equal(0, Walk(0x4020_1000, Access.Load, out _));
    }

    [Fact]
    public void Pae_LargePage()
    {
        Pae();
        Write(Second + 16, 0x60_0087);
        Assert.Equal(Ok, Walk(0x4040_5000, Access.Load, out PageTranslation page));
        Assert.Equal(0x60_5000UL, page.PhysicalPage);
    }

    [Fact]
    public void Garbage_NeverCrashes()
    {
        Random random = new(12345);
        Span<byte> junk = stackalloc byte[0x8000];
        for (int round = 0; round < 300; round++)
        {
            random.NextBytes(junk);
            if ((round & 1) != 0)
            {
                for (int index = 0; index < junk.Length; index += 8)
                {
                    junk[index] |= 7;
                    junk[index + 3] = junk[index + 4] = junk[index + 5] = junk[index + 6] = junk[index + 7] = 0;
                }
            }

            _memory.TryWrite(new GuestPhysical(0x1000), junk);
            _cpu.Cr0 = Cr0.Pe | Cr0.Pg;
            _cpu.Cr3 = 0x1000;
            _cpu.Cr4 = (round % 3) == 0 ? 0 : Cr4.Pae | Cr4.Pse;
            _cpu.Efer = (round % 3) == 1 ? Efer.Lma | Efer.Nxe : 0;
            LoadPdptes();
            for (int walk = 0; walk < 200; walk++)
            {
                Walk((ulong)random.NextInt64() >> 17, (Access)random.Next(16), out PageTranslation page);
                Assert.Equal(0UL, page.PhysicalPage & 0xFFF);
            }
        }
    }

    private void FourLevels()
    {
        _cpu = default;
        _cpu.Cr0 = Cr0.Pe | Cr0.Pg;
        _cpu.Cr3 = Root;
        _cpu.Cr4 = Cr4.Pae;
        _cpu.Efer = Efer.Lma | Efer.Lme | Efer.Nxe;
        Write(Root, Second | 7);
        Write(Second, Third | 7);
        Write(Third + 8, Fourth | 7);
        Write(Fourth + 8, 0x12_3007);
    }

    private void Legacy()
    {
        _cpu = default;
        _cpu.Cr0 = Cr0.Pe | Cr0.Pg;
        _cpu.Cr3 = Root;
        Write32(Root + 4, (uint)Second | 7);
        Write32(Second + 4, 0x12_3007);
    }

    private void Pae()
    {
        _cpu = default;
        _cpu.Cr0 = Cr0.Pe | Cr0.Pg;
        _cpu.Cr3 = Root + 0x20;
        _cpu.Cr4 = Cr4.Pae;
        Write(Root + 0x28, Second | 1);
        Write(Second + 8, Third | 7);
        Write(Third + 8, 0x12_3007);
        Assert.True(LoadPdptes());
    }

    private bool LoadPdptes()
    {
        fixed (CpuState* cpu = &_cpu)
        {
            return PageWalker.TryLoadPdptes(_memory, cpu, _cpu.Cr3, PhysicalBits);
        }
    }

    private int Walk(ulong linear, Access access, out PageTranslation page)
    {
        fixed (CpuState* cpu = &_cpu)
        {
            return PageWalker.Walk(_memory, cpu, PhysicalBits, linear, access, out page);
        }
    }

    private ulong Read(ulong at) => _memory.Read<ulong>(new GuestPhysical(at));

    private uint Read32(ulong at) => _memory.Read<uint>(new GuestPhysical(at));

    private void Write(ulong at, ulong value) => _memory.Write(new GuestPhysical(at), value);

    private void Write32(ulong at, uint value) => _memory.Write(new GuestPhysical(at), value);
}
