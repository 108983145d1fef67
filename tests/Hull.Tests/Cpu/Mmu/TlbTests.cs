using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Cpu.Mmu;

/// <summary>The jump caches and the victims behind them.</summary>
public sealed unsafe class TlbTests : IDisposable
{
    private readonly VcpuMemory _memory = new();
    private readonly GuestMemory _ram = new(1 << 20);
    private readonly Tlb _tlb;

    public TlbTests()
    {
        _tlb = new Tlb(_memory.State, _ram);
    }

    public void Dispose()
    {
        _memory.Dispose();
        _ram.Dispose();
    }

    [Fact]
    public void TwoTargetsOfOneLine_AreBothFound()
    {
        (ulong first, ulong second) = Pair();
        Fill(first, false, 0x1000);
        Fill(second, false, 0x2000);
        Assert.Equal(0x1000UL, Find(first, false));
        Assert.Equal(0x2000UL, Find(second, false));
    }

    [Fact]
    public void EvictedTarget_IsNotFoundAfterItsBlockWent()
    {
        (ulong first, ulong second) = Pair();
        Fill(first, true, 0x1000);
        Fill(second, true, 0x2000);
        _tlb.DropJump(first, true, (byte*)0x1000);
        Assert.Equal(0UL, Find(first, true));
        Assert.Equal(0x2000UL, Find(second, true));
    }

    [Fact]
    public void EvictedTarget_IsNotFoundAfterAFlush()
    {
        (ulong first, ulong second) = Pair();
        Fill(first, false, 0x1000);
        Fill(second, false, 0x2000);
        _tlb.FlushJumps();
        Assert.Equal(0UL, Find(first, false));
        Assert.Equal(0UL, Find(second, false));
    }

    [Fact]
    public void UsersTarget_IsNotTheSupervisors()
    {
        Fill(0x401000, true, 0x1000);
        Assert.Equal(0UL, Find(0x401000, false));
    }

    [Fact]
    public void EvictedTarget_StaysForgotten_WhenKeysStartAgain()
    {
        (ulong first, ulong second) = Pair();
        Fill(first, false, 0x1000);
        Fill(second, false, 0x2000);
        for (int i = 0; i < 0x8000; i++)
        {
            _tlb.FlushJumps();
            Assert.Equal(0UL, Find(first, false));
        }
    }

    [Fact]
    public void PageThatBecomesCode_LeavesLinesAndSlotsUnderAllItsAddresses()
    {
        ulong[] addresses = [0x40_0000, 0x7FFF_1000, 0x40_0000];
        for (int i = 0; i < addresses.Length; i++)
        {
            PageTranslation page = new() { Host = _ram.Base + 0x5000, User = true };
            _tlb.Fill(addresses[i], page, i != 2, true, false);
            _tlb.FillSlot(addresses[i], i != 2, true, i);
        }

        _tlb.ProtectPage(_ram.Base + 0x5000);
        for (int i = 0; i < addresses.Length; i++)
        {
            Assert.True(_tlb.Find(addresses[i], i != 2, true) == null);
            TlbEntry* slot = (TlbEntry*)((byte*)_memory.State + StateLayout.Slot(i != 2, true, i));
            Assert.NotEqual(addresses[i], slot->Tag);
        }
    }

    [Fact]
    public void PageThatBecomesCode_LeavesTheLinesOfOthersAlone()
    {
        PageTranslation code = new() { Host = _ram.Base + 0x5000 };
        PageTranslation data = new() { Host = _ram.Base + 0x6000 };
        _tlb.Fill(0x40_0000, code, true, true, false);
        _tlb.Fill(0x40_1000, data, true, true, false);
        _tlb.FillSlot(0x40_1000, true, true, 3);
        _tlb.ProtectPage(code.Host);
        Assert.True(_tlb.Find(0x40_1000, true, true) == data.Host);
        TlbEntry* slot = (TlbEntry*)((byte*)_memory.State + StateLayout.Slot(true, true, 3));
        Assert.Equal(0x40_1000UL, slot->Tag);
    }

    // Two addresses that share a line of the jump cache.
    private static (ulong First, ulong Second) Pair()
    {
        const ulong First = 0x7F00_1234_5678;
        ulong second = First + 1;
        while (StateLayout.JumpIndex(second) != StateLayout.JumpIndex(First))
        {
            second++;
        }

        return (First, second);
    }

    private void Fill(ulong rip, bool user, ulong host) => _tlb.FillJump(rip, user, true, (byte*)host);

    private ulong Find(ulong rip, bool user)
    {
        byte* line = _tlb.FindJump(rip, user);
        return (ulong)(line != null ? line : _tlb.RecallJump(rip, user));
    }
}
