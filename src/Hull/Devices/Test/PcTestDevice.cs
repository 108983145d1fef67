using System;
using System.Buffers.Binary;
using System.Threading;
using Hull.Bus;
using Hull.Devices.Irq;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Devices.Test;

/// <summary>
/// What test kernels poke at to see how ports, MMIO and interrupt lines behave: QEMU's pc-testdev. A register of four
/// bytes at 0xE0, seen again byte by byte at 0xE8; a page-flush port at 0xE4; 24 interrupt lines from 0x2000 on;
/// 64 KiB of memory behind MMIO at 0xFF000000.
/// </summary>
internal sealed class PcTestDevice : IPortDevice, IMmioDevice
{
    private const int RegisterPorts = 4;
    private const int MemorySize = 0x1_0000;

    private readonly Lock _lock = new();
    private readonly byte[] _memory = new byte[MemorySize];
    private uint _register;

    private PcTestDevice()
    {
    }

    /// <summary>Puts it on the bus.</summary>
    internal static void Map(IoBus bus, InterruptInputs interrupts)
    {
        PcTestDevice device = new();
        bus.MapPorts(PlatformMap.TestRegisterPort, RegisterPorts, device);
        bus.MapPorts(PlatformMap.TestFlushPort, RegisterPorts, new FlushPort());
        bus.MapPorts(PlatformMap.TestBytePort, RegisterPorts, device);
        bus.MapPorts(PlatformMap.TestIrqPort, PlatformMap.IoApicInputs, new LinePorts(interrupts));
        bus.MapMmio(new GuestPhysical(PlatformMap.TestMemoryBase), MemorySize, device);
    }

    /// <inheritdoc/>
    public uint ReadPort(ushort offset, int size)
    {
        lock (_lock)
        {
            return (_register >> (offset * 8)) & Mask(size);
        }
    }

    /// <inheritdoc/>
    public void WritePort(ushort offset, int size, uint value)
    {
        lock (_lock)
        {
            uint mask = Mask(size) << (offset * 8);
            _register = (_register & ~mask) | ((value << (offset * 8)) & mask);
        }
    }

    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        Span<byte> value = stackalloc byte[8];
        value.Clear();
        lock (_lock)
        {
            Part(offset, size).CopyTo(value);
        }

        return BinaryPrimitives.ReadUInt64LittleEndian(value);
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
        Span<byte> raw = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(raw, value);
        lock (_lock)
        {
            Span<byte> part = Part(offset, size);
            raw[..part.Length].CopyTo(part);
        }
    }

    private static uint Mask(int size) => size == 4 ? uint.MaxValue : (1u << (size * 8)) - 1;

    private Span<byte> Part(ulong offset, int size) =>
        _memory.AsSpan((int)offset, Math.Min(size, MemorySize - (int)offset));

    /// <summary>
    /// A guest writes a physical address, and QEMU takes the page from the guest and gives it back, which tests the
    /// hypervisor's own tables. A guest must see nothing of it, so nothing happens here.
    /// </summary>
    private sealed class FlushPort : IPortDevice
    {
        public uint ReadPort(ushort offset, int size) => Mask(size);

        public void WritePort(ushort offset, int size, uint value)
        {
        }
    }

    /// <summary>One port a line: the byte written is its level.</summary>
    private sealed class LinePorts : IPortDevice
    {
        private readonly IrqLine[] _lines = new IrqLine[PlatformMap.IoApicInputs];

        internal LinePorts(InterruptInputs interrupts)
        {
            const int isaInterrupts = 16;
            for (int i = 0; i < _lines.Length; i++)
            {
                _lines[i] = i < isaInterrupts ? interrupts.CreateIsaLine(i) : interrupts.CreateIoApicLine(i);
            }
        }

        public uint ReadPort(ushort offset, int size) => Mask(size);

        public void WritePort(ushort offset, int size, uint value)
        {
            if (size == 1)
            {
                _lines[offset].Set(value != 0);
            }
        }
    }
}
