using System;
using System.IO;
using Hull.Devices;
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
    private readonly string _image = Path.GetTempFileName();

    public HostileRingTests() => File.WriteAllBytes(_image, new byte[1 << 20]);

    public static TheoryData<string, string> Cases
    {
        get
        {
            TheoryData<string, string> cases = [];
            foreach (string kind in DeviceText.Kinds)
            {
                foreach (string name in (ReadOnlySpan<string>)["self-loop", "two-cycle", "next out of table",
                    "indirect and next", "nested indirect", "indirect of 0", "indirect of 17", "indirect outside RAM",
                    "length 2^32-1", "address wraps", "address in a hole", "over the end of RAM", "readable after writable",
                    "available index jumps", "head out of table"])
                {
                    cases.Add(kind, name);
                }
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void BrokenRing_NeedsAReset_AndWorksBehindIt(string kind, string name)
    {
        using VirtioDriver driver = new(Spec(kind));
        driver.Start(VirtioFeature.Version1 | VirtioFeature.IndirectDescriptors);
        int queue = driver.Device.Queues.Length - 1;
        Lay(driver, queue, name);
        Assert.True(driver.NeedsReset, "the device goes on");
        Assert.Equal(0, driver.Used(queue));
        Assert.Equal(2ul, driver.TakeInterrupts() & 2);

        driver.Start();
        Assert.False(driver.NeedsReset);
        driver.Describe(queue, 0, Data, 64, VirtioDriver.Next, 1);
        driver.Describe(queue, 1, Data + 4096, 512, VirtioDriver.Write);
        driver.Offer(queue, 0);
        Assert.False(driver.NeedsReset);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(0x8000)]
    public void QueueOfAWrongSize_IsNotEnabled(ushort size)
    {
        using VirtioDriver driver = new(Spec("rng"));
        driver.Start(size: size);
        Assert.Equal(0ul, driver.Read(0x1C, 2));
    }

    [Fact]
    public void QueueOutsideRam_IsNotEnabled()
    {
        using VirtioDriver driver = new(Spec("rng"));
        driver.Negotiate(VirtioFeature.Version1);
        driver.WriteRegister(0x16, 2, 0);
        driver.WriteRegister(0x20, 8, 0xFFFF_FFFF_FFFF_FFF0);
        driver.WriteRegister(0x1C, 2, 1);
        Assert.Equal(0ul, driver.Read(0x1C, 2));
    }

    [Fact]
    public void FeaturesThatAreNotOffered_AreNotAgreedOn()
    {
        using VirtioDriver driver = new(Spec("rng"));
        driver.Negotiate(VirtioFeature.Version1 | (1UL << 60));
        Assert.Equal(0ul, driver.Status & VirtioStatus.FeaturesOk);
        driver.WriteRegister(0x14, 1, driver.Status | VirtioStatus.DriverOk);
        Assert.Equal(0ul, driver.Status & VirtioStatus.DriverOk);
    }

    [Fact]
    public void EveryNotification_OfQueuesThatAreNotThere_IsIgnored()
    {
        using VirtioDriver driver = new(Spec("rng"));
        driver.Start();
        for (uint value = 0; value <= ushort.MaxValue; value++)
        {
            driver.WriteRegister(0x3000, 2, value);
        }

        Assert.False(driver.NeedsReset);
    }

    [Fact]
    public void EveryRegister_MayBeReadAndWrittenWithEveryWidth()
    {
        using VirtioDriver driver = new(Spec("disk"));
        Random random = new(7);
        for (int i = 0; i < 200_000; i++)
        {
            int size = 1 << random.Next(4);
            ulong at = (ulong)random.Next(i % 4 == 0 ? 0x4000 : 0x40);
            driver.WriteRegister(at, size, (ulong)random.NextInt64() >> random.Next(64));
            driver.Read(at, size);
        }
    }

    public void Dispose() => File.Delete(_image);

    private DeviceSpec Spec(string kind) => kind switch
    {
        "disk" => new DiskSpec { File = _image, Format = Hull.Storage.DiskFormat.Raw },
        "net" => new NetSpec { Unplugged = true },
        "rng" => new RngSpec { Source = "/dev/zero" },
        "fs" => new FsSpec { Path = Path.GetTempPath(), ReadOnly = true },
        "p9" => new P9Spec { Path = Path.GetTempPath(), ReadOnly = true },
        _ => DeviceText.Parse(kind),
    };

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
            case "length 2^32-1":
                driver.Describe(queue, 0, Data, uint.MaxValue, write);
                break;
            case "address wraps":
                driver.Describe(queue, 0, ulong.MaxValue - 15, 32, write);
                break;
            case "address in a hole":
                driver.Describe(queue, 0, 0xFEE0_0000, 16, write);
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
                driver.WriteRegister(0x3000, 2, (ulong)queue);
                return;
            case "head out of table":
                head = 500;
                break;
            default:
                throw new ArgumentException(name);
        }

        driver.Offer(queue, head);
    }
}
