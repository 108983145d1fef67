using System.Linq;
using System.Runtime.InteropServices;
using Hull.Memory;
using Hull.Xen;
using Hull.Xen.Grants;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>What a guest's hypercalls do, beyond their answers, which tests/xen/probe compares with real Xen's.</summary>
public sealed class DomainActionTests
{
    private const int MemoryOp = 12;
    private const int GrantTableOp = 20;
    private const int VcpuOp = 24;
    private const int SchedOp = 29;
    private const int EventChannelOp = 32;
    private const ushort Self = 0x7FF0;
    private const uint List = 0x20_0000;

    [Fact]
    public void PageThatWasGivenBack_IsGone_UntilItIsTakenAgain()
    {
        using TestDomain domain = new();
        GuestPhysical page = new(0x30_0000);
        domain.Memory.Write(page, 0x1234_5678u);
        domain.Memory.Write(new GuestPhysical(List), 0x300ul);
        long before = domain.CallWith(MemoryOp, 3, Self);

        Assert.Equal(1, domain.CallWith(MemoryOp, 1, List, 0, 1, 0, 0, 0, Self));
        Assert.Equal(before - 1, domain.CallWith(MemoryOp, 3, Self));
        Assert.False(domain.Domain.Reservation.Has(0x300));
        Assert.Equal(0u, domain.Memory.Read<uint>(page));
        domain.Memory.Write(page, 1u);
        Assert.Equal(1, domain.CallWith(MemoryOp, 6, List, 0, 1, 0, 0, 0, Self));
        Assert.Equal(before, domain.CallWith(MemoryOp, 3, Self));
        Assert.Equal(0u, domain.Memory.Read<uint>(page));
    }

    [Fact]
    public void GrantFrame_ThatWasTakenAway_KeepsItsEntries()
    {
        using TestDomain domain = new();
        Assert.Equal(0, domain.CallWith(MemoryOp, 7, Self, 1, 0, 0, 0x8000, 0));
        domain.Memory.Write(new GuestPhysical(0x800_0040), 0x0001_2345u);
        Assert.Equal(0, domain.CallWith(MemoryOp, 15, Self, 0, 0x8000, 0));
        Assert.False(domain.Memory.Contains(new GuestPhysical(0x800_0000), 1));
        Assert.Equal(-2, domain.CallWith(MemoryOp, 15, Self, 0, 0x8000, 0));

        Assert.Equal(0, domain.CallWith(MemoryOp, 7, Self, 1, 0, 0, 0x8001, 0));
        Assert.Equal(0x0001_2345u, domain.Memory.Read<uint>(new GuestPhysical(0x800_1040)));
    }

    [Fact]
    public void Watchdog_EndsADomain_ThatForgetsIt()
    {
        using TestDomain domain = new();
        Assert.Equal(1, domain.CallWith(SchedOp, 6, 0, 2));
        domain.Time.Advance(1_900_000_000);
        Assert.Equal(0, domain.CallWith(SchedOp, 6, 1, 2));
        domain.Time.Advance(1_900_000_000);
        Assert.Empty(domain.Crashes);
        domain.Time.Advance(200_000_000);
        Assert.Equal(["the guest's watchdog ran out"], domain.Crashes);
    }

    [Theory]
    [InlineData(0, 1, 0, null)]
    [InlineData(1, 0, 1, null)]
    [InlineData(3, 0, 0, "the guest told Xen that it crashed")]
    [InlineData(4, 0, 0, "the guest's watchdog ran out")]
    [InlineData(5, 0, 1, null)]
    [InlineData(77, 0, 0, "the guest ended for reason 77, which Xen does not know")]
    public void Shutdown_IsWhatItsReasonSays(int reason, int powerOffs, int resets, string? crash)
    {
        using TestDomain domain = new();
        domain.CallWith(SchedOp, 2, (uint)reason);
        Assert.Equal((powerOffs, resets, crash), (domain.PowerOffs, domain.Resets, domain.Crashes.FirstOrDefault()));
    }

    [Fact]
    public void ShutdownCode_IsTheReasonOfALaterPowerOff()
    {
        using TestDomain domain = new(vcpus: 1);
        Assert.Equal(0, domain.CallWith(SchedOp, 5, (uint)ShutdownReason.Reboot));
        domain.Personality.HaltedWithInterruptsOff(0);
        Assert.Equal((0, 1), (domain.PowerOffs, domain.Resets));
    }

    [Fact]
    public void PeriodicTimer_TicksUntilItIsStopped()
    {
        using TestDomain domain = new();
        Assert.Equal(0, domain.CallWith(MemoryOp, 7, Self, 0, 0, 0, 0x300, 0));
        Assert.Equal(0, domain.CallWith(EventChannelOp, 1, 0, 0, 0));
        EventBit timer = new(domain, (int)domain.Word(2));
        SetPeriod(domain, 2_000_000);

        Assert.Equal(0, domain.Call(VcpuOp, 6, 0, TestDomain.Argument));
        for (int i = 0; i < 3; i++)
        {
            Assert.False(timer.Take());
            domain.Time.Advance(2_000_000);
            Assert.True(timer.Take());
        }

        Assert.Equal(0, domain.Call(VcpuOp, 7, 0, 0));
        domain.Time.Advance(10_000_000);
        Assert.False(timer.Take());
    }

