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
        _tlb = new Tlb(_memory.State, _ram, 40, new WindowRoom());
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
        _tlb.Jumps.Drop(first, true, (byte*)0x1000);
        Assert.Equal(0UL, Find(first, true));
        Assert.Equal(0x2000UL, Find(second, true));
    }

    [Fact]
    public void EvictedTarget_IsNotFoundAfterAFlush()
    {
        (ulong first, ulong second) = Pair();
        Fill(first, false, 0x1000);
        Fill(second, false, 0x2000);
        _tlb.Jumps.Flush();
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
            _tlb.Jumps.Flush();
            Assert.Equal(0UL, Find(first, false));
        }
    }

    [Fact]
    public void SpaceThatComesBack_FindsItsJumps_AndNoOtherOnes()
    {
        _tlb.SwitchSpace(0, 1, false);
        Fill(0x401000, true, 0x1000);
        _tlb.SwitchSpace(1, 2, true);
        Assert.Equal(0UL, Find(0x401000, true));
        Fill(0x401000, true, 0x2000);
        _tlb.SwitchSpace(2, 3, false);
        Assert.Equal(0UL, Find(0x401000, true));
        _tlb.SwitchSpace(3, 2, true);
        Assert.Equal(0x2000UL, Find(0x401000, true));
        _tlb.SwitchSpace(2, 2, true);
        Assert.Equal(0x2000UL, Find(0x401000, true));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void SpaceThatWasFlushed_FindsNothing(int how)
    {
        PageTranslation page = new() { Host = (byte*)0x7000 };
        _tlb.SwitchSpace(0, 1, false);
        Fill(0x401000, true, 0x1000);
        _tlb.Victims.Fill(0x5000, true, false, page);
        _tlb.SwitchSpace(1, 2, false);
        Action flush = how switch
        {
            0 => _tlb.FlushAll,
            1 => _tlb.FlushNonGlobal,
            2 => () => _tlb.ForgetSpace(1),
            3 => () => _tlb.SwitchSpace(2, 1, false),
            _ => KeepManySpaces,
        };
        flush();
        _tlb.SwitchSpace(how == 3 ? 1 : 2, 1, true);
        Assert.Equal(0UL, Find(0x401000, true));
        Assert.True(_tlb.Victims.Find(0x5000, true, false, out _) == null);
    }

    [Fact]
    public void SpaceThatComesBack_FindsItsPages()
    {
        PageTranslation page = new() { Host = (byte*)0x7000 };
        _tlb.SwitchSpace(0, 1, false);
        _tlb.Fill(0x5000, page, true, false);
        _tlb.Victims.Fill(0x5000, true, false, page);
        _tlb.SwitchSpace(1, 2, false);
        Assert.True(_tlb.Victims.Find(0x5000, true, false, out _) == null);
        _tlb.SwitchSpace(2, 1, true);
        Assert.True(_tlb.Find(0x5000, true, false) == null);
        Assert.True(_tlb.Victims.Find(0x5000, true, false, out _) == page.Host);
    }

    [Fact]
    public void FlushOfACodePage_ForgetsItInSpacesThatAreKept()
    {
        _tlb.SwitchSpace(0, 1, false);
        Fill(0x401000, true, 0x1000);
        _tlb.SwitchSpace(1, 2, false);
        Fill(0x401000, true, 0x2000);
        _tlb.FlushPage(0x401000);
        _tlb.SwitchSpace(2, 1, true);
        Fill(0x402000, true, 0x3000);
        _tlb.FlushPage(0x401000);
        Assert.Equal(0UL, Find(0x401000, true));
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
        _tlb.Jumps.Fill(0x401FFF, 0x401FFF, 2, true, false, (byte*)0x1000);
        _tlb.Jumps.Fill(0x10, 0x5010, 1, false, false, (byte*)0x2000);
        _tlb.FlushPage(page);
        Assert.Equal(inTwoPages, Find(0x401FFF, true));
        Assert.Equal(inASegment, Find(0x10, false));
    }

    // A tag is rip XOR key: what would hit a line of another key, or an empty one, is an rip that is not canonical, and
    // guests jump there. It has to be looked for in another line.
    [Theory]
    [InlineData(0UL)]
    [InlineData(0x40_1233UL)]
    [InlineData(0x7FFF_FFFF_FFFFUL)]
    [InlineData(0x5555_5555_5555UL)]
    [InlineData(0xFFFF_FFFF_8100_0007UL)]
    [InlineData(0x2AAA_7FFF_FFFF_FFFFUL)]
    public void NoTwoKeys_LeadARipToTheSameLine(ulong rip)
    {
        for (ulong difference = 1; difference <= JumpCaches.LastGeneration; difference++)
        {
            Assert.NotEqual(StateLayout.JumpIndex(rip), StateLayout.JumpIndex(rip ^ (difference << JumpCaches.KeyShift)));
        }
    }

    // Targets that are near share the host's cache lines and pages: a kilobyte of code has 4 KiB of the table.
    [Fact]
    public void NearRips_HaveNearLines()
    {
        for (ulong rip = 0x7F00_1234_5000; rip < 0x7F00_1234_5400; rip++)
        {
            int lines = StateLayout.JumpIndex(rip + 4) - StateLayout.JumpIndex(rip);
            Assert.Equal(1, lines & (StateLayout.JumpCacheEntries - 1));
        }
    }

    [Fact]
    public void JumpThatMatchesAnOldLine_IsNotFound()
    {
        Fill(0x7F00_1234_5678, true, 0x1000);
        ulong tag = 0x7F00_1234_5678 ^ Key(true);
        for (ulong i = 0; i < JumpCaches.LastGeneration; i++)
        {
            _tlb.FlushNonGlobal();
            Assert.Equal(0UL, Find(tag ^ Key(true), true));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void JumpToTheKeyItself_MissesTheEmptyLine(bool user)
    {
        for (int i = 0; i < 0x8000; i++)
        {
            Assert.False(Hits(Key(user), user));
            _tlb.Jumps.Flush();
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void JumpToAKey_MissesTheLineOfABlockThatWent(bool user)
    {
        ulong rip = 0x40_0000;
        while (StateLayout.JumpIndex(rip) != StateLayout.JumpIndex(Key(user)))
        {
            rip++;
        }

        Fill(rip, user, 0x1000);
        Assert.True(Hits(rip, user));
        _tlb.Jumps.Drop(rip, user, (byte*)0x1000);
        for (int i = 0; i < 0x8000; i++)
        {
            Assert.False(Hits(rip, user));
            Assert.False(Hits(Key(user), user));
            _tlb.Jumps.Flush();
        }
    }

    [Fact]
    public void JumpToAKey_MissesAfterUsersTranslationsWent()
    {
        for (int i = 0; i < 0x8000; i++)
        {
            _tlb.FlushNonGlobal();
            Assert.False(Hits(Key(true), true));
            Assert.False(Hits(Key(false), false));
        }
    }

    [Fact]
    public void PageThatBecomesCode_LeavesLinesAndSlotsUnderAllItsAddresses()
    {
        ulong[] addresses = [0x40_0000, 0x7FFF_1000, 0x40_0000];
        for (int i = 0; i < addresses.Length; i++)
        {
            PageTranslation page = new() { Host = _ram.Base + 0x5000, User = true };
            _tlb.Fill(addresses[i], page, i != 2, true);
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
        _tlb.Fill(0x40_0000, code, true, true);
        _tlb.Fill(0x40_1000, data, true, true);
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

    private void KeepManySpaces()
    {
        for (int pcid = 10; pcid < 100; pcid++)
        {
            _tlb.SwitchSpace(pcid, pcid + 1, false);
        }
    }

    private void Fill(ulong rip, bool user, ulong host) => _tlb.Jumps.Fill(rip, rip, 1, user, true, (byte*)host);

    private ulong Key(bool user) => user ? _memory.State->UserJumpCacheKey : _memory.State->JumpCacheKey;

    // What generated code compares: it does not look at the code's address.
    private bool Hits(ulong rip, bool user)
    {
        JumpEntry* lines = (JumpEntry*)((byte*)_memory.State + StateLayout.JumpCache(user));
        return lines[StateLayout.JumpIndex(rip)].Tag == (rip ^ Key(user));
    }

    private ulong Find(ulong rip, bool user)
    {
        byte* line = _tlb.Jumps.Find(rip, user);
        return (ulong)(line != null ? line : _tlb.Jumps.Recall(rip, user));
    }
}
