using System;
using Hull.Devices.Virtio;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

/// <summary>
/// What no driver may do, on every device: it ends in a device that needs a reset (or a request that failed), never in an
/// exception, and works again behind a reset.
/// </summary>
public sealed class HostileRingTests : IDisposable
{
    private const ulong Data = VirtioDriver.DataAt;

    // In these the device cannot go on.
    private static readonly string[] Fatal =
    [
        "self-loop", "two-cycle", "indirect and next", "nested indirect", "indirect of 0",
        "indirect of 17", "indirect outside RAM", "indirect of 65536 entries", "indirect of 1025 buffers", "length 2^32-1",
        "address wraps", "address in a hole", "address in the device's own registers", "over the end of RAM",
        "readable after writable",
    ];

    private static readonly string[] FatalInSplit =
        ["next out of table", "available index jumps", "available index goes back", "head out of table"];

    // And in these the request may fail, or the device, as it likes.
    private static readonly string[] Odd =
    [
        "length 0", "all readable", "all writable", "one buffer twice", "one chain twice", "rings over each other",
        "buffer is the ring", "queue at address 0",
    ];

    private readonly HostileDevices _devices = new();

    public static TheoryData<string, string, bool> FatalCases => HostileDevices.EachWith(Fatal, FatalInSplit);

    public static TheoryData<string, string, bool> OddCases => HostileDevices.EachWith(Odd, []);

    public static TheoryData<string, bool> BothRings => HostileDevices.Both();

    public static TheoryData<string> Kinds => [.. HostileDevices.Kinds];

    [Theory]
    [MemberData(nameof(FatalCases))]
    public void BrokenRing_NeedsAReset_AndWorksBehindIt(string kind, string name, bool packed)
    {
        using VirtioDriver driver = _devices.Create(kind, packed);
        driver.Start(VirtioFeature.Version1 | VirtioFeature.IndirectDescriptors | HostileDevices.Features(kind));
        int queue = HostileDevices.QueueOf(kind, driver.Device);
        Lay(driver, queue, name);
        Assert.True(driver.NeedsReset, "the device goes on");
        Assert.Equal(0, driver.Used(queue));
        Assert.Equal(2ul, driver.TakeInterrupts() & 2);
        AssertWorks(driver, queue);
    }

