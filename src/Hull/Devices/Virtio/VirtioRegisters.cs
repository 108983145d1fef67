using System;
using System.Buffers.Binary;
using Hull.Bus;
using Hull.Memory;

namespace Hull.Devices.Virtio;

/// <summary>What a driver sets of a queue before it enables it.</summary>
internal enum QueueField
{
    /// <summary>None of these.</summary>
    None,

    /// <summary>Entries.</summary>
    Size,

    /// <summary>The descriptor area.</summary>
    Descriptors,

    /// <summary>The driver area.</summary>
    DriverRing,

    /// <summary>The device area.</summary>
    DeviceRing,
}

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

    /// <summary>The notifications that only wake a thread.</summary>
    internal DoorbellPanel Doorbells { get; } = new();

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
            Doorbells.Open();
        }

        if ((_status & VirtioStatus.Failed) != 0)
        {
            Doorbells.Close();
        }

        return false;
    }

    /// <summary>Resets the device and all that the driver has set.</summary>
    internal void Reset()
    {
        _status = 0;
        Doorbells.Close();
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

    /// <summary>Reads the device's configuration space; zeros beyond its end.</summary>
    internal ulong ReadConfiguration(int at, int size)
    {
        Span<byte> value = stackalloc byte[8];
        value.Clear();
        int length = Math.Min(size, device.ConfigurationLength - at);
        if (length > 0)
        {
            device.ReadConfiguration(at, value[..length]);
        }

        return BinaryPrimitives.ReadUInt64LittleEndian(value);
    }

    /// <summary>Writes the device's configuration space; nothing beyond its end.</summary>
    internal void WriteConfiguration(int at, int size, ulong value)
    {
        if (at + size <= device.ConfigurationLength)
        {
            Span<byte> bytes = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
            device.WriteConfiguration(at, bytes[..size]);
        }
    }

    /// <summary>Adds the doorbell of each queue that has one.</summary>
    /// <param name="at">For a queue: the offset of its register, the bytes written there (0: any), the value (null: any).</param>
    internal void AddDoorbells(Func<int, (ulong Offset, int Size, uint? Value)> at)
    {
        for (int queue = 0; queue < device.Queues.Length; queue++)
        {
            if (device.BellOf(queue) is { } bell)
            {
                (ulong offset, int size, uint? value) = at(queue);
                Doorbells.Add(offset, size, value, bell);
            }
        }
    }

    /// <summary>Writes the size or half an address of the queue selected. An enabled queue stays where it is.</summary>
    internal void SetQueue(QueueField field, bool high, uint value)
    {
        if (Queue is not { IsEnabled: false } queue)
        {
            return;
        }

        switch (field)
        {
            case QueueField.Size:
                queue.Size = (ushort)Math.Min(value, ushort.MaxValue);
                break;
            case QueueField.Descriptors:
                queue.Descriptors = WithHalf(queue.Descriptors, high, value);
                break;
            case QueueField.DriverRing:
                queue.DriverRing = WithHalf(queue.DriverRing, high, value);
                break;
            case QueueField.DeviceRing:
                queue.DeviceRing = WithHalf(queue.DeviceRing, high, value);
                break;
            default:
                break;
        }
    }

    /// <summary>Replaces 32 bits of a guest-physical address.</summary>
    private static GuestPhysical WithHalf(GuestPhysical address, bool high, uint value) => new(high
        ? (uint)address.Value | ((ulong)value << 32)
        : (address.Value & ~0xFFFF_FFFFUL) | value);
}
