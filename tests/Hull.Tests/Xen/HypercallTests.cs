using Hull.Engine;
using Hull.Memory;
using Hull.Xen;
using Xunit;

namespace Hull.Tests.Xen;

public sealed class HypercallTests
{
    private const int MemoryOp = 12;
    private const int XenVersion = 17;
    private const int VcpuOp = 24;
    private const int EventChannelOp = 32;
    private const int HvmOp = 34;

    [Fact]
    public void Leaves_SayXen417_WithTheUpcallVector()
    {
        using TestDomain domain = new();

        Assert.True(domain.Personality.TryCpuid(1, 0x4000_0000, 0, out CpuidResult first));
        Assert.Equal((0x4000_0005u, 0x566E_6558u), (first.Eax, first.Ebx));
        Assert.True(domain.Personality.TryCpuid(1, 0x4000_0001, 0, out CpuidResult version));
        Assert.Equal(0x0004_0011u, version.Eax);
        Assert.True(domain.Personality.TryCpuid(1, 0x4000_0004, 0, out CpuidResult features));
        Assert.Equal((0x5Cu, 1u, 1u), (features.Eax, features.Ebx, features.Ecx));
        Assert.False(domain.Personality.TryCpuid(1, 0x4000_0100, 0, out _));
    }

    [Fact]
    public void Caller_OutsideRing0_IsNotPermitted()
    {
        using TestDomain domain = new() { Cpl = 3 };

        Assert.Equal(-1, domain.Call(XenVersion, 0, 0));
    }

    [Theory]
    [InlineData(XenVersion, 0ul, 0ul, 0x4_0011L)]
    [InlineData(XenVersion, 6ul, 0xFFFF_F000ul, -14L)] // nothing is there
    [InlineData(XenVersion, 11ul, 0ul, -38L)]
    [InlineData(MemoryOp, 7ul, 0x3F_FFF8ul, -14L)] // across the end of RAM
    [InlineData(HvmOp, 9ul, 0x10_0000ul, -95L)] // of dom0
    [InlineData(EventChannelOp, 99ul, 0x10_0000ul, -38L)]
    [InlineData(63, 0ul, 0ul, -38L)]
    public void Results_AreXens(int number, ulong first, ulong second, long result)
    {
        using TestDomain domain = new();

        Assert.Equal(result, domain.Call(number, first, second));
    }

    [Fact]
    public void Upcall_ComesWithTheVector_OnceUntilTheGuestLooked()
    {
        using TestDomain domain = new();
        Assert.Equal(0, domain.CallWith(MemoryOp, 7, 0x7FF0, 0, 0, 0, 0x200, 0)); // shared_info at frame 0x200
        Assert.Equal(0, domain.CallWith(HvmOp, 23, 0, 0xF3));
        domain.Injected.Clear();
        Assert.Equal(0, domain.CallWith(EventChannelOp, 7, 0, 0)); // an IPI port for vCPU 0
        uint port = domain.Word(1);

        Assert.Equal(0, domain.CallWith(EventChannelOp, 4, port));
        Assert.Equal(0, domain.CallWith(EventChannelOp, 4, port));

        Assert.Equal([(0, (byte)0xF3)], domain.Injected);
        Assert.Equal(1, domain.Memory.Read<byte>(new GuestPhysical(0x20_0000)));
        Assert.Equal(1u << (int)port, domain.Memory.Read<uint>(new GuestPhysical(0x20_0000 + 2048)));
    }

