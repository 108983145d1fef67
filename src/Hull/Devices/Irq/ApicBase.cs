using System.Threading;
using Hull.Platform;

namespace Hull.Devices.Irq;

/// <summary>
/// IA32_APIC_BASE: whether a local APIC is on, in which mode, and where its registers are. Written under the APIC's lock, read by
/// any thread. SDM vol. 3A, "Local APIC Status and Location".
/// </summary>
internal sealed class ApicBase
{
    private const ulong Bsp = 1 << 8;
    private const ulong X2Apic = 1 << 10;
    private const ulong Enable = 1 << 11;
    private const ulong Mode = Enable | X2Apic;
    private const ulong Address = 0x000F_FFFF_FFFF_F000;

    private ulong _value;

    /// <summary>The value after power-on.</summary>
    internal ApicBase(bool isBsp) => _value = PlatformMap.LocalApicBase | Enable | (isBsp ? Bsp : 0);

    /// <summary>The MSR.</summary>
    internal ulong Value => Volatile.Read(ref _value);

    /// <summary>True when the APIC is on; off, only the 8259 reaches the vCPU.</summary>
    internal bool IsEnabled => (Value & Enable) != 0;

    /// <summary>True in x2APIC mode.</summary>
    internal bool IsX2Apic => (Value & X2Apic) != 0;

    /// <summary>The page of the registers; ulong.MaxValue when no page has them.</summary>
    internal ulong MmioPage
    {
        get
        {
            ulong value = Value;
            return (value & Mode) == Enable ? value & Address : ulong.MaxValue;
        }
    }

    /// <summary>Writes the MSR. SDM vol. 3A, "x2APIC State Transitions".</summary>
    /// <param name="value">The new value.</param>
    /// <param name="turnedOff">True when the APIC was on and is off now.</param>
    /// <returns>False for #GP.</returns>
    internal bool TryWrite(ulong value, out bool turnedOff)
    {
        ulong from = _value & Mode;
        ulong to = value & Mode;
        turnedOff = false;
        if (to == X2Apic
            || (from == Mode && to == Enable)
            || (from == 0 && to == Mode)
            || (value & ~(Address | Mode | Bsp)) != 0)
        {
            return false;
        }

        Volatile.Write(ref _value, (value & ~Bsp) | (_value & Bsp));
        turnedOff = to != from && to == 0;
        return true;
    }
}
