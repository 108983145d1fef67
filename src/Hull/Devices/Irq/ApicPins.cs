using Hull.Bus;

namespace Hull.Devices.Irq;

/// <summary>
/// The pins of a local APIC: LINT0, to which a PC connects its 8259, and LINT1 with its NMI. Under the APIC's lock, but for
/// <see cref="AcknowledgeExtInt"/>. SDM vol. 3A, "Local Vector Table".
/// </summary>
/// <param name="lvt">How the pins are set up.</param>
/// <param name="pic">The 8259; null when nothing is connected to LINT0.</param>
internal sealed class ApicPins(LocalVectorTable lvt, IExtIntSource? pic)
{
    private bool _lint1;

    /// <summary>An ExtINT message came: the 8259 is asked although LINT0 may be closed.</summary>
    internal bool IsExtIntLatched { get; set; }

    /// <summary>True when the 8259 has an interrupt that reaches the vCPU.</summary>
    /// <param name="isApicEnabled">By the MSR; an APIC that is off passes the 8259's output on.</param>
    internal bool HasExtInt(bool isApicEnabled) =>
        pic is not null && pic.Output
        && (!isApicEnabled || lvt.Lint0Delivers(ApicDelivery.ExtInt) || IsExtIntLatched);

    /// <summary>The acknowledge cycle. Without the lock: the 8259 answers by a change of its output.</summary>
    /// <returns>The vector, or -1.</returns>
    internal int AcknowledgeExtInt() => pic?.AcknowledgeInterrupt() ?? -1;

    /// <summary>Sets LINT1.</summary>
    /// <returns>True when that makes an NMI.</returns>
    internal bool SetLint1(bool level)
    {
        bool nmi = level && !_lint1 && lvt.Lint1Delivers(ApicDelivery.Nmi);
        _lint1 = level;
        return nmi;
    }
}
