using System;
using Hull.Bus;
using Hull.Devices.Virtio;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

public sealed class VirtioMmioTests : IDisposable
{
    private const ulong Ring = 0x10_0000;
    private readonly GuestMemory _memory = new(16 << 20);
    private readonly RngDevice _device;
    private readonly VirtioMmio _registers;
    private readonly IrqLine _line = new(static _ => { });

    public VirtioMmioTests()
    {
        _device = new RngDevice(new Hull.Devices.DeviceContext { Memory = _memory, IsDeterministic = true }, "/dev/zero");
        _registers = new VirtioMmio(_device, _line);
    }

    [Fact]
    public void Identity_IsThatOfTheDevice()
    {
        Assert.Equal((0x7472_6976ul, 2ul, 4ul), (Read(0), Read(4), Read(8)));
        Assert.Equal(64ul, Read(0x34));
        Write(0x30, 1);
        Assert.Equal(0ul, Read(0x34));
    }

    [Fact]
    public void Request_IsDone_WithALevelThatTheDriverTakesDown()
    {
        Start();
        _memory.Write(new GuestPhysical(Ring), 0x20_0000ul);
        _memory.Write(new GuestPhysical(Ring + 8), 100u);
        _memory.Write(new GuestPhysical(Ring + 12), (ushort)2);
        _memory.Write(new GuestPhysical(Ring + 0x1002), (ushort)1);
        Write(0x50, 0);
        Assert.Equal(1, _memory.Read<ushort>(new GuestPhysical(Ring + 0x2002)));
        Assert.True(_line.Level);
        Assert.Equal(1ul, Read(0x60));
        Write(0x64, 1);
        Assert.False(_line.Level);
    }

    [Fact]
    public void QueueReadyOfZero_StopsTheQueue()
    {
        Start();
        Assert.Equal(1ul, Read(0x44));
        Write(0x44, 0);
        Assert.Equal(0ul, Read(0x44));
    }

    [Fact]
    public void Reset_TakesTheInterruptDown()
    {
        Start();
        _registers.RaiseConfiguration();
        Assert.True(_line.Level);
        Write(0x70, 0);
        Assert.False(_line.Level);
        Assert.Equal(0ul, Read(0x70));
    }

    [Fact]
    public void EveryRegister_MayBeReadAndWrittenWithEveryWidth()
    {
        Random random = new(8);
        for (int i = 0; i < 300_000; i++)
        {
            ulong at = (ulong)random.Next(i % 4 == 0 ? 0x1000 : 0x120);
            _registers.WriteMmio(at, 1 << random.Next(4), (ulong)random.NextInt64() >> random.Next(64));
            _registers.ReadMmio(at, 1 << random.Next(4));
        }
    }

    public void Dispose()
    {
        _device.Dispose();
        _memory.Dispose();
    }

    private void Start()
    {
        Write(0x70, 0);
        Write(0x70, 3);
        Write(0x24, 1);
        Write(0x20, 1);
        Write(0x70, 11);
        Write(0x30, 0);
        Write(0x38, 16);
        Write(0x80, Ring);
        Write(0x90, Ring + 0x1000);
        Write(0xA0, Ring + 0x2000);
        Write(0x44, 1);
        Write(0x70, 15);
    }

    private ulong Read(ulong at) => _registers.ReadMmio(at, 4);

    private void Write(ulong at, ulong value) => _registers.WriteMmio(at, 4, value);
}
