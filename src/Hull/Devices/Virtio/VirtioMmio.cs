using System;
using System.Threading;
using Hull.Bus;

namespace Hull.Devices.Virtio;

/// <summary>
/// A virtio device as a page of registers with one interrupt, for guests that have no PCI. Virtio 1.2 section 4.2, "Virtio
/// Over MMIO".
/// </summary>
internal sealed class VirtioMmio : IDoorbellDevice, IVirtioTransport, IIrqSource
{
    private const uint Magic = 0x7472_6976;                     // "virt"
    private const uint Version = 2;
    private const uint Vendor = 0x4C4C_5548;                    // "HULL"
    private const int ConfigurationAt = 0x100;
    private const int QueueNotify = 0x050;
    private const int UsedBuffer = 1;
    private const int ConfigurationChange = 2;

    private readonly Lock _lock = new();
    private readonly VirtioRegisters _registers;
    private readonly IrqLine _line;
    private int _interruptStatus;

    /// <summary>Makes the registers.</summary>
    /// <param name="device">The device behind them.</param>
    /// <param name="line">Its interrupt.</param>
    internal VirtioMmio(VirtioDevice device, IrqLine line)
    {
        _registers = new VirtioRegisters(device);
        _line = line;
        _registers.AddDoorbells(static queue => (QueueNotify, 4, (uint)queue));
        device.Connect(this);
    }

    /// <inheritdoc/>
    public DoorbellPanel Doorbells => _registers.Doorbells;

    /// <inheritdoc/>
    public bool IrqLevel => Volatile.Read(ref _interruptStatus) != 0;

    /// <inheritdoc/>
    public void RaiseQueue(int queue) => Raise(UsedBuffer);

    /// <inheritdoc/>
    public void RaiseConfiguration()
    {
        _registers.ConfigurationGeneration++;
        Raise(ConfigurationChange);
    }

    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        if (offset >= ConfigurationAt)
        {
            return _registers.ReadConfiguration((int)offset - ConfigurationAt, size);
        }

        // All registers but the configuration space have 32 bits. Section 4.2.2.2.
        lock (_lock)
        {
            return size == 4 ? Read((int)offset) : 0;
        }
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
        if (offset >= ConfigurationAt)
        {
            _registers.WriteConfiguration((int)offset - ConfigurationAt, size, value);
        }
        else if (size == 4)
        {
            Write((int)offset, (uint)value);
        }

        _line.Follow(this);
    }

    // Section 4.2.2, "MMIO Device Register Layout".
    private uint Read(int offset) => offset switch
    {
        0x000 => Magic,
        0x004 => Version,
        0x008 => _registers.Device.Id,
        0x00C => Vendor,
        0x010 => _registers.DeviceFeatures,
        0x034 => _registers.Queue?.MaximumSize ?? 0u,
        0x044 => _registers.Queue is { IsEnabled: true } ? 1u : 0,
        0x060 => (uint)Volatile.Read(ref _interruptStatus),
        0x070 => _registers.Status,
        0x0B0 or 0x0B4 or 0x0B8 or 0x0BC => uint.MaxValue,      // no shared memory regions
        0x0FC => _registers.ConfigurationGeneration,
        _ => 0,
    };

    private void Write(int offset, uint value)
    {
        switch (offset)
        {
            case QueueNotify:
                // Without the lock: a device may work in its notification.
                _registers.Notify(value);
                return;
            case 0x064:
                Interlocked.And(ref _interruptStatus, ~(int)value);
                return;
            default:
                break;
        }

        lock (_lock)
        {
            switch (offset)
            {
                case 0x014:
                    _registers.DeviceFeatureSelect = value;
                    break;
                case 0x020:
                    _registers.DriverFeatures = value;
                    break;
                case 0x024:
                    _registers.DriverFeatureSelect = value;
                    break;
                case 0x030:
                    _registers.QueueSelect = (ushort)Math.Min(value, ushort.MaxValue);
                    break;
                case 0x044 when value == 1:
                    _registers.EnableQueue();
                    break;
                case 0x044 or 0x0C0 when _registers.Queue is not null:
                    _registers.Device.ResetQueue(_registers.QueueSelect);
                    break;
                case 0x070:
                    if (_registers.WriteStatus((byte)value))
                    {
                        Interlocked.Exchange(ref _interruptStatus, 0);
                    }

                    break;
                default:
                    _registers.SetQueue(FieldAt(offset), (offset & 4) != 0, value);
                    break;
            }
        }
    }

    private static QueueField FieldAt(int offset) => offset switch
    {
        0x038 => QueueField.Size,
        0x080 or 0x084 => QueueField.Descriptors,
        0x090 or 0x094 => QueueField.DriverRing,
        0x0A0 or 0x0A4 => QueueField.DeviceRing,
        _ => QueueField.None,
    };

    private void Raise(int what)
    {
        Interlocked.Or(ref _interruptStatus, what);
        _line.Follow(this);
    }
}
