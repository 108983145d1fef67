using System;
using System.Collections.Generic;
using Hull.Devices.Test;
using Hull.Host;
using Hull.Memory;
using Hull.Platform;
using Xunit;

namespace Hull.Tests.Devices;

/// <summary>QEMU's pc-testdev and isa-debug-exit, as its test kernels see them.</summary>
public sealed class PcTestDeviceTests
{
    private readonly TestPc _pc = new();

    public PcTestDeviceTests() => PcTestDevice.Map(_pc.Bus, _pc.Chipset.Interrupts);

    [Fact]
    public void Register_TakesEveryWidth_AndIsSeenByteByByte()
    {
        _pc.Out32(0xE0, 0x4433_2211);
        _pc.Out16(0xE1, 0xAABB);

        Assert.Equal(0x44AA_BB11u, _pc.In32(0xE0));
        Assert.Equal(0xAABB, _pc.In16(0xE9));
        Assert.Equal(0x44, _pc.In(0xEB));
    }

    [Theory]
    [InlineData(5)]
    [InlineData(14)]
    [InlineData(20)]
    public void LinePort_RaisesItsInput(int line)
    {
        _pc.Route(line, 0x41, level: false);

        _pc.Out(0x2000 + line, 1);
        Assert.Equal([0x41], _pc.TakeAll());
        _pc.Out(0x2000 + line, 1);
        Assert.Empty(_pc.TakeAll());
        _pc.Out(0x2000 + line, 0);
        _pc.Out(0x2000 + line, 1);
        Assert.Equal([0x41], _pc.TakeAll());
    }

    [Fact]
    public void Memory_KeepsWhatIsWritten_ToItsLastByte()
    {
        GuestPhysical at = new(PlatformMap.TestMemoryBase);
        _pc.Bus.WriteMmio(at + 0xFFF8, 8, 0x8877_6655_4433_2211);

        Assert.Equal(0x6655u, _pc.Bus.ReadMmio(at + 0xFFFC, 2));
        Assert.Equal(0x88u, _pc.Bus.ReadMmio(at + 0xFFFF, 8));
    }

    [Theory]
    [InlineData(0, 1, 0x15u)]
    [InlineData(0, 4, 0x1234_5678u)]
    [InlineData(3, 2, 7u)]
    public void ExitPort_TellsTheValue(int offset, int size, uint value)
    {
        List<uint> values = [];
        ExitPort.Map(_pc.Bus, 0xF4, values.Add);

        _pc.Bus.WritePort((ushort)(0xF4 + offset), size, value);

        Assert.Equal([value], values);
    }

    [Theory]
    [InlineData(0x3F8)]
    [InlineData(0x3F5)]
    [InlineData(0xFFFE)]
    public void ExitPort_OverAnotherDevice_IsRefusedByName(int port)
    {
        string message = Assert.Throws<HullException>(() => ExitPort.Map(_pc.Bus, (ushort)port, static _ => { })).Message;

        Assert.StartsWith($"--exit-port 0x{port:x}: ", message, StringComparison.Ordinal);
    }
}
