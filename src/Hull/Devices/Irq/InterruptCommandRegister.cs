namespace Hull.Devices.Irq;

/// <summary>A message that a write of the command register asks for.</summary>
/// <param name="Shorthand">0 none, 1 self, 2 all, 3 all but self.</param>
/// <param name="Message">The message.</param>
internal readonly record struct InterruptCommand(uint Shorthand, ApicMessage Message)
{
    /// <summary>True when there is something to send.</summary>
    internal bool IsSet { get; } = true;
}

/// <summary>
/// A local APIC's interrupt command register: software writes what message to send. SDM vol. 3A, "Interrupt Command Register
/// (ICR)" and "ICR Operation in x2APIC Mode".
/// </summary>
internal struct InterruptCommandRegister
{
    // Of the low half; in x2APIC mode setting one is #GP.
    private const ulong Reserved = 0xFFF3_2000;
    private const ulong Kept = 0xFFFF_FFFF_000C_CFFF;
    private const ulong HighHalf = 0xFFFF_FFFF_0000_0000;

    /// <summary>All 64 bits.</summary>
    internal ulong Value { get; private set; }

    /// <summary>True when a write in x2APIC mode sets no reserved bit.</summary>
    internal static bool IsValid(ulong value) => (value & Reserved) == 0;

    /// <summary>Writes the high half.</summary>
    internal void WriteHigh(uint value) => Value = (uint)Value | ((ulong)value << 32);

    /// <summary>Writes the low half, in x2APIC mode all of it, which sends.</summary>
    /// <param name="value">The value.</param>
    /// <param name="isX2Apic">The APIC's mode.</param>
    /// <param name="command">What to send; nothing for a deassertion and for delivery modes that do not exist.</param>
    /// <returns>False when the vector is none that can be sent.</returns>
    internal bool TryWriteLow(ulong value, bool isX2Apic, out InterruptCommand command)
    {
        Value = (isX2Apic ? value : (Value & HighHalf) | (uint)value) & Kept;
        command = default;
        uint low = (uint)Value;
        byte vector = (byte)low;
        ApicDelivery delivery = (ApicDelivery)((low >> 8) & 7);
        if (delivery is ApicDelivery.Fixed or ApicDelivery.LowestPriority && vector < 16)
        {
            return false;
        }

        bool deassert = delivery == ApicDelivery.Init && (low & 0xC000) == 0x8000;
        if (deassert || delivery is (ApicDelivery)3 or ApicDelivery.ExtInt)
        {
            return true;
        }

        bool logical = (low & 0x800) != 0;
        uint destination = (uint)(Value >> 32);
        if (!isX2Apic)
        {
            destination >>= 24;
            destination = logical ? destination : ApicMessage.WidenDestination(destination);
        }

        // Interprocessor interrupts are edges, whatever the trigger bit says.
        command = new InterruptCommand((low >> 18) & 3, new ApicMessage(destination, logical, delivery, vector, false));
        return true;
    }
}
