using System;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Xen.Block;
using Hull.Xen.Network;

namespace Hull.Xen.PvDevices;

/// <summary>Gives a domain its disks and network cards through Xen's own drivers.</summary>
internal sealed class PvBackends(Domain domain)
{
    private int _disks;
    private int _cards;

    /// <summary>Makes the back end of a device. Before the guest runs.</summary>
    /// <returns>Null for a device that comes to the guest in another way.</returns>
    /// <exception cref="Hull.Host.HullException">What it needs of the host is not there.</exception>
    internal IDisposable? TryCreate(DeviceSpec spec, DeviceContext context) => spec switch
    {
        DiskSpec disk => new BlockBackend(domain, disk.Open(), _disks++),
        NetSpec net => new NetBackend(domain, net.Open(context), _cards++),
        _ => null,
    };
}
