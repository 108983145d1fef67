namespace Hull.Devices.Irq;

/// <summary>Delivery modes of interrupt messages and LVT entries. SDM vol. 3A, "Interrupt Command Register (ICR)".</summary>
internal enum ApicDelivery
{
    Fixed = 0,
    LowestPriority = 1,
    Smi = 2,
    Nmi = 4,
    Init = 5,
    Startup = 6,
    ExtInt = 7,
}

/// <summary>A message between APICs.</summary>
/// <param name="Destination">
/// Physical: an APIC id, or <see cref="Broadcast"/>. Logical: 8 bits for xAPIC targets, 32 for x2APIC targets.
/// </param>
/// <param name="Logical">How the destination is meant.</param>
/// <param name="Delivery">The delivery mode.</param>
/// <param name="Vector">The vector.</param>
/// <param name="Level">Level triggered: the target's EOI goes to the I/O APIC.</param>
internal readonly record struct ApicMessage(
    uint Destination,
    bool Logical,
    ApicDelivery Delivery,
    byte Vector,
    bool Level)
{
    /// <summary>Every APIC.</summary>
    internal const uint Broadcast = uint.MaxValue;

    /// <summary>Widens the 8-bit destination of xAPIC commands and messages, of which 0xFF is everyone.</summary>
    internal static uint WidenDestination(uint destination) => destination == 0xFF ? Broadcast : destination;
}
