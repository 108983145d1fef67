using System;
using System.Buffers.Binary;
using System.IO;
using System.Security.Cryptography;
using Hull.Devices.Virtio;
using Hull.Memory;
using Hull.Storage;
using Hull.Storage.Qcow2;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

/// <summary>Reads of one request into many buffers, which go from the host's file straight into the guest's memory.</summary>
public sealed class DiskScatterTests : IDisposable
{
    private const int Bytes = 1 << 20;
    private const ulong StatusAt = VirtioDriver.DataAt + 0x800;
    private readonly string _path = Path.GetTempFileName();
    private readonly byte[] _content = RandomNumberGenerator.GetBytes(Bytes);

    /// <summary>Bytes that a buffer has, and the hole behind it: some adjoin, some are no longer than a byte.</summary>
    private static readonly (int Length, int Gap)[] Buffers = [(512, 0), (1, 0), (4096, 4096), (511, 7), (3 * 4096, 0), (4096, 100)];

    [Theory]
    [InlineData("raw", 0)]
    [InlineData("raw", 77)]
    [InlineData("qcow2", 0)]
    [InlineData("qcow2", 127)]                                                  // over a cluster's edge
    [InlineData("holes", 100)]                                                  // a cluster that is not there behind one that is
    public void ManyBuffers_GetTheirBytes_AndNothingBesides(string kind, int sector)
    {
        MakeImage(kind);
        using VirtioDriver driver = Start(kind);
        Fill(driver, 0x5A);
        int total = Offer(driver, sector);

        Assert.True(driver.WaitUsed(0, out _, out uint length));
        Assert.Equal((uint)total + 1, length);
        Assert.Equal(0, driver.Memory.Read<byte>(new GuestPhysical(StatusAt)));
        int at = sector * 512;
        ulong place = VirtioDriver.DataAt + 0x1_0000;
        foreach ((int count, int gap) in Buffers)
        {
            Assert.Equal(_content.AsSpan(at, count), Memory(driver, place, count));
            Assert.True(Memory(driver, place + (uint)count, gap).IndexOfAnyExcept((byte)0x5A) < 0);
            at += count;
            place += (uint)(count + gap);
        }
    }

    [Fact]
    public void BufferInAMappedFile_IsReadToo()
    {
        MakeImage("raw");
        using VirtioDriver driver = Start("raw");
        ulong file = driver.Memory.Files.Base + 100;
        driver.Memory.TryWrite(new GuestPhysical(VirtioDriver.DataAt), Header(3));
        driver.Describe(0, 0, VirtioDriver.DataAt, 16, VirtioDriver.Next, 1);
        driver.Describe(0, 1, file, 512, VirtioDriver.Next | VirtioDriver.Write, 2);
        driver.Describe(0, 2, StatusAt, 1, VirtioDriver.Write);
        driver.Offer(0, 0);

        Assert.True(driver.WaitUsed(0, out _, out _));
        Assert.Equal(_content.AsSpan(3 * 512, 512), Memory(driver, file, 512));
    }

    [Fact]
    public void TranslatedCodeThatIsReadOver_IsToldToTheEngine_AlsoWhenTheReadBreaksOff()
    {
        MakeImage("raw");
        using VirtioDriver driver = Start("raw");
        Watcher watcher = new();
        driver.Memory.Pages.Watch(watcher);
        driver.Memory.Pages.CodeGrains((VirtioDriver.DataAt + 0x1_0000) / GuestMemory.PageSize) = 1;
        Offer(driver, 0);
        Assert.True(driver.WaitUsed(0, out _, out _));
        Assert.Equal(3, watcher.Count);                                         // the buffers that touch the page

        using (System.Diagnostics.Process cut = System.Diagnostics.Process.Start("truncate", ["-s", "600", _path]))
        {
            cut.WaitForExit();
        }

        Offer(driver, 0);
        Assert.True(driver.WaitUsed(0, out _, out _));
        Assert.Equal(1, driver.Memory.Read<byte>(new GuestPhysical(StatusAt)));
        Assert.Equal(6, watcher.Count);
    }

    public void Dispose() => File.Delete(_path);

    private static byte[] Header(int sector)
    {
        byte[] header = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), (ulong)sector);
        return header;
    }

    private static ReadOnlySpan<byte> Memory(VirtioDriver driver, ulong at, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(driver.Memory.TryRead(new GuestPhysical(at), bytes));
        return bytes;
    }

    private static void Fill(VirtioDriver driver, byte value)
    {
        byte[] bytes = new byte[0x1_0000];
        Array.Fill(bytes, value);
        driver.Memory.TryWrite(new GuestPhysical(VirtioDriver.DataAt + 0x1_0000), bytes);
    }

    private static int Offer(VirtioDriver driver, int sector)
    {
        driver.Memory.TryWrite(new GuestPhysical(VirtioDriver.DataAt), Header(sector));
        driver.Memory.Write(new GuestPhysical(StatusAt), (byte)0xFF);
        driver.Describe(0, 0, VirtioDriver.DataAt, 16, VirtioDriver.Next, 1);
        int total = 0;
        ulong place = VirtioDriver.DataAt + 0x1_0000;
        for (int i = 0; i < Buffers.Length; i++)
        {
            (int length, int gap) = Buffers[i];
            driver.Describe(0, i + 1, place, (uint)length, VirtioDriver.Next | VirtioDriver.Write, i + 2);
            total += length;
            place += (uint)(length + gap);
        }

        driver.Describe(0, Buffers.Length + 1, StatusAt, 1, VirtioDriver.Write);
        driver.Offer(0, 0);
        Assert.Equal(0, total % 512);
        return total;
    }

    private void MakeImage(string kind)
    {
        if (kind == "raw")
        {
            File.WriteAllBytes(_path, _content);
            return;
        }

        if (kind == "holes")
        {
            _content.AsSpan(64 << 10).Clear();
        }

        DiskTool.Create(_path, DiskFormat.Qcow2, Bytes, new Qcow2Options());
        using IByteStore store = DiskImage.Open(_path, DiskFormat.Qcow2, readOnly: false);
        store.Write(0, _content.AsSpan(0, kind == "holes" ? 64 << 10 : Bytes));
    }

    private VirtioDriver Start(string kind) => new VirtioDriver(
        new DiskSpec { File = _path, Format = kind == "raw" ? DiskFormat.Raw : DiskFormat.Qcow2 }).Start();

    private sealed class Watcher : ICodeWatcher
    {
        internal int Count { get; private set; }

        public void CodeWritten(ulong offset, ulong length) => Count++;
    }
}
