using System;
using Hull.Memory;
using Hull.Xen;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>What Xen shares with a 32-bit guest: its words have 32 bits. Xen, public/xen.h, "struct shared_info".</summary>
public sealed class NarrowGuestTests : IDisposable
{
    private const int MemoryOp = 12;
    private const int SchedOp = 29;
    private const int EventChannelOp = 32;
    private const int HvmOp = 34;
    private const ushort Self = 0x7FF0;
    private const uint Frame = 0xA1;
    private const ulong Page = Frame << 12;

    private readonly TestDomain _domain = new();

    public NarrowGuestTests()
    {
        Assert.Equal(0, _domain.ShortCallWith(MemoryOp, 7, Self, 0, 0, Frame));
        Assert.Equal(0, _domain.ShortCallWith(HvmOp, 0, Self, HvmParameters.CallbackIrq, 1, 0));
    }

    public void Dispose() => _domain.Dispose();

    [Fact]
    public void WallClock_IsWhereA32BitGuestReadsIt()
    {
        DateTimeOffset boot = _domain.Time.Clock.UtcNow.AddTicks(-_domain.Domain.SystemTime.NowNs / 100);
        Assert.Equal(0u, Read(2304) & 1);
        Assert.Equal((uint)boot.ToUnixTimeSeconds(), Read(2308));
        Assert.Equal((uint)(boot.ToUnixTimeSeconds() >> 32), Read(2340));
    }

    [Fact]
    public void Event_SelectsAWordOf32Ports_UnlessItIsMasked()
    {
        uint port = 0;
        while (port < 40)
        {
            Assert.Equal(0, _domain.ShortCallWith(EventChannelOp, 7, 0, 0)); // an IPI to itself
            port = _domain.Word(1);
        }

        _domain.Memory.Write(new GuestPhysical(Page + 2176 + 4), 1u << 8); // masked
        Assert.Equal(0, _domain.ShortCallWith(EventChannelOp, 4, port));
        Assert.Equal((1u << 8, 0u), (Read(2048 + 4), Read(4)));

        Assert.Equal(0, _domain.ShortCallWith(EventChannelOp, 9, port));
        Assert.Equal((1u << 1, 1u), (Read(4), Read(0) & 0xFF)); // the selector, and that there is something
    }

    [Fact]
    public void GuestThatGoesOnIn64BitCode_HasTheOtherLayout()
    {
        Assert.Equal(0, _domain.CallWith(HvmOp, 0, Self, HvmParameters.CallbackIrq, 1, 0));
        Assert.Equal(0u, Read(3072) & 1);
        Assert.NotEqual(0u, Read(3076));
    }

    [Fact]
    public void Poll_ReadsA32BitStructure()
    {
        const uint list = 0x20_0000;
        _domain.Memory.Write(new GuestPhysical(list), 4000u);
        Assert.Equal(-22, _domain.ShortCallWith(SchedOp, 3, list, 1, 1, 0)); // no such port
        Assert.Equal(0, _domain.ShortCallWith(SchedOp, 3, 0xFFFF_FFF0, 0, 1, 0)); // no ports, a time that has passed
    }

    private uint Read(ulong offset) => _domain.Memory.Read<uint>(new GuestPhysical(Page + offset));
}
