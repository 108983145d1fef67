namespace Hull.Bus;

/// <summary>A message-signalled interrupt: a 32-bit write to an address. PCI, "Message Signaled Interrupts".</summary>
public readonly record struct MsiMessage(ulong Address, uint Data);

/// <summary>Where message-signalled interrupts go: the router in front of the local APICs, or the KVM engine.</summary>
public interface IMsiSink
{
    /// <summary>Delivers one message. May be called on any thread.</summary>
    void Send(MsiMessage message);
}
