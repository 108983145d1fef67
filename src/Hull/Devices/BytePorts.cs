using Hull.Bus;

namespace Hull.Devices;

/// <summary>A chip whose registers are bytes.</summary>
internal interface IByteRegisters
{
    /// <summary>Reads one register.</summary>
    byte ReadRegister(int offset);

    /// <summary>Writes one register.</summary>
    void WriteRegister(int offset, byte value);
}

/// <summary>
/// Puts byte registers behind ports: a wider access becomes bytes at successive ports, as the ISA bus does it; what
/// goes past the chip's last register is not there.
/// </summary>
internal sealed class BytePorts(IByteRegisters chip, int count) : IPortDevice
{
    /// <inheritdoc/>
    public uint ReadPort(ushort offset, int size)
    {
        uint value = 0;
        for (int i = 0; i < size; i++)
        {
            uint part = offset + i < count ? chip.ReadRegister(offset + i) : 0xFFu;
            value |= part << (i * 8);
        }

        return value;
    }

    /// <inheritdoc/>
    public void WritePort(ushort offset, int size, uint value)
    {
        for (int i = 0; i < size && offset + i < count; i++)
        {
            chip.WriteRegister(offset + i, (byte)(value >> (i * 8)));
        }
    }
}
