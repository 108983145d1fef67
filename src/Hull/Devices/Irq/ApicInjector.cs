using System.Collections.Generic;
using Hull.Bus;

namespace Hull.Devices.Irq;

/// <summary>Interrupts that a hypervisor makes, for the local APICs of vCPUs.</summary>
internal sealed class ApicInjector(IReadOnlyList<LocalApic> apics) : IInterruptInjector
{
    /// <inheritdoc/>
    public void Inject(int vcpu, byte vector) => apics[vcpu].Inject(vector);

    /// <inheritdoc/>
    public bool TryInjectPastApic(int vcpu, byte vector)
    {
        apics[vcpu].InjectPast(vector);
        return true;
    }

    /// <inheritdoc/>
    public void InjectNmi(int vcpu) => apics[vcpu].InjectNmi();
}
