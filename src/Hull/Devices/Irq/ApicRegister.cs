namespace Hull.Devices.Irq;

/// <summary>
/// Byte offsets from the APIC base; an x2APIC MSR is 0x800 plus a sixteenth of it. SDM vol. 3A, "Local APIC Register
/// Address Map".
/// </summary>
internal static class ApicRegister
{
    internal const uint Id = 0x20;
    internal const uint Version = 0x30;
    internal const uint TaskPriority = 0x80;
    internal const uint ArbitrationPriority = 0x90;
    internal const uint ProcessorPriority = 0xA0;
    internal const uint Eoi = 0xB0;
    internal const uint RemoteRead = 0xC0;
    internal const uint LogicalDestination = 0xD0;
    internal const uint DestinationFormat = 0xE0;
    internal const uint SpuriousVector = 0xF0;
    internal const uint Isr = 0x100;
    internal const uint Tmr = 0x180;
    internal const uint Irr = 0x200;
    internal const uint ErrorStatus = 0x280;
    internal const uint CommandLow = 0x300;
    internal const uint CommandHigh = 0x310;
    internal const uint LvtTimer = 0x320;
    internal const uint LvtThermal = 0x330;
    internal const uint LvtPerformance = 0x340;
    internal const uint LvtLint0 = 0x350;
    internal const uint LvtLint1 = 0x360;
    internal const uint LvtError = 0x370;
    internal const uint InitialCount = 0x380;
    internal const uint CurrentCount = 0x390;
    internal const uint DivideConfiguration = 0x3E0;

    /// <summary>x2APIC only.</summary>
    internal const uint SelfIpi = 0x3F0;

    /// <summary>IA32_APIC_BASE.</summary>
    internal const uint BaseMsr = 0x1B;

    /// <summary>IA32_TSC_DEADLINE.</summary>
    internal const uint TscDeadlineMsr = 0x6E0;

    /// <summary>The first x2APIC MSR; 256 belong to the APIC.</summary>
    internal const uint X2ApicMsr = 0x800;
}
