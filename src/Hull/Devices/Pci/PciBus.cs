using System.Threading;
using Hull.Bus;
using Hull.Devices.Irq;
using Hull.Host;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Devices.Pci;

/// <summary>
/// PCI bus 0: 32 devices of 8 functions, found through ECAM or configuration mechanism 1. Functions are attached before
/// the machine runs, or into a free slot of a running one. PCI Express Base, "PCI Express Enhanced Configuration Access Mechanism (ECAM)".
/// </summary>
internal sealed class PciBus : IMmioDevice
{
    private readonly IoBus _bus;
    private readonly InterruptInputs _inputs;
    private readonly PciFunction?[] _functions = new PciFunction?[256];
    private readonly Lock _lock = new();
    private ulong? _ecam;

    /// <summary>Makes an empty bus and maps ECAM.</summary>
    internal PciBus(IoBus bus, InterruptInputs inputs)
    {
        _bus = bus;
        _inputs = inputs;
        MoveEcam(PlatformMap.EcamBase);
    }

    /// <summary>Puts ECAM at an address; null takes it off the bus, as does an address where a device is.</summary>
    internal void MoveEcam(ulong? at)
    {
        lock (_lock)
        {
            if (_ecam is ulong old)
            {
                _bus.UnmapMmio(new GuestPhysical(old));
            }

            _ecam = at is ulong place && _bus.TryMapMmio(new GuestPhysical(place), PlatformMap.EcamSize, this) ? at : null;
        }
    }

    /// <summary>
    /// Attaches a function; INTA goes to I/O APIC input 16 + device % 8 (PlatformMap.PciIrqBase, pin 0).
    /// </summary>
    /// <exception cref="HullException">The slot is taken.</exception>
    internal void Attach(PciFunction function, int device, int number = 0, bool intx = true)
    {
        int slot = (device << 3) | number;
        if (_functions[slot] is not null)
        {
            throw new HullException($"two PCI devices want slot {device:x2}.{number}: leave one address out");
        }

        int input = PlatformMap.PciIrqBase + (device % 8);
        function.Attach(_bus, intx ? _inputs.CreateIoApicLine(input) : null, (byte)input);
        _functions[slot] = function;
        if (number > 0)
        {
            _functions[device << 3]?.SetMultifunction();
        }
    }

    /// <summary>Takes a function out of its slot: nobody finds it, or its BARs, any more. Any thread.</summary>
    internal void Detach(int device)
    {
        PciFunction? function = Interlocked.Exchange(ref _functions[device << 3], null);
        function?.Detach();
    }

    /// <summary>The first free device number from 1 on.</summary>
    /// <exception cref="HullException">All 31 are taken.</exception>
    internal int FindFreeDevice()
    {
        for (int device = 1; device < 32; device++)
        {
            if (_functions[device << 3] is null)
            {
                return device;
            }
        }

        throw new HullException("no PCI slot is left: at most 31 devices fit; leave some out");
    }

    /// <summary>
    /// Gives every BAR an address, as firmware would; decoding stays off until the guest's driver wants it. For guests
    /// that start without firmware.
    /// </summary>
    internal void AssignBars()
    {
        ulong memory = PlatformMap.PciMemoryBase;
        ulong port = 0x1000;
        foreach (PciFunction? function in _functions)
        {
            for (int i = 0; function is not null && i < 6; i++)
            {
                if (function.GetBar(i) is not { } bar)
                {
                    continue;
                }

                ref ulong next = ref bar.IsPorts ? ref port : ref memory;
                ulong end = bar.IsPorts ? 0x1_0000 : PlatformMap.PciMemoryEnd;
                ulong at = (next + bar.Size - 1) & ~(bar.Size - 1);
                if (at + bar.Size <= end)
                {
                    function.WriteConfig(0x10 + (i * 4), 4, (uint)at);
                    next = at + bar.Size;
                }
            }
        }
    }

    /// <summary>Reads 1, 2 or 4 bytes; all ones where no function is.</summary>
    internal uint ReadConfig(uint bus, uint slot, int offset, int size)
    {
        uint none = size == 4 ? uint.MaxValue : (1u << (size * 8)) - 1;
        return bus == 0 && _functions[slot & 0xFF] is { } function ? function.ReadConfig(offset, size) : none;
    }

    /// <summary>Writes 1, 2 or 4 bytes.</summary>
    internal void WriteConfig(uint bus, uint slot, int offset, int size, uint value)
    {
        if (bus == 0)
        {
            _functions[slot & 0xFF]?.WriteConfig(offset, size, value);
        }
    }

    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        if (size == 8)
        {
            return ReadMmio(offset, 4) | (ReadMmio(offset + 4, 4) << 32);
        }

        return ReadConfig((uint)(offset >> 20), (uint)(offset >> 12), (int)(offset & 0xFFF), size);
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
        if (size == 8)
        {
            WriteMmio(offset, 4, value);
            WriteMmio(offset + 4, 4, value >> 32);
            return;
        }

        WriteConfig((uint)(offset >> 20), (uint)(offset >> 12), (int)(offset & 0xFFF), size, (uint)value);
    }
}
