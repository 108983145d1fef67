using System;
using System.Threading;

namespace Hull.Devices.Irq;

/// <summary>
/// What connects local APICs with each other and with the I/O APIC: finds who a message is for, and brings EOIs of
/// level-triggered interrupts back. Any thread; holds no lock while it calls.
/// </summary>
internal sealed class ApicBus
{
    private LocalApic[] _apics = [];
    private uint _turn;

    /// <summary>Gets the vector of each EOI of a level-triggered interrupt.</summary>
    internal Action<byte>? EndOfInterrupt { get; set; }

    /// <summary>Connects a local APIC. While the machine is built.</summary>
    internal void Add(LocalApic apic) => _apics = [.. _apics, apic];

    /// <summary>Sends what an APIC's command register says.</summary>
    internal void Send(LocalApic self, in InterruptCommand command)
    {
        switch (command.Shorthand)
        {
            case 0:
                Deliver(command.Message);
                break;
            case 1:
                self.Accept(command.Message);
                break;
            case 2:
                Deliver(command.Message with { Destination = ApicMessage.Broadcast, Logical = false });
                break;
            default:
                DeliverToOthers(self, command.Message);
                break;
        }
    }

    /// <summary>Delivers a message to everyone it is for.</summary>
    internal void Deliver(in ApicMessage message)
    {
        LocalApic[] apics = _apics;
        if (message.Delivery == ApicDelivery.LowestPriority)
        {
            FindLowest(in message)?.Accept(in message);
        }
        else if (!message.Logical && message.Destination < (uint)apics.Length
            && apics[message.Destination].Id == message.Destination)
        {
            // The common case: ids are the indexes.
            apics[message.Destination].Accept(in message);
        }
        else
        {
            foreach (LocalApic apic in apics)
            {
                if (apic.IsTarget(message.Destination, message.Logical))
                {
                    apic.Accept(in message);
                }
            }
        }
    }

    private void DeliverToOthers(LocalApic self, in ApicMessage message)
    {
        foreach (LocalApic apic in _apics)
        {
            if (apic != self)
            {
                apic.Accept(in message);
            }
        }
    }

    /// <summary>The target with the lowest priority; they take turns when it is equal.</summary>
    private LocalApic? FindLowest(in ApicMessage message)
    {
        LocalApic[] apics = _apics;
        LocalApic? best = null;
        uint start = Interlocked.Increment(ref _turn);
        for (uint i = 0; i < apics.Length; i++)
        {
            LocalApic apic = apics[(start + i) % (uint)apics.Length];
            if (apic.IsEnabled && apic.IsTarget(message.Destination, message.Logical)
                && (best is null || apic.ProcessorPriority < best.ProcessorPriority))
            {
                best = apic;
            }
        }

        return best;
    }
}
