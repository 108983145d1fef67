using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using Hull.Cpu;
using Hull.Devices.Virtio;
using Hull.Host;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

public sealed class PmemDeviceTests : IDisposable
{
    private const ulong Megabyte = 1 << 20;
    private readonly string _file = Path.GetTempFileName();
    private readonly List<string> _notices = [];

    [Fact]
    public void Area_IsAboveRam_AndIsTheFile()
    {
        using VirtioDriver driver = Start();
        GuestPhysical at = At(driver);
        Assert.Equal((1UL << 32, 2 * Megabyte), (at.Value, driver.Read(0x2008, 8)));
        driver.Memory.Write(at + 4096, 0x1234_5678u);
        Assert.Equal([0, 0, 0, 0], driver.Request(0, [0, 0, 0, 0], 4));
        driver.Device.Dispose();
        Assert.Equal(0x1234_5678u, BitConverter.ToUInt32(File.ReadAllBytes(_file), 4096));
    }

    [Fact]
    public void Addresses_AreOffsetsAndBack()
    {
        using VirtioDriver driver = Start();
        ulong at = At(driver).Value + 0x12345;
        Assert.Equal(at, driver.Memory.PhysicalOf(driver.Memory.OffsetOf(at, 8)));
        Assert.False(driver.Memory.Contains(new GuestPhysical(at), 4 * Megabyte));
        Assert.False(driver.Memory.TryDiscard(At(driver), 4096), "a balloon has no pages of files");
    }

    [Fact]
    public void ReadOnlyFile_StaysAsItIs_AndIsSharedWithOthers()
    {
        using VirtioDriver driver = Start(readOnly: true, length: (2 << 20) + 5000);
        using VirtioDriver other = Start(readOnly: true, length: -1);
        Assert.Equal(4 * Megabyte, driver.Read(0x2008, 8));
        driver.Memory.Write(At(driver), 1u);
        driver.Memory.Write(At(driver) + ((2 << 20) + 8192), 2u);
        Assert.Equal([0, 0, 0, 0], driver.Request(0, [0, 0, 0, 0], 4));
        Assert.Equal(0u, other.Memory.Read<uint>(At(other)));
        Assert.Equal((2 << 20) + 5000, File.ReadAllBytes(_file).Length);
        Assert.Throws<HullException>(() => Start(length: -1));
    }

    [Theory]
    [InlineData(1u)]
    [InlineData(uint.MaxValue)]
    public void UnknownRequest_Fails(uint type)
    {
        using VirtioDriver driver = Start();
        Assert.Equal([255, 255, 255, 255], driver.Request(0, BitConverter.GetBytes(type), 4));
    }

    [Theory]
    [InlineData(3, 4)]
    [InlineData(4, 3)]
    [InlineData(0, 8)]
    [InlineData(4, 0)]
    public void RequestWithoutTypeOrResult_NeedsAReset(int readable, int room)
    {
        using VirtioDriver driver = Start();
        Assert.Null(driver.Request(0, new byte[readable], room));
        Assert.True(driver.NeedsReset);
    }

    [Fact]
    public void CutFile_ReadsAsZeros_AndFlushesFail()
    {
        HostSignals.Ensure();
        File.WriteAllBytes(_file, new byte[2 << 20]);
        using VirtioDriver driver = Start(length: -1);
        driver.Memory.Write(At(driver), 7u);
        Truncate("0");

        Span<byte> bytes = stackalloc byte[8192];
        Assert.True(driver.Memory.TryRead(At(driver), bytes));
        Assert.False(bytes.ContainsAnyExcept((byte)0));
        driver.Memory.Write(At(driver) + 0x1_0000, 7u);
        Assert.Equal(7u, driver.Memory.Read<uint>(At(driver) + 0x1_0000));
        Assert.Equal([255, 255, 255, 255], driver.Request(0, [0, 0, 0, 0], 4));
        Assert.Contains(_file, Assert.Single(_notices), StringComparison.Ordinal);

        // A file that is whole again does not bring the lost pages back.
        Truncate("2M");

        Assert.Equal([255, 255, 255, 255], driver.Request(0, [0, 0, 0, 0], 4));
    }

    [Theory]
    [InlineData(5000, "truncate -s %2M")]
    [InlineData(0, "has 0 bytes")]
    [InlineData(1L << 42, "256 GiB")]
    public void WrongSize_IsAClearError(long length, string expected)
    {
        HullException e = Assert.Throws<HullException>(() => Start(length: length));
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
        e = Assert.Throws<HullException>(() => new PmemSpec { File = _file }.Room());
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FileWithoutRoom_IsAClearError()
    {
        HullException e = Assert.Throws<HullException>(() => Start(length: 6 << 20));
        Assert.Contains("only when the machine starts", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void DeviceThatGoes_LeavesMemoryOfTheGuestsOwn()
    {
        using VirtioDriver driver = Start();
        GuestPhysical at = At(driver);
        driver.Memory.Write(at, 7u);
        driver.Device.Dispose();
        Assert.Equal(0u, driver.Memory.Read<uint>(at));
        driver.Memory.Write(at, 9u);
        Assert.Equal(7u, BitConverter.ToUInt32(File.ReadAllBytes(_file)));
    }

    public void Dispose() => File.Delete(_file);

    // A program that knows nothing of locks.
    private void Truncate(string size)
    {
        using Process truncate = Process.Start("truncate", ["-s", size, _file]);
        truncate.WaitForExit();
        Assert.Equal(0, truncate.ExitCode);
    }

    private static GuestPhysical At(VirtioDriver driver) => new(driver.Read(0x2000, 8));

    private VirtioDriver Start(bool readOnly = false, long length = 2 << 20)
    {
        if (length >= 0)
        {
            using FileStream file = File.OpenWrite(_file);
            file.SetLength(length);
        }

        PmemSpec spec = new() { File = _file, ReadOnly = readOnly };
        return new VirtioDriver(context => spec.Create(context with { Notice = _notices.Add }), threads: false).Start();
    }
}
