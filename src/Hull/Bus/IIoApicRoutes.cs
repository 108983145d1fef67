namespace Hull.Bus;

/// <summary>
/// Learns which message each input of the I/O APIC makes, when the local APICs are elsewhere (KVM's): they have to know
/// which ends of interrupts to report.
/// </summary>
internal interface IIoApicRoutes
{
    /// <summary>A level-triggered input is about to be opened with this message. Returns when it is known.</summary>
    void Route(int input, MsiMessage message);
}