    [Fact]
    public void SendNmi_ReachesItsVcpu()
    {
        using TestDomain domain = new();
        Assert.Equal(0, domain.Call(VcpuOp, 11, 1, 0));
        Assert.Equal([1], domain.Nmis);
    }

    [Fact]
    public void VirqOfADomain_MayMoveToAnotherVcpu_AndIsFreeAfterwards()
    {
        using TestDomain domain = new();
        Assert.Equal(0, domain.CallWith(EventChannelOp, 1, 4, 0, 0));
        uint port = domain.Word(2);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 8, port, 1));
        Assert.Equal(0, domain.CallWith(EventChannelOp, 3, port));
        Assert.Equal(0, domain.CallWith(EventChannelOp, 1, 4, 0, 0));
        Assert.Equal(-22, domain.CallWith(EventChannelOp, 1, 5, 1, 0)); // at first it is vCPU 0's
    }

    [Fact]
    public void EntriesOfVersion2_GrantPages_AndSayWhoUsesThem()
    {
        using TestDomain domain = new();
        GrantTable grants = domain.Domain.Grants;
        Assert.Equal(0, domain.CallWith(MemoryOp, 7, Self, 1, 0, 0, 0x8000, 0));
        domain.Memory.Write(new GuestPhysical(0x800_0000), 0x0000_0123_0000_0001ul); // the console's, of version 1
        Assert.Equal(0, domain.CallWith(GrantTableOp, 8, 2));
        Assert.Equal(0, domain.CallWith(MemoryOp, 7, Self, 1, 0x8000_0000, 0, 0x8001, 0));
        Assert.Equal(0x123ul, domain.Memory.Read<ulong>(new GuestPhysical(0x800_0008)));

        domain.Memory.Write(new GuestPhysical(0x800_0000 + (9 * 16) + 8), 0x200ul);
        domain.Memory.Write(new GuestPhysical(0x800_0000 + (9 * 16)), 1u);
        Assert.True(grants.TryBegin(9, isWrite: true, out GuestPhysical page));
        Assert.Equal(0x20_0000ul, page.Value);
        Assert.Equal(0x18, domain.Memory.Read<ushort>(new GuestPhysical(0x800_1000 + 18)));
        Assert.Equal(-16, domain.CallWith(GrantTableOp, 8, 1)); // it is in use
        grants.End(9);
        Assert.Equal(0, domain.Memory.Read<ushort>(new GuestPhysical(0x800_1000 + 18)));
        domain.Memory.Write(new GuestPhysical(0x800_0000 + (9 * 16)), 0x0101u); // a part of a page
        Assert.False(grants.TryFind(9, isWrite: false, out _)); // only for copies, and only it
        domain.Memory.Write(new GuestPhysical(0x800_0000 + (9 * 16)), 0x0020_0040_0001_0101ul);
        Assert.True(grants.TryFindPart(9, isWrite: true, 1, out page, out GrantedPart part));
        Assert.Equal((0x20_0000ul, new GrantedPart(0x40, 0x20)), (page.Value, part));
        Assert.True(part.Holds(0x40, 0x20) && !part.Holds(0x3F, 1) && !part.Holds(0x40, 0x21));
        Assert.Equal(0, domain.CallWith(GrantTableOp, 8, 1));
        Assert.Equal(0x0000_0123_0000_0001ul, domain.Memory.Read<ulong>(new GuestPhysical(0x800_0000)));
    }

    [Fact]
    public void HypercallPage_HasNoIret()
    {
        using TestDomain domain = new();
        Assert.True(domain.Personality.TryWriteMsr(0, 0x4000_0000, 0x30_0000));
        Assert.Equal(0xC1_010F_0000_0011_B8ul, domain.Memory.Read<ulong>(new GuestPhysical(0x30_0000 + (17 * 32)))); // mov eax, 17; vmcall
        Assert.Equal(0x0B0F, domain.Memory.Read<ushort>(new GuestPhysical(0x30_0000 + (23 * 32))));
    }

    private static void SetPeriod(TestDomain domain, long periodNs) =>
        domain.Memory.TryWrite(new GuestPhysical(TestDomain.Argument), MemoryMarshal.AsBytes(new System.ReadOnlySpan<long>(in periodNs)));

    private readonly struct EventBit(TestDomain domain, int port)
    {
        internal bool Take()
        {
            GuestPhysical at = new(0x30_0000 + 2048);
            uint bits = domain.Memory.Read<uint>(at);
            domain.Memory.Write(at, bits & ~(1u << port));
            return (bits & (1u << port)) != 0;
        }
    }
}
