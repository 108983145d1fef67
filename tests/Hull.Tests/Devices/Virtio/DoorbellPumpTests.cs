using System.IO;
using System.Threading;
using Hull.Devices.Virtio;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

/// <summary>Devices whose notifications an engine has taken over: rings come from nowhere, at any time.</summary>
[Collection("Alone")]
public sealed class DoorbellPumpTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Ring_IsAsGoodAsAWrite(bool packed)
    {
        using VirtioDriver driver = Create(packed);
        driver.Start();
        for (int i = 0; i < 1000; i++)
        {
            Assert.Equal(64, driver.Request(0, [], 64)?.Length);
        }
    }

    [Fact]
    public void RingsBeforeTheDriverIsReady_DoNothing()
    {
        using VirtioDriver driver = Create();
        driver.Negotiate(VirtioFeature.Version1);
        driver.SetUpQueue(0, 16);
        driver.Describe(0, 0, VirtioDriver.DataAt, 64, VirtioDriver.Write);
        driver.Offer(0, 0);
        Thread.Sleep(50); // nothing can be waited for
        Assert.Equal(0, driver.Used(0));
        driver.WriteRegister(0x14, 1, driver.Status | VirtioStatus.DriverOk);
        driver.Ring(0);
        Assert.True(driver.WaitUsed(0, out _, out uint length));
        Assert.Equal(64u, length);
    }

    [Fact]
    public void ResetDevice_TakesNothingUntilItRunsAgain()
    {
        using VirtioDriver driver = Create();
        for (int i = 0; i < 100; i++)
        {
            driver.Start();
            Assert.NotNull(driver.Request(0, [], 64));
            driver.WriteRegister(0x14, 1, 0);
            driver.Ring(0);
            Assert.False(driver.Device.BellOf(0)!.IsOpen);
        }
    }

    [Fact]
    public void FailedDriver_RingsInVain()
    {
        using VirtioDriver driver = Create();
        driver.Start();
        driver.WriteRegister(0x14, 1, driver.Status | VirtioStatus.Failed);
        Assert.False(driver.Device.BellOf(0)!.IsOpen);
    }

    [Fact]
    public void SlowRequests_DoNotHoldUpTheOthers()
    {
        using VirtioDriver driver = new(new P9Spec { Path = Path.GetTempPath() }.Create, threads: true, bells: true);
        driver.Start();
        for (int i = 0; i < 200; i++)
        {
            // Tversion: size, type 100, tag, msize, "9P2000.L".
            byte[] request = [21, 0, 0, 0, 100, 255, 255, 0, 16, 0, 0, 8, 0, .. "9P2000.L"u8];
            Assert.Equal((byte?)101, driver.Request(0, request, 4096)?[4]);
        }
    }

    [Fact]
    public void DevicesThatAreGone_LeaveNoDescriptorOrThread()
    {
        Cycle(5);
        int descriptors = Count("/proc/self/fd");
        int threads = Count("/proc/self/task");
        Cycle(100);
        Assert.InRange(Count("/proc/self/fd") - descriptors, -100, 4);
        Assert.InRange(Count("/proc/self/task") - threads, -100, 8);
    }

    private static VirtioDriver Create(bool packed = false) =>
        new(new RngSpec { Source = "/dev/zero" }.Create, threads: true, packed, bells: true);

    private static void Cycle(int times)
    {
        for (int i = 0; i < times; i++)
        {
            using VirtioDriver driver = Create();
            driver.Start();
            Assert.NotNull(driver.Request(0, [], 64));
        }
    }

    private static int Count(string folder) => Directory.GetFileSystemEntries(folder).Length;
}
