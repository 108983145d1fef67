using System;

namespace Hull.Devices;

/// <summary>A device that comes to the guest in another way than PCI, as Xen's disks and network cards do.</summary>
internal interface IOtherDevice : IDisposable
{
    /// <summary>Asks the guest to let go of it. Any thread; may be asked again.</summary>
    /// <param name="gone">Called once, when the guest has; it returns at once and calls nothing.</param>
    void Leave(Action gone);
}
