using System;
using System.Buffers.Binary;
using System.IO;
using System.Security.Cryptography;
using System.Text;
using Hull.Devices.Virtio;
using Hull.Host;
using Hull.Memory;
using Hull.Storage;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

public sealed class DiskDeviceTests : IDisposable
{
    private const ulong Flush = 1UL << 9;
    private const int Sectors = 2048;
    private readonly string _path = Path.GetTempFileName();
    private readonly byte[] _content = RandomNumberGenerator.GetBytes(Sectors * 512);

    public DiskDeviceTests() => File.WriteAllBytes(_path, _content);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Read_GivesTheFilesBytes(bool threads)
    {
        using VirtioDriver driver = Start(threads: threads);
        byte[] answer = driver.Request(0, Header(0, 100), (64 * 512) + 1)!;
        Assert.Equal((64 * 512) + 1, answer.Length);
        Assert.Equal(0, answer[^1]);
        Assert.True(answer.AsSpan(0, 64 * 512).SequenceEqual(_content.AsSpan(100 * 512, 64 * 512)));
    }

    [Fact]
    public void DriverThatPolls_FindsItsRequestDone_WhenTheNotificationReturns()
    {
        using VirtioDriver driver = Start(threads: true);
        driver.Memory.Write(new GuestPhysical(VirtioDriver.Table(0) + 0x8000), (ushort)1); // no interrupts
        driver.Memory.TryWrite(new GuestPhysical(VirtioDriver.DataAt), Header(0, 0));
        driver.Describe(0, 0, VirtioDriver.DataAt, 16, VirtioDriver.Next, 1);
        driver.Describe(0, 1, VirtioDriver.DataAt + 0x1000, 513, VirtioDriver.Write);

        driver.Offer(0, 0);

        Assert.Equal(1, driver.Used(0));
        Assert.Equal(0u, driver.TakeInterrupts());
    }

    [Fact]
    public void Write_IsInTheFile()
    {
        byte[] data = RandomNumberGenerator.GetBytes(8 * 512);
        using (VirtioDriver driver = Start())
        {
            Assert.Equal([0], driver.Request(0, [.. Header(1, 2040), .. data], 1)!);
        }

        Assert.True(File.ReadAllBytes(_path).AsSpan(2040 * 512).SequenceEqual(data));
    }

    [Theory]
    [InlineData(0u, Sectors - 1ul, 1024)]
    [InlineData(0u, ulong.MaxValue, 512)]
    [InlineData(0u, ulong.MaxValue / 512, 512)]
    [InlineData(0u, 0ul, 100)]
    public void ReadBeyondTheEnd_OrOfHalfASector_Fails(uint kind, ulong sector, int room)
    {
        using VirtioDriver driver = Start();
        Assert.Equal(1, driver.Request(0, Header(kind, sector), room + 1)![room]);
    }

    [Theory]
    [InlineData(99u, 2)]
    [InlineData(1u, 1)]
    [InlineData(13u, 1)]
    public void ReadOnlyDisk_RefusesToChange(uint kind, byte status)
    {
        using VirtioDriver driver = Start(readOnly: true);
        Assert.Equal([status], driver.Request(0, [.. Header(kind, 0), .. new byte[512]], 1)!);
        Assert.Equal(_content, File.ReadAllBytes(_path));
    }

    [Fact]
    public void WriteZeroes_ReadsAsZeros()
    {
        byte[] range = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(range, 16);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(8), 32);
        using (VirtioDriver driver = Start())
        {
            Assert.Equal([0], driver.Request(0, [.. Header(13, 0), .. range], 1)!);
        }

        byte[] now = File.ReadAllBytes(_path);
        Assert.True(now.AsSpan(16 * 512, 32 * 512).IndexOfAnyExcept((byte)0) < 0);
        Assert.True(now.AsSpan(48 * 512).SequenceEqual(_content.AsSpan(48 * 512)));
    }

    [Fact]
    public void GetId_GivesTheSerial()
    {
        using VirtioDriver driver = Start();
        byte[] answer = driver.Request(0, Header(8, 0), 21)!;
        Assert.StartsWith("serial-7", Encoding.ASCII.GetString(answer));
        Assert.Equal(0, answer[20]);
    }

    [Fact]
    public void RequestWithoutRoomForTheStatus_BreaksTheDevice()
    {
        using VirtioDriver driver = Start();
        driver.Describe(0, 0, VirtioDriver.DataAt, 16, 0);
        driver.Offer(0, 0);
        Assert.True(driver.NeedsReset);
    }

    [Fact]
    public void ImageThatIsCutWhileInUse_GivesTheGuestErrors_AndRecovers()
    {
        using VirtioDriver driver = Start();
        Cut(0);
        Assert.Equal(1, driver.Request(0, Header(0, 0), 513)![512]);
        Cut(Sectors * 512);
        Assert.Equal(0, driver.Request(0, Header(0, 0), 513)![512]);

        // Past the lock, as a careless program of the host's would.
        void Cut(long length)
        {
            using System.Diagnostics.Process truncate = System.Diagnostics.Process.Start("truncate", ["-s", $"{length}", _path]);
            truncate.WaitForExit();
        }
    }

    [Fact]
    public void SecondWriter_IsRefused()
    {
        using VirtioDriver driver = Start();
        HullException e = Assert.Throws<HullException>(() => new VirtioDriver(new DiskSpec { File = _path, Format = DiskFormat.Raw }));
        Assert.Contains(_path, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ReadOnlyImage_IsSharedBetweenGuests()
    {
        using VirtioDriver first = Start(readOnly: true);
        using VirtioDriver second = Start(readOnly: true);
        byte[] one = first.Request(0, Header(0, 5), 513)!;
        Assert.Equal(one, second.Request(0, Header(0, 5), 513)!);
    }

    [Fact]
    public void ManyRequestsAtOnce_AllEnd()
    {
        using VirtioDriver driver = Start(threads: true);
        driver.Memory.TryWrite(new Hull.Memory.GuestPhysical(VirtioDriver.DataAt), Header(0, 8));
        for (int round = 0; round < 500; round++)
        {
            for (int i = 0; i < 5; i++)
            {
                driver.Describe(0, 3 * i, VirtioDriver.DataAt, 16, VirtioDriver.Next, (3 * i) + 1);
                driver.Describe(0, (3 * i) + 1, VirtioDriver.DataAt + 0x1_0000 + ((ulong)i * 4096), 4096, VirtioDriver.Next | VirtioDriver.Write, (3 * i) + 2);
                driver.Describe(0, (3 * i) + 2, VirtioDriver.DataAt + 0x800 + (ulong)i, 1, VirtioDriver.Write);
                driver.Offer(0, (ushort)(3 * i));
            }

            int heads = 0;
            for (int i = 0; i < 5; i++)
            {
                Assert.True(driver.WaitUsed(0, out uint id, out uint length));
                Assert.Equal(4097u, length);
                heads |= 1 << (int)id;
            }

            Assert.Equal(0b1_0010_0100_1001, heads);
        }
    }

    public void Dispose() => File.Delete(_path);

    private static byte[] Header(uint kind, ulong sector)
    {
        byte[] header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, kind);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        return header;
    }

    private VirtioDriver Start(bool readOnly = false, bool threads = false) => new VirtioDriver(
        new DiskSpec { File = _path, Format = DiskFormat.Raw, ReadOnly = readOnly, Serial = "serial-7" },
        threads).Start(VirtioFeature.Version1 | Flush);
}