    // Linux before 6.0 knows nothing else.
    [Fact]
    public void UpcallWithoutAVectorOfTheVcpus_ComesPastItsApic()
    {
        const ulong TypeVector = 2UL << 56;
        using TestDomain domain = new();
        domain.CallWith(MemoryOp, 7, 0x7FF0, 0, 0, 0, 0x200, 0);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 7, 0, 0));
        uint port = domain.Word(1);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 4, port));
        Assert.Empty(domain.Past!);

        SetCallback(domain, TypeVector | 0xF3);
        Assert.Equal([(0, (byte)0xF3)], domain.Past!); // what was pending before
        Look(domain);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 4, port));
        Assert.Equal([(0, (byte)0xF3), (0, (byte)0xF3)], domain.Past!);
        SetCallback(domain, 1); // a GSI
        Look(domain);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 4, port));
        Assert.Equal(2, domain.Past!.Count);
        Assert.Empty(domain.Injected);
    }

    [Fact]
    public void UpcallPastTheApic_ThatTheEngineHasNoWayFor_EndsTheGuestWithTheReason()
    {
        using TestDomain domain = new() { Past = null };
        domain.CallWith(MemoryOp, 7, 0x7FF0, 0, 0, 0, 0x200, 0);
        SetCallback(domain, (2UL << 56) | 0xF3);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 7, 0, 0));
        Assert.Empty(domain.Crashes);

        Assert.Equal(0, domain.CallWith(EventChannelOp, 4, domain.Word(1)));

        Assert.Contains("--engine soft", Assert.Single(domain.Crashes), System.StringComparison.Ordinal);
    }

    // The guest's handler: upcall_pending, the selector, the port's bit.
    private static void Look(TestDomain domain)
    {
        domain.Memory.Write(new GuestPhysical(0x20_0000), (byte)0);
        domain.Memory.Write(new GuestPhysical(0x20_0000 + 8), 0UL);
        domain.Memory.Write(new GuestPhysical(0x20_0000 + 2048), 0u);
    }

    private static void SetCallback(TestDomain domain, ulong via) =>
        Assert.Equal(0, domain.CallWith(HvmOp, 0, 0x7FF0, HvmParameters.CallbackIrq, (uint)via, (uint)(via >> 32)));

    [Fact]
    public void SingleShotTimer_RaisesItsVirqAtItsTime()
    {
        using TestDomain domain = new();
        domain.CallWith(MemoryOp, 7, 0x7FF0, 0, 0, 0, 0x200, 0);
        domain.CallWith(HvmOp, 23, 0, 0xF3);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 1, 0, 0, 0));
        int port = (int)domain.Word(2);
        domain.Memory.TryWrite(new GuestPhysical(TestDomain.Argument), System.BitConverter.GetBytes(5_000_000UL));
        domain.Memory.Write(new GuestPhysical(TestDomain.Argument + 8), 1u);

        Assert.Equal(0, domain.Call(VcpuOp, 8, 0, TestDomain.Argument));
        domain.Time.Advance(4_999_999);
        Assert.False(domain.Domain.Events.IsPending(domain.Domain.Events.Ports[port]));
        domain.Time.Advance(2);
        Assert.True(domain.Domain.Events.IsPending(domain.Domain.Events.Ports[port]));
        Assert.Equal(0, domain.Call(VcpuOp, 8, 0, TestDomain.Argument)); // in the past now: Xen 4.17 does not mind
    }

    // A counter that is half a percent slower than it was measured to be, or faster.
    [Theory]
    [InlineData(1990, 1_005_020_000)]
    [InlineData(2010, 995_020_000)]
    public void TimerOfAGuestWhoseClockDrifts_FiresWhenThatClockSays(long ticksInAThousandNs, long firesNs)
    {
        using TestDomain domain = new();
        domain.Time.TicksInAThousandNs = ticksInAThousandNs;
        domain.CallWith(MemoryOp, 7, 0x7FF0, 0, 0, 0, 0x200, 0);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 1, 0, 0, 0));
        int port = (int)domain.Word(2);
        domain.Time.Advance(firesNs - 20_000_000);
        domain.Memory.TryWrite(new GuestPhysical(TestDomain.Argument), System.BitConverter.GetBytes(1_000_000_000UL));
        domain.Memory.Write(new GuestPhysical(TestDomain.Argument + 8), 1u);
        Assert.Equal(0, domain.Call(VcpuOp, 8, 0, TestDomain.Argument));
        domain.Time.Advance(19_900_000);
        Assert.False(domain.Domain.Events.IsPending(domain.Domain.Events.Ports[port]));
        domain.Time.Advance(400_000); // half a percent of what was left
        Assert.True(domain.Domain.Events.IsPending(domain.Domain.Events.Ports[port]));
        Assert.InRange(domain.Time.Fired, 1, 4);
    }

    [Fact]
    public void MemoryMap_IsTheToolstacks_UntilTheGuestSaysOtherwise()
    {
        using TestDomain domain = new();
        const uint buffer = 0x20_0000;
        Assert.Equal(0, domain.CallWith(MemoryOp, 9, 128, 0, buffer, 0));
        Assert.Equal(2u, domain.Word(0));
        Assert.Equal(0x10_0000ul, domain.Memory.Read<ulong>(new GuestPhysical(buffer + 20)));
        Assert.Equal(0, domain.CallWith(MemoryOp, 9, 1, 0, buffer, 0)); // room for one
        Assert.Equal(1u, domain.Word(0));

        Assert.Equal(0, domain.CallWith(MemoryOp, 13, 0x7FF0, 0, 1, 0, buffer, 0));
        Assert.Equal(0, domain.CallWith(MemoryOp, 9, 128, 0, buffer, 0));
        Assert.Equal(1u, domain.Word(0));
        Assert.Equal(-22, domain.CallWith(MemoryOp, 13, 0x7FF0, 0, 1025, 0, buffer, 0));
        Assert.Equal(-3, domain.CallWith(MemoryOp, 13, 5, 0, 1, 0, buffer, 0));
    }

    // What Debian's Xen 4.17.7 answers to its dom0 (/dev/xen/privcmd) when the argument is no address, and there is one element of a list
    // (two, where that is named).
    [Theory]
    [InlineData(17, 0u, 0, false)] // xen_version(version) has no argument
    [InlineData(17, 1u, -14, true)]
    [InlineData(17, 6u, -14, true)]
    [InlineData(17, 7u, -22, true)] // pagesize: it must be null
    [InlineData(MemoryOp, 3u, -14, true)] // current_reservation
    [InlineData(MemoryOp, 4u, -14, true)]
    [InlineData(MemoryOp, 7u, -14, true)] // add_to_physmap
    [InlineData(MemoryOp, 9u, -14, true)]
    [InlineData(MemoryOp, 13u, -14, true)]
    [InlineData(MemoryOp, 14u, -14, true)] // maximum_gpfn
    [InlineData(MemoryOp, 15u, -14, true)]
    [InlineData(MemoryOp, 26u, -14, true)] // get_vnumainfo
    [InlineData(MemoryOp, 8u, -38, true)] // translate_gpfn_list is gone
    [InlineData(20, 2u, -22, true, 0ul)] // setup_table: exactly one
    [InlineData(20, 2u, -14, true)]
    [InlineData(20, 6u, -22, true, 0ul)] // query_size
    [InlineData(20, 6u, -14, true)]
    [InlineData(20, 8u, -14, true, 0ul)] // set_version and get_version do not count
    [InlineData(20, 10u, -14, true, 0ul)]
    [InlineData(20, 13u, -38, true)]
    [InlineData(32, 0u, -14, true)] // bind_interdomain, and so on
    [InlineData(32, 1u, -14, true)]
    [InlineData(32, 3u, -14, true)]
    [InlineData(32, 4u, -14, true)]
    [InlineData(32, 5u, -14, true)]
    [InlineData(32, 6u, -14, true)]
    [InlineData(32, 7u, -14, true)]
    [InlineData(32, 8u, -14, true)]
    [InlineData(32, 9u, -14, true)]
    [InlineData(32, 11u, -14, true)]
    [InlineData(32, 12u, -14, true)]
    [InlineData(32, 13u, -14, true)]
    [InlineData(32, 15u, -38, true)]
    public void WildArgument_GetsXensOwnError(int number, uint operation, int error, bool isError, ulong count = 1)
    {
        using TestDomain domain = new();
        long result = domain.Call(number, operation, 0xDEAD_0000_0000_0000, count);
        Assert.True(isError ? result == error : result > 0, $"{result}");
    }

    [Theory]
    [InlineData(3ul)]
    [InlineData(4ul)]
    [InlineData(14ul)]
    public void MemoryOfAnotherDomain_IsNotToBeAskedFor(ulong operation)
    {
        using TestDomain domain = new();
        Assert.True(domain.CallWith(MemoryOp, operation, 0x7FF0) > 0);
        Assert.True(domain.CallWith(MemoryOp, operation, 1) > 0);
        Assert.Equal(-1, domain.CallWith(MemoryOp, operation, 0));
        Assert.Equal(-3, domain.CallWith(MemoryOp, operation, 9));
    }

    [Fact]
    public void Structures_OfA32BitCaller_AreNarrower()
    {
        using TestDomain domain = new();
        const uint buffer = 0x20_0000;
        Assert.Equal(0, domain.ShortCallWith(MemoryOp, 9, 128, buffer));
        Assert.Equal(2u, domain.Word(0));
        Assert.Equal(0xA_0000ul, domain.Memory.Read<ulong>(new GuestPhysical(buffer + 8)));
        Assert.Equal(0, domain.ShortCallWith(MemoryOp, 13, 0x7FF0, 2, buffer));
        Assert.Equal(0, domain.ShortCallWith(MemoryOp, 7, 0x7FF0, 1, 0, 0xA0)); // a grant frame over RAM
        Assert.Equal(0, domain.ShortCallWith(MemoryOp, 7, 0x7FF0, 0, 0, 0xA1));
        Assert.Equal(0xA_1000ul, domain.Domain.SharedInfo.Page!.Value.Value);

        Assert.Equal(0, domain.ShortCallWith(20, 2, 0x7FF0, 2, 0, buffer)); // setup_table: the first is placed, the second nowhere
        Assert.Equal(0xA0u, domain.Memory.Read<uint>(new GuestPhysical(buffer)));
        Assert.Equal(0x000F_FFFFu, domain.Memory.Read<uint>(new GuestPhysical(buffer + 4)) & 0x000F_FFFF);
    }

    [Fact]
    public void GrantFrame_KeepsItsEntries_WhenItIsPlacedAnew()
    {
        using TestDomain domain = new();
        Assert.Equal(0, domain.CallWith(MemoryOp, 7, 0x7FF0, 1, 0, 0, 0xA0, 0));
        domain.Memory.Write(new GuestPhysical(0xA_0040), 0x0001_2345u);
        Assert.Equal(0, domain.CallWith(MemoryOp, 7, 0x7FF0, 1, 0, 0, 0x8000, 0)); // where no RAM is
        Assert.Equal(0x0001_2345u, domain.Memory.Read<uint>(new GuestPhysical(0x800_0040)));
    }

    [Fact]
    public void Trace_HasALineForEachCall()
    {
        using TestDomain domain = new();
        domain.CallWith(EventChannelOp, 6, 0x7FF0, 0);
        domain.CallWith(EventChannelOp, 4, 500);
        domain.Call(VcpuOp, 9, 0, 0);
        domain.Call(99, 1, 2, 3);
        domain.ShortCallWith(MemoryOp, 7, 0x7FF0, 0, 0, 0xA1);

        Assert.Equal(
            [
                "0.000000 vcpu0 event_channel_op(alloc_unbound, dom=DOMID_SELF, remote_dom=0) = 0, port=3",
                "0.000000 vcpu0 event_channel_op(send, port=500) = -22 (EINVAL)",
                "0.000000 vcpu0 vcpu_op(stop_singleshot_timer, vcpu=0) = 0",
                "0.000000 vcpu0 hypercall_99(0x1, 0x2, 0x3) = -38 (ENOSYS)",
                "0.000000 vcpu0 memory_op(add_to_physmap, domid=DOMID_SELF, space=0, idx=0, gpfn=161) = 0",
            ],
            domain.Trace);
    }

    [Fact]
    public void LastVcpuDown_IsPowerOff()
    {
        using TestDomain domain = new();

        domain.Personality.HaltedWithInterruptsOff(1);
        Assert.Equal(0, domain.PowerOffs);
        domain.Personality.HaltedWithInterruptsOff(0);
        Assert.Equal(1, domain.PowerOffs);
    }

    [Fact]
    public void VcpuThatWasStartedAgain_IsNotDown()
    {
        using TestDomain domain = new();
        domain.Personality.TryCpuid(1, 1, 0, out _);

        domain.Personality.HaltedWithInterruptsOff(0);
        domain.Call(XenVersion, 0, 0); // by vCPU 0
        domain.Personality.HaltedWithInterruptsOff(1);
        Assert.Equal(0, domain.PowerOffs);
    }

    [Fact]
    public void VcpuThatWasNeverStarted_IsOffline_AndDoesNotHoldUpThePowerOff()
    {
        using TestDomain domain = new();
        domain.Time.Advance(5_000_000);

        Assert.Equal(0, domain.Call(VcpuOp, 3, 1));
        Assert.Equal(-22, domain.Call(VcpuOp, 1, 1));
        Assert.Equal(0, domain.Call(VcpuOp, 4, 1, TestDomain.Argument));
        Assert.Equal((3u, 5_000_000u), (domain.Word(0), domain.Word(10))); // RUNSTATE_offline, since the beginning
        domain.Personality.HaltedWithInterruptsOff(0);
        Assert.Equal(1, domain.PowerOffs);
    }

    [Fact]
    public void Reset_ClosesAllPorts_AndDom0sEndsWaitForTheGuest()
    {
        using TestDomain domain = new();
        Assert.Equal(0, domain.CallWith(EventChannelOp, 5, 0x7FF0, 2, 0, 0, 0, 0));
        uint remote = domain.Word(5);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 10, 0x7FF0));
        Assert.Equal(0, domain.CallWith(EventChannelOp, 5, 0x7FF0, 2));
        Assert.Equal(0u, domain.Word(2)); // closed
        Assert.Equal(-22, domain.CallWith(EventChannelOp, 0, 0, remote + 1));
        Assert.Equal(0, domain.CallWith(EventChannelOp, 6, 0x7FF0)); // takes the store's old number
        Assert.Equal(0, domain.CallWith(EventChannelOp, 6, 0x7FF0)); // and the console's

        Assert.Equal(0, domain.CallWith(EventChannelOp, 0, 0, remote));

        uint console = domain.Word(2);
        Assert.Equal(3u, console);
        Assert.Equal(-22, domain.CallWith(EventChannelOp, 0, 0, remote)); // it waits no more
        domain.Memory.TryWrite(new GuestPhysical((SpecialPages.ConsoleFrame << 12) + 1024), "again"u8);
        domain.Memory.Write(new GuestPhysical((SpecialPages.ConsoleFrame << 12) + 3084), 5u);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 4, console));
        Assert.Equal("again"u8.ToArray(), domain.Console);
    }

    [Fact]
    public void Ports_EndAtTheirLimit()
    {
        using TestDomain domain = new();
        long result = 0;
        for (int i = 0; i < 2000 && result == 0; i++)
        {
            result = domain.CallWith(EventChannelOp, 6, 0x7FF0);
        }

        Assert.Equal(-28, result);
        Assert.Equal(1024, domain.Domain.Events.Ports.Count);
    }
}
