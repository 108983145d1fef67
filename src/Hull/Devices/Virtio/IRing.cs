using Hull.Memory;

namespace Hull.Devices.Virtio;

/// <summary>Where a queue's parts are, and what was agreed on.</summary>
internal readonly record struct RingPlace(
    GuestMemory Memory,
    GuestPhysical Descriptors,
    GuestPhysical DriverArea,
    GuestPhysical DeviceArea,
    ushort Size,
    ulong Features)
{
    internal bool HasEventIndex => (Features & VirtioFeature.EventIndex) != 0;

    internal bool HasIndirect => (Features & VirtioFeature.IndirectDescriptors) != 0;
}

/// <summary>How requests lie in the guest's memory. Under the queue's lock.</summary>
internal interface IRing
{
    /// <summary>Something is staged.</summary>
    bool HasStaged { get; }

    /// <summary>See <see cref="Virtqueue.IsPolled"/>.</summary>
    bool IsPolled { get; }

    /// <summary>Takes the next request; where there is none, the driver is asked to notify.</summary>
    /// <param name="chain">Begun; gets the buffers, and what names it in the ring.</param>
    /// <param name="more">Another one waits.</param>
    /// <param name="fault">What the driver did that no driver may.</param>
    bool TryTake(DescriptorChain chain, out bool more, ref string? fault);

    /// <summary>Asks the driver to notify of the next request, though the last one is still under way.</summary>
    /// <returns>True when one has come already.</returns>
    bool AskForMore();

    /// <summary>Prepares to return a request.</summary>
    void Stage(DescriptorChain chain, uint written);

    /// <summary>Returns what was staged.</summary>
    /// <returns>True when the driver wants an interrupt.</returns>
    bool Publish();

    /// <summary>Takes back what was staged.</summary>
    void Unstage();
}

/// <summary>The flags of a descriptor that both rings have. Virtio 1.2 sections 2.7.5 and 2.8.</summary>
internal static class DescriptorFlag
{
    internal const ushort Next = 1;
    internal const ushort Write = 2;
    internal const ushort Indirect = 4;
}
