using System;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Storage;
using Hull.Xen.Block;
using Hull.Xen.Network;

namespace Hull.Xen.PvDevices;

/// <summary>Gives a domain its disks and network cards through Xen's own drivers.</summary>
internal sealed class PvBackends(Domain domain)
{
    /// <summary>Makes the back end of a device, and tells a guest that runs. Any thread.</summary>
    /// <returns>Null for a device that comes to the guest in another way.</returns>
    /// <exception cref="Hull.Host.HullException">What it needs of the host is not there.</exception>
    internal IOtherDevice? TryCreate(DeviceSpec spec, DeviceContext context)
    {
        switch (spec)
        {
            case DiskSpec disk:
                IByteStore store = disk.Open();
                return Make("vbd", BlockBackend.NumberOf, index => new BlockBackend(domain, store, index, disk.PersistentGrants));
            case NetSpec net:
                NetCard card = net.Open(context);
                return Make("vif", static index => index, index => new NetBackend(domain, card, index));
            default:
                return null;
        }
    }

    // In the first place of its kind that is free.
    private IOtherDevice Make(string kind, Func<int, int> numberOf, Func<int, IOtherDevice> make)
    {
        IOtherDevice? made = null;
        domain.Act(() =>
        {
            int index = 0;
            while (DeviceNodes.Exist(domain, kind, numberOf(index)))
            {
                index++;
            }

            made = make(index);
            domain.Store.Publish();
        });
        return made!; // the action has run
    }
}