    [Theory]
    [MemberData(nameof(OddCases))]
    public void OddRing_DoesNoHarm(string kind, string name, bool packed)
    {
        using VirtioDriver driver = _devices.Create(kind, packed);
        driver.Start(VirtioFeature.Version1 | VirtioFeature.IndirectDescriptors | HostileDevices.Features(kind));
        int queue = HostileDevices.QueueOf(kind, driver.Device);
        Lay(driver, queue, name);
        AssertWorks(driver, queue);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void RingThatIsLive_StaysWhereItIs(string kind)
    {
        using VirtioDriver driver = _devices.Create(kind);
        driver.Start();
        driver.WriteRegister(0x16, 2, 0);
        foreach (ulong register in (ReadOnlySpan<ulong>)[0x20, 0x28, 0x30])
        {
            ulong before = driver.Read(register, 8);
            driver.WriteRegister(register, 8, 0x7000);
            Assert.Equal(before, driver.Read(register, 8));
        }

        driver.WriteRegister(0x18, 2, 4);
        Assert.Equal(16ul, driver.Read(0x18, 2));
    }

    [Theory]
    [MemberData(nameof(BothRings))]
    public void AvailableIndexThatWraps_IsNothingSpecial(string kind, bool packed)
    {
        using VirtioDriver driver = _devices.Create(kind, packed);
        driver.Start(VirtioFeature.Version1 | HostileDevices.Features(kind));
        int queue = HostileDevices.QueueOf(kind, driver.Device);
        driver.Describe(queue, 0, Data, 64, VirtioDriver.Next, 1);
        driver.Describe(queue, 1, Data + 4096, 512, VirtioDriver.Write);
        for (int i = 0; i < 70_000; i++)
        {
            driver.Offer(queue, 0);
            Assert.Equal((i + 1) & 0xFFFF, driver.Used(queue));
        }

        Assert.False(driver.NeedsReset);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void ResetWhileRequestsAreUnderWay_LeavesNothingBehind(string kind)
    {
        using VirtioDriver driver = _devices.Create(kind, threads: true);
        int queue = HostileDevices.QueueOf(kind, driver.Device);
        for (int round = 0; round < 300; round++)
        {
            driver.Start(VirtioFeature.Version1 | HostileDevices.Features(kind));
            for (int i = 0; i < 8; i++)
            {
                driver.Describe(queue, 2 * i, Data, 64, VirtioDriver.Next, (2 * i) + 1);
                driver.Describe(queue, (2 * i) + 1, Data + 4096, 512, VirtioDriver.Write);
                driver.Offer(queue, (ushort)(2 * i));
            }

            driver.WriteRegister(0x14, 1, 0);
            driver.Memory.TryClear(new GuestPhysical(VirtioDriver.Table(queue)), VirtioDriver.RingBytes);
            Assert.Equal(0, driver.Used(queue));
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void ConfigurationSpace_TakesWritesOfEveryWidth(string kind)
    {
        using VirtioDriver driver = _devices.Create(kind);
        driver.Start();
        for (ulong at = 0; at < 128; at++)
        {
            foreach (int size in (ReadOnlySpan<int>)[1, 2, 4, 8])
            {
                driver.WriteRegister(0x2000 + at, size, ulong.MaxValue);
                driver.Read(0x2000 + at, size);
            }
        }

        Assert.False(driver.NeedsReset);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(0x8000)]
    public void QueueOfAWrongSize_IsNotEnabled(ushort size)
    {
        using VirtioDriver driver = _devices.Create("rng");
        driver.Start(size: size);
        Assert.Equal(0ul, driver.Read(0x1C, 2));
    }

    [Fact]
    public void QueueOutsideRam_IsNotEnabled()
    {
        using VirtioDriver driver = _devices.Create("rng");
        driver.Negotiate(VirtioFeature.Version1);
        driver.WriteRegister(0x16, 2, 0);
        driver.WriteRegister(0x20, 8, 0xFFFF_FFFF_FFFF_FFF0);
        driver.WriteRegister(0x1C, 2, 1);
        Assert.Equal(0ul, driver.Read(0x1C, 2));
    }

    [Fact]
    public void FeaturesThatAreNotOffered_AreNotAgreedOn()
    {
        using VirtioDriver driver = _devices.Create("rng");
        driver.Negotiate(VirtioFeature.Version1 | (1UL << 60));
        Assert.Equal(0ul, driver.Status & VirtioStatus.FeaturesOk);
        driver.WriteRegister(0x14, 1, driver.Status | VirtioStatus.DriverOk);
        Assert.Equal(0ul, driver.Status & VirtioStatus.DriverOk);
    }

    [Fact]
    public void EveryNotification_OfQueuesThatAreNotThere_IsIgnored()
    {
        using VirtioDriver driver = _devices.Create("rng");
        driver.Start();
        for (uint value = 0; value <= ushort.MaxValue; value++)
        {
            driver.WriteRegister(0x3000 + (value % 0x1000), 2, value);
        }

        Assert.False(driver.NeedsReset);
    }

    [Fact]
    public void EveryRegister_MayBeReadAndWrittenWithEveryWidth()
    {
        using VirtioDriver driver = _devices.Create("disk");
        Random random = new(7);
        for (int i = 0; i < 200_000; i++)
        {
            int size = 1 << random.Next(4);
            ulong at = (ulong)random.Next(i % 4 == 0 ? 0x4000 : 0x40);
            driver.WriteRegister(at, size, (ulong)random.NextInt64() >> random.Next(64));
            driver.Read(at, size);
        }
    }

    public void Dispose() => _devices.Dispose();

    private static void AssertWorks(VirtioDriver driver, int queue)
    {
        driver.Start();
        Assert.False(driver.NeedsReset);
        driver.Describe(queue, 0, Data, 64, VirtioDriver.Next, 1);
        driver.Describe(queue, 1, Data + 4096, 512, VirtioDriver.Write);
        driver.Memory.TryClear(new GuestPhysical(Data), 64);
        driver.Offer(queue, 0);
        Assert.False(driver.NeedsReset);
    }

    private static void Lay(VirtioDriver driver, int queue, string name)
    {
        const int next = VirtioDriver.Next;
        const int write = VirtioDriver.Write;
        const int indirect = VirtioDriver.Indirect;
        ulong end = driver.Memory.Size;
        ushort head = 0;
        switch (name)
        {
            case "self-loop":
                driver.Describe(queue, 0, Data, 16, next, 0);
                break;
            case "two-cycle":
                driver.Describe(queue, 0, Data, 16, next, 1);
                driver.Describe(queue, 1, Data, 16, next, 0);
                break;
            case "next out of table":
                driver.Describe(queue, 0, Data, 16, next, 16);
                break;
            case "indirect and next":
                driver.Describe(queue, 0, Data, 16, indirect | next, 1);
                break;
            case "nested indirect":
                driver.Describe(queue, 0, Data, 16, indirect);
                driver.DescribeAt(Data, Data + 64, 16, indirect);
                break;
            case "indirect of 0":
                driver.Describe(queue, 0, Data, 0, indirect);
                break;
            case "indirect of 17":
                driver.Describe(queue, 0, Data, 17, indirect);
                break;
            case "indirect outside RAM":
                driver.Describe(queue, 0, end - 16, 32, indirect);
                break;
            case "indirect of 65536 entries":
                driver.Describe(queue, 0, Data, 16 << 16, indirect);
                break;
            case "indirect of 1025 buffers":
                driver.Describe(queue, 0, Data, 16 * 1025, indirect);
                for (int i = 0; i < 1025; i++)
                {
                    driver.DescribeAt(Data + ((ulong)i * 16), Data, 1, i < 1024 ? next : 0, i + 1);
                }

                break;
            case "length 2^32-1":
                driver.Describe(queue, 0, Data, uint.MaxValue, write);
                break;
            case "address wraps":
                driver.Describe(queue, 0, ulong.MaxValue - 15, 32, write);
                break;
            case "address in a hole":
                driver.Describe(queue, 0, 0xFEE0_0000, 16, write);
                break;
            case "address in the device's own registers":
                driver.Describe(queue, 0, Hull.Platform.PlatformMap.PciMemoryBase, 16, write);
                break;
            case "over the end of RAM":
                driver.Describe(queue, 0, end - 8, 16, write);
                break;
            case "readable after writable":
                driver.Describe(queue, 0, Data, 16, write | next, 1);
                driver.Describe(queue, 1, Data, 16, 0);
                break;
            case "available index jumps":
                driver.Memory.Write(new GuestPhysical(VirtioDriver.Table(queue) + 0x8002), (ushort)100);
                driver.WriteRegister(0x3000 + (4 * (ulong)queue), 2, (ulong)queue);
                return;
            case "available index goes back":
                driver.Memory.Write(new GuestPhysical(VirtioDriver.Table(queue) + 0x8002), ushort.MaxValue);
                driver.WriteRegister(0x3000 + (4 * (ulong)queue), 2, (ulong)queue);
                return;
            case "length 0":
                driver.Describe(queue, 0, Data, 0, next, 1);
                driver.Describe(queue, 1, Data, 0, write);
                break;
            case "all readable":
                driver.Describe(queue, 0, Data, 256, 0);
                break;
            case "all writable":
                driver.Describe(queue, 0, Data, 256, write);
                break;
            case "one buffer twice":
                driver.Describe(queue, 0, Data, 256, next, 1);
                driver.Describe(queue, 1, Data, 256, write);
                break;
            case "one chain twice":
                driver.Describe(queue, 0, Data, 64, next, 1);
                driver.Describe(queue, 1, Data + 4096, 256, write);
                driver.Offer(queue, 0);
                break;
            case "rings over each other":
                driver.ReplaceQueue(queue, VirtioDriver.Table(queue), VirtioDriver.Table(queue), VirtioDriver.Table(queue));
                break;
            case "buffer is the ring":
                driver.Describe(queue, 0, VirtioDriver.Table(queue), 0x100, next, 1);
                driver.Describe(queue, 1, VirtioDriver.Table(queue), 0xD000, write);
                break;
            case "queue at address 0":
                driver.ReplaceQueue(queue, 0, 0, 0);
                break;
            case "head out of table":
                head = 500;
                break;
            default:
                throw new ArgumentException(name);
        }

        driver.Offer(queue, head);
    }
}
