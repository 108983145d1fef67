using System;
using Hull.Memory;
using Hull.Xen.Block;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>Pages that a disk's front end keeps granted.</summary>
public sealed class BlockGrantsTests : IDisposable
{
    private const ulong Table = 0x8000UL << 12;
    private const ulong Page = 0x10_8000;
    private const uint InUse = 0x18;

    private readonly TestDomain _domain = new();
    private readonly SteppedTime _time = new();

    public BlockGrantsTests()
    {
        for (uint frame = 0; frame < 8; frame++)
        {
            Assert.Equal(0, _domain.CallWith(12, 7, 0x7FF0, 1, frame, 0, 0x8000 + frame, 0));
        }
    }

    public void Dispose() => _domain.Dispose();

    [Fact]
    public void Page_IsInUseFromItsFirstNaming_AndFoundAlthoughItsEntryChanges()
    {
        Grant(8, 1, Page);
        using (BlockGrants grants = New())
        {
            Assert.True(grants.TryFind(8, isWrite: false, out GuestPhysical page));
            Assert.Equal(Page, page.Value);
            Assert.Equal(InUse, Flags(8) & InUse);

            Grant(8, 0, 0); // a guest that breaks the protocol gets what was mapped
            Assert.True(grants.TryFind(8, isWrite: true, out page));
            Assert.Equal(Page, page.Value);
            Grant(8, 1 | InUse, Page);
        }

        Assert.Equal(0u, Flags(8) & InUse);
    }

    [Fact]
    public void ReadOnlyPage_IsNotHeld_AndNotWritten()
    {
        Grant(8, 1 | 4, Page);
        using BlockGrants grants = New();

        Assert.True(grants.TryFind(8, isWrite: false, out _));
        Assert.False(grants.TryFind(8, isWrite: true, out _));
        Assert.Equal((0, 0u), (grants.Count, Flags(8) & InUse));
    }

    [Fact]
    public void WithoutTheFeature_NothingIsHeld()
    {
        Grant(8, 1, Page);
        using BlockGrants grants = new(_domain.Domain.Grants, arePersistent: false, _time);

        Assert.True(grants.TryFind(8, isWrite: true, out _));
        Assert.Equal((0, 0u), (grants.Count, Flags(8) & InUse));
    }

    [Fact]
    public void PagesBeyondTheLimit_AreFoundAndNotHeld_UntilOthersWereNotNamedForAMinute()
    {
        using BlockGrants grants = New();
        for (uint i = 0; i < BlockGrants.Most + 10; i++)
        {
            Grant(8 + i, 1, Page);
            Assert.True(grants.TryFind(8 + i, isWrite: true, out _));
        }

        const uint last = 8 + BlockGrants.Most + 9;
        Assert.Equal((BlockGrants.Most, 0u), (grants.Count, Flags(last) & InUse));

        _time.Step(TimeSpan.FromSeconds(61));
        Assert.True(grants.TryFind(8, isWrite: true, out _)); // is held, and used now
        Assert.True(grants.TryFind(last, isWrite: true, out _));

        Assert.Equal(2, grants.Count);
        Assert.Equal((InUse, InUse, 0u), (Flags(8) & InUse, Flags(last) & InUse, Flags(9) & InUse));
    }

    private BlockGrants New() => new(_domain.Domain.Grants, arePersistent: true, _time);

    private void Grant(uint reference, uint flags, ulong page) =>
        _domain.Memory.Write(new GuestPhysical(Table + (reference * 8)), flags | (page >> 12 << 32));

    private uint Flags(uint reference) => _domain.Memory.Read<uint>(new GuestPhysical(Table + (reference * 8)));

    private sealed class SteppedTime : TimeProvider
    {
        private long _now = 1;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _now;

        internal void Step(TimeSpan by) => _now += by.Ticks;
    }
}
