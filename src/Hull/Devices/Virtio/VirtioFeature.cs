namespace Hull.Devices.Virtio;

/// <summary>Feature bits that belong to every device. Virtio 1.2 section 6, "Reserved Feature Bits".</summary>
internal static class VirtioFeature
{
    /// <summary>Descriptors may point at tables of descriptors.</summary>
    internal const ulong IndirectDescriptors = 1UL << 28;

    /// <summary>Notifications are suppressed by index, not by flag.</summary>
    internal const ulong EventIndex = 1UL << 29;

    /// <summary>The device follows this specification, not the older drafts.</summary>
    internal const ulong Version1 = 1UL << 32;

    /// <summary>Queues are packed rings. Offered only where the user asks for it.</summary>
    internal const ulong RingPacked = 1UL << 34;

    /// <summary>One queue may be reset alone.</summary>
    internal const ulong RingReset = 1UL << 40;

    /// <summary>What Hull's transports and queues do for every device.</summary>
    internal const ulong Common = IndirectDescriptors | EventIndex | Version1 | RingReset;
}

/// <summary>The device status field. Virtio 1.2 section 2.1, "Device Status Field".</summary>
internal static class VirtioStatus
{
    internal const byte Acknowledge = 1;
    internal const byte Driver = 2;
    internal const byte DriverOk = 4;
    internal const byte FeaturesOk = 8;
    internal const byte NeedsReset = 0x40;
    internal const byte Failed = 0x80;
}
