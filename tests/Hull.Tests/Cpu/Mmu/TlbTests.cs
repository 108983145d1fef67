using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Mmu;

/// <summary>The jump caches and the victims behind them.</summary>
public sealed unsafe class TlbTests : IDisposable
{
    private readonly VcpuMemory _memory = new();
    private readonly Tlb _tlb;

    public TlbTests()
    {
        _tlb = new Tlb(_memory.State);
    }

    public void Dispose() => _memory.Dispose();

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
        _tlb.DropJump(first, (byte*)0x1000);
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
    public void FlushOfADataPage_KeepsTheJumps()
    {
        Fill(0x401000, true, 0x1000);
        Fill(0xFFFF_FFFF_8100_0000, false, 0x2000);
        _tlb.FlushPage(0x7FFF_0000_0000);
        Assert.Equal(0x1000UL, Find(0x401000, true));
        Assert.Equal(0x2000UL, Find(0xFFFF_FFFF_8100_0000, false));
    }

    [Theory]
    [InlineData(0x401000, 0, 0x2000)]
    [InlineData(0x402000, 0, 0x2000)]
    [InlineData(0x5000, 0x1000, 0)]
    public void FlushOfAPage_ForgetsTheJumpsIntoIt(ulong page, ulong inTwoPages, ulong inASegment)
    {
        _tlb.FillJump(0x401FFF, 0x401FFF, 2, true, false, (byte*)0x1000);
        _tlb.FillJump(0x10, 0x5010, 1, false, false, (byte*)0x2000);
        _tlb.FlushPage(page);
        Assert.Equal(inTwoPages, Find(0x401FFF, true));
        Assert.Equal(inASegment, Find(0x10, false));
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

    private void Fill(ulong rip, bool user, ulong host) => _tlb.FillJump(rip, rip, 1, user, true, (byte*)host);

    private ulong Find(ulong rip, bool user)
    {
        byte* line = _tlb.FindJump(rip, user);
        return (ulong)(line != null ? line : _tlb.RecallJump(rip, user));
    }
}
