using Hull.Memory;

namespace Hull.Devices.Virtio;

/// <summary>
/// The registers that every transport has, by meaning: feature words, status, the queue selected. A transport maps them
/// to offsets. Under its lock. Virtio 1.2 sections 2.1 to 2.5 and 3.1, "Device Initialization".
/// </summary>
internal sealed class VirtioRegisters(VirtioDevice device)
{
    private ulong _driverFeatures;
    private byte _status;

    /// <summary>The device.</summary>
    internal VirtioDevice Device => device;

    /// <summary>Which 32 bits of the device's features are read.</summary>
    internal uint DeviceFeatureSelect { get; set; }

    /// <summary>Which 32 bits of the driver's features are written.</summary>
    internal uint DriverFeatureSelect { get; set; }

    /// <summary>Which queue the queue registers belong to.</summary>
    internal ushort QueueSelect { get; set; }

    /// <summary>Changes with the configuration, so that a driver can read it whole.</summary>
    internal byte ConfigurationGeneration { get; set; }

    /// <summary>The queue selected; null when there is no such.</summary>
    internal Virtqueue? Queue => QueueSelect < device.Queues.Length ? device.Queues[QueueSelect] : null;

    /// <summary>What the device offers, 32 bits of it.</summary>
    internal uint DeviceFeatures => DeviceFeatureSelect switch
    {
        0 => (uint)Offered,
        1 => (uint)(Offered >> 32),
        _ => 0,
    };

    /// <summary>What the driver wants, 32 bits of it.</summary>
    internal uint DriverFeatures
    {
        get => DriverFeatureSelect switch { 0 => (uint)_driverFeatures, 1 => (uint)(_driverFeatures >> 32), _ => 0 };
        set
        {
            // Once agreed on, features stay.
            if ((_status & VirtioStatus.FeaturesOk) == 0)
            {
                _driverFeatures = DriverFeatureSelect switch
                {
                    0 => (_driverFeatures & ~0xFFFF_FFFFUL) | value,
                    1 => (uint)_driverFeatures | ((ulong)value << 32),
                    _ => _driverFeatures,
                };
            }
        }
    }

    /// <summary>The status field.</summary>
    internal byte Status => (byte)(_status | (device.NeedsReset ? VirtioStatus.NeedsReset : 0));

    /// <summary>The driver has said DRIVER_OK, and nothing is broken.</summary>
    internal bool IsRunning => (Status & (VirtioStatus.DriverOk | VirtioStatus.NeedsReset | VirtioStatus.Failed)) == VirtioStatus.DriverOk;

    private ulong Offered => device.DeviceFeatures | VirtioFeature.Common | (device.OffersPacked ? VirtioFeature.RingPacked : 0);

    /// <summary>Writes the status field; 0 resets the device.</summary>
    /// <returns>True when the device was reset.</returns>
    internal bool WriteStatus(byte value)
    {
        if (value == 0)
        {
            Reset();
            return true;
        }

        // The driver may set bits, never clear them.
        byte added = (byte)(value & ~_status & ~VirtioStatus.NeedsReset);
        if ((added & VirtioStatus.FeaturesOk) != 0)
        {
            if ((_driverFeatures & ~Offered) != 0 || (_driverFeatures & VirtioFeature.Version1) == 0)
            {
                added &= unchecked((byte)~VirtioStatus.FeaturesOk);
            }
            else
            {
                device.Features = _driverFeatures;
            }
        }

        // Without features that are agreed on there is no device to run.
        bool agreed = ((_status | added) & VirtioStatus.FeaturesOk) != 0;
        if ((added & VirtioStatus.DriverOk) != 0 && !agreed)
        {
            added &= unchecked((byte)~VirtioStatus.DriverOk);
        }

        _status |= added;
        if ((added & VirtioStatus.DriverOk) != 0)
        {
            device.Started();
        }

        return false;
    }

    /// <summary>Resets the device and all that the driver has set.</summary>
    internal void Reset()
    {
        _status = 0;
        _driverFeatures = 0;
        DeviceFeatureSelect = 0;
        DriverFeatureSelect = 0;
        QueueSelect = 0;
        device.Reset();
    }

    /// <summary>Enables the queue selected. A queue that cannot work stays off, and the driver sees that.</summary>
    internal void EnableQueue()
    {
        if ((_status & VirtioStatus.FeaturesOk) != 0 && Queue is { IsEnabled: false } queue)
        {
            queue.TryEnable(device.Features);
        }
    }

    /// <summary>The driver notifies of a queue.</summary>
    internal void Notify(uint queue)
    {
        if (IsRunning && queue < (uint)device.Queues.Length)
        {
            device.Notified((int)queue);
        }
    }

    /// <summary>Replaces 32 bits of a guest-physical address.</summary>
    internal static GuestPhysical WithHalf(GuestPhysical address, bool high, uint value) => new(high
        ? (uint)address.Value | ((ulong)value << 32)
        : (address.Value & ~0xFFFF_FFFFUL) | value);
}
