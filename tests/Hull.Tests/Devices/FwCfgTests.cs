using System;
using System.Buffers.Binary;
using System.Text;
using Hull.Bus;
using Hull.Devices.Firmware;
using Hull.Memory;
using Hull.Platform;
using Xunit;

namespace Hull.Tests.Devices;

/// <summary>QEMU, "QEMU Firmware Configuration (fw_cfg) Device".</summary>
public sealed class FwCfgTests : IDisposable
{
    private const ulong RequestAt = 0x1000;
    private readonly GuestMemory _memory = new(1 << 20);
    private readonly IoBus _bus = new();
    private readonly FwCfg _device;

    public FwCfgTests()
    {
        _device = new FwCfg(_memory);
        _device.Map(_bus);
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void Signature_ThenZerosBeyondTheEnd()
    {
        Assert.Equal("QEMU\0\0"u8.ToArray(), ReadItem(0, 6));
        Assert.Equal(new byte[] { 3, 0, 0, 0 }, ReadItem(1, 4));
    }

    [Fact]
    public void Selecting_StartsAgain_AndTheWriteBitMakesNoDifference()
    {
        ReadItem(0, 2);

        Assert.Equal("QEMU"u8.ToArray(), ReadItem(0x4000, 4));
        Assert.Equal(new byte[2], ReadItem(0x77, 2));
    }

    [Fact]
    public void OfAChipset_SaysProcessorsAndMemory()
    {
        TestPc pc = new(3);
        pc.Out16(0x510, FwCfgKey.CpuCount);
        Assert.Equal((3, 0), (pc.In(0x511), pc.In(0x511)));
        pc.Out16(0x510, FwCfgKey.RamSize);
        Assert.Equal([0, 0, 0, 0x20, 0, 0], [pc.In(0x511), pc.In(0x511), pc.In(0x511), pc.In(0x511), pc.In(0x511), pc.In(0x511)]);
    }

    [Fact]
    public void Files_AreInTheDirectory()
    {
        _device.AddFile("opt/one", "first"u8);
        _device.AddFile("opt/two", "2nd"u8);

        byte[] directory = ReadItem(FwCfgKey.Directory, 4 + 128);
        Assert.Equal(2, BinaryPrimitives.ReadInt32BigEndian(directory));
        Span<byte> entry = directory.AsSpan(4 + 64);
        Assert.Equal(3, BinaryPrimitives.ReadInt32BigEndian(entry));
        Assert.Equal("opt/two\0", Encoding.ASCII.GetString(entry.Slice(8, 8)));
        Assert.Equal("2nd"u8.ToArray(), ReadItem(BinaryPrimitives.ReadUInt16BigEndian(entry[4..]), 3));
    }

    [Fact]
    public void Request_CopiesTheItem_AndZerosBehindIt()
    {
        _memory.Write(new GuestPhysical(0x2000), ulong.MaxValue);

        Assert.Equal(0u, Submit((0u << 16) | 8 | 2, 6, 0x2000));

        Assert.Equal(0xFFFF_0000_554D_4551, _memory.Read<ulong>(new GuestPhysical(0x2000)));
    }

    [Fact]
    public void Request_Skips()
    {
        Submit((0u << 16) | 8 | 4, 2, 0);

        Assert.Equal((byte)'M', _bus.ReadPort(PlatformMap.FwCfgPort + 1, 1));
    }

    [Theory]
    [InlineData(8 | 2, 0x2000u, 0xFFFF_FFFFUL)] // beyond RAM
    [InlineData(8 | 2, uint.MaxValue, 0UL)]
    [InlineData(8 | 16, 1u, 0x2000UL)] // a write
    public void ImpossibleRequest_SetsTheErrorBit(uint control, uint length, ulong address) =>
        Assert.Equal(1u, Submit(control, length, address));

    [Fact]
    public void RequestOutsideOfMemory_DoesNothing() => Trigger(0xFFFF_FFFF_FFFF_FFF8);

    [Fact]
    public void AddressPorts_SayThatRequestsAreTaken()
    {
        Assert.Equal(0x554D_4551u, _bus.ReadPort(PlatformMap.FwCfgPort + 4, 4)); // "QEMU"
        Assert.Equal(0x4746_4320u, _bus.ReadPort(PlatformMap.FwCfgPort + 8, 4)); // " CFG"
    }

    private byte[] ReadItem(int key, int length)
    {
        _bus.WritePort(PlatformMap.FwCfgPort, 2, (uint)key);
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++)
        {
            bytes[i] = (byte)_bus.ReadPort(PlatformMap.FwCfgPort + 1, 1);
        }

        return bytes;
    }

    private uint Submit(uint control, uint length, ulong address)
    {
        byte[] raw = new byte[16];
        BinaryPrimitives.WriteUInt32BigEndian(raw, control);
        BinaryPrimitives.WriteUInt32BigEndian(raw.AsSpan(4), length);
        BinaryPrimitives.WriteUInt64BigEndian(raw.AsSpan(8), address);
        _memory.TryWrite(new GuestPhysical(RequestAt), raw);
        Trigger(RequestAt);
        return BinaryPrimitives.ReverseEndianness(_memory.Read<uint>(new GuestPhysical(RequestAt)));
    }

    private void Trigger(ulong at)
    {
        _bus.WritePort(PlatformMap.FwCfgPort + 4, 4, BinaryPrimitives.ReverseEndianness((uint)(at >> 32)));
        _bus.WritePort(PlatformMap.FwCfgPort + 8, 4, BinaryPrimitives.ReverseEndianness((uint)at));
    }
}
