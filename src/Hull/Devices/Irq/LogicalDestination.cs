namespace Hull.Devices.Irq;

/// <summary>
/// A local APIC's logical identity: the registers LDR and DFR. Written under the APIC's lock.
/// SDM vol. 3A, "Logical Destination Mode" and "Logical Destination Mode in x2APIC Mode".
/// </summary>
internal sealed class LogicalDestination(uint id, ApicBase apicBase)
{
    private volatile uint _register;
    private volatile uint _format;

    /// <summary>LDR.</summary>
    internal uint Register => _register;

    /// <summary>DFR.</summary>
    internal uint Format => _format;

    /// <summary>The values after reset.</summary>
    internal void Reset()
    {
        _register = 0;
        _format = uint.MaxValue;
        ModeChanged();
    }

    /// <summary>The APIC entered or left x2APIC mode: there, the logical id comes from the physical one.</summary>
    internal void ModeChanged()
    {
        if (apicBase.IsX2Apic)
        {
            _register = ((id >> 4) << 16) | (1u << (int)(id & 0xF));
        }
    }

    /// <summary>Writes LDR.</summary>
    internal void WriteRegister(uint value) => _register = value & 0xFF00_0000;

    /// <summary>Writes DFR.</summary>
    internal void WriteFormat(uint value) => _format = value | 0x0FFF_FFFF;

    /// <summary>True when a destination names this APIC. Any thread.</summary>
    internal bool Matches(uint destination)
    {
        uint own = _register;
        if (apicBase.IsX2Apic)
        {
            return destination == ApicMessage.Broadcast
                || (destination >> 16 == own >> 16 && (destination & own & 0xFFFF) != 0);
        }

        if (destination is ApicMessage.Broadcast)
        {
            return true;
        }

        own >>= 24;
        if (destination > 0xFF)
        {
            return false;
        }

        bool flat = _format >> 28 == 0xF;
        return flat ? (own & destination) != 0
            : (destination >> 4 == 0xF || destination >> 4 == own >> 4) && (own & destination & 0xF) != 0;
    }
}
