using Hull.Bus;
using Hull.Timeline;

namespace Hull.Devices.Time;

/// <summary>The ACPI power-management timer, all 32 bits. ACPI, "Power Management Timer".</summary>
internal sealed class AcpiPmTimer(IMachineClock clock) : IPortDevice
{
    /// <summary>The timer's clock in Hz.</summary>
    internal const ulong Hz = 3_579_545;

    /// <summary>The count now.</summary>
    internal uint Count => (uint)Ticks.FromNs(clock.NowNs, Hz);

    /// <inheritdoc/>
    public uint ReadPort(ushort offset, int size) =>
        offset > 3 ? 0 : (Count >> (offset * 8)) & (uint)((1UL << (size * 8)) - 1);

    /// <inheritdoc/>
    public void WritePort(ushort offset, int size, uint value)
    {
        // Read only.
    }
}
