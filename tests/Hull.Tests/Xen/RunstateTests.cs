using System.Collections.Generic;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>The area in which a guest reads how much of its time it has lost.</summary>
public sealed class RunstateTests
{
    private const int VcpuOp = 24;
    private const int VmAssist = 21;
    private const int XenVersion = 17;
    private const ulong Area = 0x20_0000;
    private const long Ms = 1_000_000;

    [Fact]
    public void Area_TellsRunningWaitingAndIdleTime_AndFollowsAtHypercalls()
    {
        using TestDomain domain = new();
        domain.Time.Advance(10 * Ms);
        domain.VcpuTimes[0] = (6 * Ms, 1 * Ms);
        Assert.Equal(0, Register(domain));
        Assert.Equal((0, 10 * Ms, 6 * Ms, 1 * Ms, 3 * Ms, 0L), Read(domain));

        domain.VcpuTimes[0] = (7 * Ms, 3 * Ms);
        domain.Time.Advance(Ms / 2);
        domain.Call(XenVersion, 0, 0);
        Assert.Equal(10 * Ms, Read(domain).Entered); // it is not old enough

        domain.Time.Advance((4 * Ms) - (Ms / 2));
        domain.Call(XenVersion, 0, 0);
        Assert.Equal((0, 14 * Ms, 7 * Ms, 3 * Ms, 4 * Ms, 0L), Read(domain));
    }

    [Fact]
    public void Times_NeverGoBack_AndAddUp_WhateverTheHostSays()
    {
        using TestDomain domain = new();
        Assert.Equal(0, Register(domain));
        (int State, long Entered, long Running, long Runnable, long Blocked, long Offline) last = default;
        foreach ((long run, long wait) in (IEnumerable<(long, long)>)
            [(1, 1), (9, 0), (2, 50), (0, 0), (long.MaxValue, 0), (0, long.MaxValue), (-1, -1), (20, 3)])
        {
            domain.VcpuTimes[0] = (run is long.MaxValue ? run : run * Ms, wait is long.MaxValue ? wait : wait * Ms);
            domain.Time.Advance(3 * Ms);
            domain.Call(XenVersion, 0, 0);
            (int State, long Entered, long Running, long Runnable, long Blocked, long Offline) now = Read(domain);
            Assert.True(now.Running >= last.Running && now.Runnable >= last.Runnable && now.Blocked >= last.Blocked);
            Assert.Equal(domain.Time.NowNs, now.Running + now.Runnable + now.Blocked);
            last = now;
        }
    }

    [Fact]
    public void UpdateFlag_IsSetBeforeTheRest_AndClearedBehindIt()
    {
        using TestDomain domain = new();
        Assert.Equal(-22, domain.Call(VmAssist, 0, 6));
        Assert.Equal(0, domain.Call(VmAssist, 0, 5));
        List<(ulong At, int Length, byte Last)> stores = [];
        domain.Stored = (at, bytes) => stores.Add((at, bytes.Length, bytes.Length == 1 ? bytes[0] : bytes[15]));
        Assert.Equal(0, Register(domain));
        Assert.Equal([(Area + 15, 1, 0x80), (Area, 48, 0x80), (Area + 15, 1, 0)], stores);

        stores.Clear();
        Assert.Equal(0, domain.Call(VmAssist, 1, 5));
        domain.Time.Advance(2 * Ms);
        domain.Call(XenVersion, 0, 0);
        Assert.Equal([(Area, 48, 0)], stores);
    }

    [Fact]
    public void Area_OfA32BitGuest_IsNarrower()
    {
        using TestDomain domain = new();
        domain.VcpuTimes[0] = (2 * Ms, 1 * Ms);
        domain.Time.Advance(3 * Ms);
        domain.Is64Bit = false;
        (domain[0], domain[3], domain[1], domain[2]) = (VcpuOp, 5, 0, TestDomain.Argument);
        domain.Memory.Write(new GuestPhysical(TestDomain.Argument), (uint)Area);
        domain.Memory.Write(new GuestPhysical(Area + 44), 0x1234u);
        Assert.True(domain.Personality.TryHypercall(0, domain));
        Assert.Equal(0u, (uint)domain[0]);
        Assert.Equal(3 * Ms, domain.Memory.Read<long>(new GuestPhysical(Area + 4)));
        Assert.Equal(1 * Ms, domain.Memory.Read<long>(new GuestPhysical(Area + 20)));
        Assert.Equal(0x1234u, domain.Memory.Read<uint>(new GuestPhysical(Area + 44)));
    }

    private static long Register(TestDomain domain)
    {
        domain.Memory.Write(new GuestPhysical(TestDomain.Argument), Area);
        return domain.Call(VcpuOp, 5, 0, TestDomain.Argument);
    }

    private static (int State, long Entered, long Running, long Runnable, long Blocked, long Offline) Read(TestDomain domain) => (
        domain.Memory.Read<int>(new GuestPhysical(Area)),
        Long(domain, 8), Long(domain, 16), Long(domain, 24), Long(domain, 32), Long(domain, 40));

    private static long Long(TestDomain domain, ulong offset) => domain.Memory.Read<long>(new GuestPhysical(Area + offset));
}
