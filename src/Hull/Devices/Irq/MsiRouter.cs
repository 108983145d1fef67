using Hull.Bus;

namespace Hull.Devices.Irq;

/// <summary>
/// Turns memory writes to the interrupt range into APIC messages. SDM vol. 3A, "Message Signalled Interrupts".
/// </summary>
internal sealed class MsiRouter(ApicBus bus) : IMsiSink
{
    /// <inheritdoc/>
    public void Send(MsiMessage message)
    {
        if (message.Address >> 20 != 0xFEE)
        {
            return;
        }

        bool level = (message.Data & 0x8000) != 0;
        if (level && (message.Data & 0x4000) == 0)
        {
            return; // De-assertion of a level: it ends with the EOI.
        }

        // Bits 11:5 extend the destination to 15 bits, as KVM and Hyper-V define it.
        uint low = (uint)(message.Address >> 12) & 0xFF;
        uint high = (uint)(message.Address >> 5) & 0x7F;
        bool logical = (message.Address & 4) != 0;
        bool redirect = (message.Address & 8) != 0;
        ApicDelivery delivery = (ApicDelivery)((message.Data >> 8) & 7);
        if (delivery == ApicDelivery.Fixed && logical && redirect)
        {
            delivery = ApicDelivery.LowestPriority;
        }

        uint destination = (high << 8) | low;
        bus.Deliver(new ApicMessage(
            logical ? destination : ApicMessage.WidenDestination(destination),
            logical,
            delivery,
            (byte)message.Data,
            level));
    }
}
