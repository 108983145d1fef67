using System.Threading;
using Hull.Bus;
using Hull.Platform;

namespace Hull.Devices.Power;

/// <summary>
/// General-purpose events of the chip set, 16 of them: a status bit each, which the guest clears by writing a one, and an
/// enable bit. ACPI 6.4, "General-Purpose Event Register Blocks".
/// </summary>
internal sealed class AcpiGpe : IByteRegisters, IIrqSource
{
    private const int StatusBytes = PlatformMap.AcpiGpeBytes / 2;

    private readonly Lock _lock = new();
    private readonly IrqLine _sci;
    private ushort _status;
    private ushort _enable;
    private volatile bool _level;

    /// <summary>Makes the registers on a line of the system control interrupt.</summary>
    internal AcpiGpe(IrqLine sci) => _sci = sci;

    /// <inheritdoc/>
    public bool IrqLevel => _level;

    /// <summary>Puts the registers on their ports.</summary>
    internal void Map(IoBus bus) =>
        bus.MapPorts(PlatformMap.AcpiGpePort, PlatformMap.AcpiGpeBytes, new BytePorts(this, PlatformMap.AcpiGpeBytes));

    /// <summary>An event happened. Any thread.</summary>
    internal void Raise(int number)
    {
        lock (_lock)
        {
            _status |= (ushort)(1 << number);
            Refresh();
        }

        _sci.Follow(this);
    }

    /// <inheritdoc/>
    public byte ReadRegister(int offset)
    {
        lock (_lock)
        {
            ushort value = offset < StatusBytes ? _status : _enable;
            return (byte)(value >> ((offset % StatusBytes) * 8));
        }
    }

    /// <inheritdoc/>
    public void WriteRegister(int offset, byte value)
    {
        int shift = (offset % StatusBytes) * 8;
        lock (_lock)
        {
            if (offset < StatusBytes)
            {
                _status &= (ushort)~(value << shift);
            }
            else
            {
                _enable = (ushort)((_enable & ~(0xFF << shift)) | (value << shift));
            }

            Refresh();
        }

        _sci.Follow(this);
    }

    private void Refresh() => _level = (_status & _enable) != 0;
}
