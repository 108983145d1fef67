using System;
using Hull.Bus;
using Hull.Platform;

namespace Hull.Devices.Pci;

/// <summary>
/// Configuration mechanism 1 (ports 0xCF8-0xCFF) and, between its bytes, the reset control register 0xCF9. PCI Local
/// Bus 3.0, "Software Generation of Configuration Transactions".
/// </summary>
internal sealed class PciConfigPorts(PciBus pci, Action resetRequested) : IPortDevice
{
    private const int DataOffset = 4;
    private const int ResetOffset = PlatformMap.ResetPort - PlatformMap.PciConfigAddressPort;
    private const uint Enable = 0x8000_0000;

    private uint _address;
    private byte _reset;

    /// <summary>Puts the registers on their ports.</summary>
    internal void Map(IoBus bus) => bus.MapPorts(PlatformMap.PciConfigAddressPort, 8, this);

    /// <inheritdoc/>
    public uint ReadPort(ushort offset, int size)
    {
        uint none = size == 4 ? uint.MaxValue : (1u << (size * 8)) - 1;
        if (offset >= DataOffset)
        {
            return (_address & Enable) == 0 ? none
                : pci.ReadConfig(Bus, Slot, Register + offset - DataOffset, size);
        }

        return offset == 0 && size == 4 ? _address : offset == ResetOffset && size == 1 ? _reset : none;
    }

    /// <inheritdoc/>
    public void WritePort(ushort offset, int size, uint value)
    {
        if (offset >= DataOffset)
        {
            if ((_address & Enable) != 0)
            {
                pci.WriteConfig(Bus, Slot, Register + offset - DataOffset, size, value);
            }
        }
        else if (offset == 0 && size == 4)
        {
            _address = value & 0x80FF_FFFC;
        }
        else if (offset == ResetOffset && size == 1)
        {
            _reset = (byte)(value & 0x0A);
            if ((value & 4) != 0)
            {
                resetRequested();
            }
        }
    }

    private uint Bus => (_address >> 16) & 0xFF;

    private uint Slot => (_address >> 8) & 0xFF;

    private int Register => (int)(_address & 0xFC);
}
