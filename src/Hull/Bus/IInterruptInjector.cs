namespace Hull.Bus;

/// <summary>
/// A hypervisor's own way into the local APICs: unlike a message, it is not lost while software has the APIC disabled.
/// </summary>
public interface IInterruptInjector
{
    /// <summary>Sets a vector, 16 or above, in the IRR of a vCPU's local APIC, edge-triggered. Any thread.</summary>
    void Inject(int vcpu, byte vector);

    /// <summary>
    /// A vector that comes past the vCPU's local APIC, once, as soon as RFLAGS.IF lets it: it has no priority, and no end is told.
    /// Any thread.
    /// </summary>
    /// <returns>False: the engine has no way for it.</returns>
    bool TryInjectPastApic(int vcpu, byte vector);

    /// <summary>A non-maskable interrupt for a vCPU. Any thread.</summary>
    void InjectNmi(int vcpu);
}
