using System;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Threading;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

public sealed class BalloonDeviceTests
{
    private const ulong Statistics = 1UL << 1;
    private const ulong Poison = 1UL << 4;
    private const ulong Reporting = 1UL << 5;
    private const ulong Page = 0x80_0000;

    [Fact]
    public void InflatedPages_AreEmpty_AndCanBeUsedAgain()
    {
        using VirtioDriver driver = Start();
        Fill(driver, Page, 8);
        driver.Request(0, Frames(0x800, 0x801, 0x803), 0);
        Assert.Equal([0, 0, 0x55, 0], [First(driver, 0), First(driver, 1), First(driver, 2), First(driver, 3)]);
        Fill(driver, Page, 1);
        Assert.Equal(0x55, First(driver, 0));
    }

    [Fact]
    public void FramesOutsideRam_AreIgnored()
    {
        using VirtioDriver driver = Start();
        driver.Request(0, Frames(0xFFFF_FFFF, 0xFEE00, 0x1000, 0xFFF), 0);
        Assert.False(driver.NeedsReset);
    }

    [Fact]
    public void PageOfTranslatedCode_IsToldToTheEngine()
    {
        using VirtioDriver driver = Start();
        Watcher watcher = new();
        driver.Memory.Pages.Watch(watcher);
        driver.Memory.Pages.CodeGrains(0x801) = 1;
        driver.Request(0, Frames(0x800, 0x801, 0x802), 0);
        Assert.Equal((0x80_0000ul, 0x3000ul), watcher.Last);
    }

    [Fact]
    public void Target_IsInPages()
    {
        using VirtioDriver driver = Start();
        ((BalloonDevice)driver.Device).SetTarget(driver.Memory.Size - (1 << 20));
        Assert.Equal(256ul, driver.Read(0x2000, 4));
        driver.WriteRegister(0x2004, 4, 100);
        Assert.Equal(driver.Memory.Size - (100 * 4096), ((BalloonDevice)driver.Device).Size);
    }

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(0xAAAA_AAAAu, 0x55)]
    public void ReportedPages_GoBack_UnlessTheGuestWantsItsPoisonInThem(uint poison, byte left)
    {
        using VirtioDriver driver = Start(Reporting | Poison);
        driver.WriteRegister(0x200C, 4, poison);
        Fill(driver, Page, 4);
        driver.Describe(2, 0, Page, 4 * 4096, VirtioDriver.Write);
        driver.Offer(2, 0);
        Assert.Equal(left, First(driver, 3));
        Assert.Equal(1, driver.Used(2));
    }

    [Fact]
    public void ReportingQueue_ComesBehindTheStatistics()
    {
        using VirtioDriver driver = Start(Reporting | Statistics);
        Fill(driver, Page, 1);
        driver.Describe(3, 0, Page, 4096, VirtioDriver.Write);
        driver.Offer(3, 0);
        Assert.Equal(0, First(driver, 0));
    }

    [Fact]
    public void Statistics_AreAskedForWhenWanted()
    {
        using VirtioDriver driver = Start(Statistics);
        BalloonDevice balloon = (BalloonDevice)driver.Device;
        byte[] statistic = new byte[10];
        BinaryPrimitives.WriteUInt16LittleEndian(statistic, 4);
        BinaryPrimitives.WriteUInt64LittleEndian(statistic.AsSpan(2), 12345);
        driver.Memory.TryWrite(new GuestPhysical(VirtioDriver.DataAt), statistic);
        driver.Describe(2, 0, VirtioDriver.DataAt, 10, 0);
        driver.Offer(2, 0);
        Assert.Equal(0, driver.Used(2));
        Assert.Null(balloon.ReadStatistics(TimeSpan.Zero)); // asked now; this driver has not answered
        Assert.Equal(1, driver.Used(2));

        BinaryPrimitives.WriteUInt64LittleEndian(statistic.AsSpan(2), 23456);
        driver.Memory.TryWrite(new GuestPhysical(VirtioDriver.DataAt), statistic);
        using Timer answer = new(_ => driver.Offer(2, 0), null, 20, Timeout.Infinite);
        GuestMemoryStatistics? said = balloon.ReadStatistics(TimeSpan.FromSeconds(20));
        Assert.Equal(23456ul, said?.Free);
        Assert.Null(said?.Total);
    }

    private static VirtioDriver Start(ulong features = 0) => new VirtioDriver(new BalloonSpec()).Start(VirtioFeature.Version1 | features);

    private static byte[] Frames(params uint[] frames) => MemoryMarshal.AsBytes(frames.AsSpan()).ToArray();

    private static void Fill(VirtioDriver driver, ulong at, int pages)
    {
        byte[] bytes = new byte[pages * 4096];
        Array.Fill(bytes, (byte)0x55);
        driver.Memory.TryWrite(new GuestPhysical(at), bytes);
    }

    private sealed class Watcher : ICodeWatcher
    {
        internal (ulong Offset, ulong Length) Last { get; private set; }

        public void CodeWritten(ulong offset, ulong length) => Last = (offset, length);
    }

    private static byte First(VirtioDriver driver, uint page) => driver.Memory.Read<byte>(new GuestPhysical(Page + (page * 4096)));
}
