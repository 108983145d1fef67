using Hull.Cpu.Translate;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Cpu.Smp;

/// <summary>What the guard does about a store that was checked before a translation and lands after it.</summary>
public sealed unsafe class FetchGuardTests
{
    private const ulong Code = SmpGuest.SpareAt;

    [Fact]
    public void StoreUnderWay_ThatLandsLate_InvalidatesTheBlock()
    {
        using SmpGuest guest = Start(loose: true, out int block);
        guest.Memory.Base[Code + 1] = 7; // as generated code stores: nobody is told
        Assert.True(guest.Engine.Guard.HasDoubts);
        guest.Engine.VerifyFetches();
        Assert.False(guest.Engine.Cache.Blocks[block].Valid);
        Assert.Equal(1UL, guest.Engine.Guard.LateStores);
    }

    [Fact]
    public void StoreUnderWay_KeepsTheDoubt_UntilItsVcpuHasLeftGeneratedCode()
    {
        using SmpGuest guest = Start(loose: true, out int block);
        guest.Engine.VerifyFetches();
        Assert.True(guest.Engine.Guard.HasDoubts);
        guest.Engine.Guard.Acknowledge(guest.Vcpus[1]);
        Assert.False(guest.Engine.Guard.HasDoubts);
        Assert.True(guest.Engine.Cache.Blocks[block].Valid);
    }

    [Fact]
    public void LineInAnothersStoreTlb_IsTakenAway_AndPutsItsVcpuInDoubt()
    {
        using SmpGuest guest = Start(loose: false, out _, line: true);
        Assert.True(guest.Vcpus[1].Tlb.Find(Code, false, true) == null);
        Assert.True(guest.Engine.Guard.HasDoubts);
    }

    [Fact]
    public void VcpuWithoutStoresToThePage_IsNotInDoubt()
    {
        using SmpGuest guest = Start(loose: false, out _);
        Assert.False(guest.Engine.Guard.HasDoubts);
    }

    [Fact]
    public void TranslationBesideAnother_IsInDoubtToo_WhileTheVcpuHasNotAnswered()
    {
        using SmpGuest guest = Start(loose: false, out _, line: true);
        int second = Translate(guest, Code + 0x800);
        guest.Memory.Base[Code + 0x801] = 7;
        guest.Engine.VerifyFetches();
        Assert.False(guest.Engine.Cache.Blocks[second].Valid);
    }

    // vCPU 0 translates a page that vCPU 1, in the middle of generated code, may be storing to.
    private static SmpGuest Start(bool loose, out int block, bool line = false)
    {
        SmpGuest guest = new(2);
        guest.Code(0, static _ => { }).Code(1, static _ => { });
        guest.Memory.TryWrite(new GuestPhysical(Code), [0xB8, 0, 0, 0, 0, 0xC3]);
        guest.Memory.TryWrite(new GuestPhysical(Code + 0x800), [0xB8, 0, 0, 0, 0, 0xC3]);
        guest.Vcpus[1].IsInside = true;
        guest.Vcpus[1].MayStoreLoosely = loose;
        if (line)
        {
            Assert.True(guest.Vcpus[1].Mmu.FindHost(Code, Hull.Cpu.Mmu.Access.Store, out _));
            Assert.True(guest.Vcpus[1].Tlb.Find(Code, false, true) != null);
        }

        block = Translate(guest, Code);
        return guest;
    }

    private static int Translate(SmpGuest guest, ulong at)
    {
        lock (guest.Engine.CodeLock)
        {
            BlockKey key = new(at, at, BlockMode.Code64);
            return guest.Engine.Translate(guest.Vcpus[0], key, at, guest.Memory.HostPage(at), 64);
        }
    }
}
