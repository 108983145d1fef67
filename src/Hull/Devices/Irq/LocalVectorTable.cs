namespace Hull.Devices.Irq;

/// <summary>
/// What a local APIC makes of its own interrupts: an entry each with vector, delivery mode and mask; the timer's is kept by
/// <see cref="ApicTimer"/>. Under the APIC's lock. SDM vol. 3A, "Local Vector Table".
/// </summary>
internal sealed class LocalVectorTable(ApicTimer timer)
{
    private const uint Masked = 0x10000;

    private uint _thermal;
    private uint _performance;
    private uint _lint0;
    private uint _lint1;
    private uint _error;

    /// <summary>The vector for errors; null when they are masked.</summary>
    internal byte? ErrorVector => (_error & Masked) == 0 ? (byte)_error : null;

    /// <summary>The values after reset. The timer has its own reset.</summary>
    internal void Reset(bool isBsp)
    {
        _thermal = Masked;
        _performance = Masked;
        _lint1 = Masked;
        _error = Masked;

        // QUIRK: the bootstrap processor comes up in virtual-wire mode, as firmware would leave it, because guests are
        // also started without firmware.
        _lint0 = isBsp ? (uint)ApicDelivery.ExtInt << 8 : Masked;
    }

    /// <summary>True when the pin LINT0 is open and set to this mode.</summary>
    internal bool Lint0Delivers(ApicDelivery delivery) => Delivers(_lint0, delivery);

    /// <summary>True when the pin LINT1 is open and set to this mode.</summary>
    internal bool Lint1Delivers(ApicDelivery delivery) => Delivers(_lint1, delivery);

    /// <summary>Masks every entry.</summary>
    internal void MaskAll()
    {
        timer.WriteLvt(timer.Lvt | Masked);
        _thermal |= Masked;
        _performance |= Masked;
        _lint0 |= Masked;
        _lint1 |= Masked;
        _error |= Masked;
    }

    /// <summary>Reads the entry at an offset from the timer's to the errors'.</summary>
    internal uint Read(uint offset) => offset switch
    {
        ApicRegister.LvtTimer => timer.Lvt,
        ApicRegister.LvtThermal => _thermal,
        ApicRegister.LvtPerformance => _performance,
        ApicRegister.LvtLint0 => _lint0,
        ApicRegister.LvtLint1 => _lint1,
        _ => _error,
    };

    /// <summary>Writes an entry.</summary>
    /// <param name="offset">The register.</param>
    /// <param name="value">The value.</param>
    /// <param name="isSoftwareEnabled">When not, entries stay masked.</param>
    /// <returns>False when the register is no entry.</returns>
    internal bool TryWrite(uint offset, uint value, bool isSoftwareEnabled)
    {
        uint forced = isSoftwareEnabled ? 0 : Masked;
        switch (offset)
        {
            case ApicRegister.LvtTimer:
                timer.WriteLvt((value & 0x700FF) | forced);
                return true;
            case ApicRegister.LvtThermal:
                _thermal = (value & 0x107FF) | forced;
                return true;
            case ApicRegister.LvtPerformance:
                _performance = (value & 0x107FF) | forced;
                return true;
            case ApicRegister.LvtLint0:
                _lint0 = (value & 0x1A7FF) | forced;
                return true;
            case ApicRegister.LvtLint1:
                _lint1 = (value & 0x1A7FF) | forced;
                return true;
            case ApicRegister.LvtError:
                _error = (value & 0x100FF) | forced;
                return true;
            default:
                return false;
        }
    }

    private static bool Delivers(uint entry, ApicDelivery delivery) =>
        (entry & Masked) == 0 && ((entry >> 8) & 7) == (uint)delivery;
}
