using System;
using System.Threading;
using Hull.Bus;
using Hull.Devices.Pci;

namespace Hull.Devices.Virtio;

/// <summary>
/// A virtio device as a PCI function: BAR 0 has the common configuration, the interrupt status, the device's
/// configuration and the notification area, a page each; BAR 2 has the MSI-X table. Virtio 1.2 section 4.1, "Virtio Over
/// PCI Bus".
/// </summary>
internal sealed class VirtioPci : PciFunction, IDoorbellDevice, IVirtioTransport
{
    private const ushort VirtioVendor = 0x1AF4;
    private const ushort FirstModernDevice = 0x1040;
    private const byte VendorCapability = 9;
    private const uint Page = 0x1000;
    private const uint InterruptPage = 1;
    private const uint DevicePage = 2;
    private const uint NotifyPage = 3;
    private const uint NotifyBytes = 4;                         // each queue has a word: what is written there need not be looked at
    private const byte ConfigurationChange = 2;
    private const ushort NoVector = 0xFFFF;

    private readonly Lock _lock = new();
    private readonly Doorway _users = new();
    private readonly VirtioRegisters _registers;
    private readonly MsixTable _msix;
    private readonly int _msixControl;
    private readonly int _windowAt;
    private readonly ushort[] _queueVectors;
    private ushort _configurationVector = NoVector;
    private int _interruptStatus;

    /// <summary>Makes the function.</summary>
    /// <param name="device">The device behind it.</param>
    /// <param name="messages">Where interrupt messages go.</param>
    internal VirtioPci(VirtioDevice device, IMsiSink messages)
        : base(new PciIdentity
        {
            Vendor = VirtioVendor,
            Device = (ushort)(FirstModernDevice + device.Id),
            Class = device.PciClass,
            Revision = 1,
            SubsystemVendor = VirtioVendor,
            Subsystem = (ushort)(FirstModernDevice + device.Id),
        })
    {
        _registers = new VirtioRegisters(device);
        _queueVectors = new ushort[device.Queues.Length];
        Array.Fill(_queueVectors, NoVector);
        AddBar(0, new PciBar(this, 4 * Page));
        _msix = new MsixTable(device.Queues.Length + 1, messages);
        AddBar(2, new PciBar(_msix, MsixTable.RegionSize));
        _msixControl = _msix.AddCapability(this, 2, 0) + 2;
        AddCapability(1, 0, Page);
        AddCapability(3, InterruptPage, 4);
        AddCapability(4, DevicePage, (uint)Math.Max(device.ConfigurationLength, 4));
        SetConfig(AddCapability(2, NotifyPage, Page, 20) + 16, NotifyBytes, 4);
        _windowAt = AddCapability(5, 0, 0, 20);
        SetWritable(_windowAt + 4, 0xFF, 1);
        SetWritable(_windowAt + 8, uint.MaxValue, 4);
        SetWritable(_windowAt + 12, uint.MaxValue, 4);
        SetWritable(_windowAt + 16, uint.MaxValue, 4);
        _registers.AddDoorbells(static queue => ((NotifyPage * Page) + ((ulong)queue * NotifyBytes), 0, null));
        device.Connect(this);
    }

    /// <inheritdoc/>
    public DoorbellPanel Doorbells => _registers.Doorbells;

    /// <inheritdoc/>
    public void RaiseQueue(int queue)
    {
        if (_msix.IsEnabled)
        {
            _msix.Notify(Volatile.Read(ref _queueVectors[queue]));
            return;
        }

        Interlocked.Or(ref _interruptStatus, 1);
        SetIntx(true);
    }

    /// <inheritdoc/>
    public void RaiseConfiguration()
    {
        _registers.ConfigurationGeneration++;
        Interlocked.Or(ref _interruptStatus, ConfigurationChange);
        if (_msix.IsEnabled)
        {
            _msix.Notify(Volatile.Read(ref _configurationVector));
            return;
        }

        SetIntx(true);
    }

    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        if (!_users.TryEnter())
        {
            return ulong.MaxValue;
        }

        ulong value = ReadRegister(offset, size);
        _users.Leave();
        return value;
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
        if (_users.TryEnter())
        {
            WriteRegister(offset, size, value);
            _users.Leave();
        }
    }

    /// <inheritdoc/>
    protected override void Detached()
    {
        _users.Close();
        _msix.Close();
    }

    private ulong ReadRegister(ulong offset, int size)
    {
        uint page = (uint)(offset / Page);
        int at = (int)(offset % Page);
        switch (page)
        {
            case 0:
                lock (_lock)
                {
                    return size == 8
                        ? ReadCommon(at, 4) | ((ulong)ReadCommon(at + 4, 4) << 32)
                        : ReadCommon(at, size);
                }

            case InterruptPage when at == 0:
                uint status = (uint)Interlocked.Exchange(ref _interruptStatus, 0);
                SetIntx(false);
                return status;
            case DevicePage:
                return _registers.ReadConfiguration(at, size);
            default:
                return 0;
        }
    }

    private void WriteRegister(ulong offset, int size, ulong value)
    {
        uint page = (uint)(offset / Page);
        int at = (int)(offset % Page);
        switch (page)
        {
            case 0 when size == 8:
                lock (_lock)
                {
                    WriteCommon(at, 4, (uint)value);
                    WriteCommon(at + 4, 4, (uint)(value >> 32));
                }

                break;
            case 0:
                lock (_lock)
                {
                    WriteCommon(at, size, (uint)value);
                }

                break;
            case DevicePage:
                _registers.WriteConfiguration(at, size, value);
                break;
            case NotifyPage when at % NotifyBytes == 0:
                _registers.Notify((uint)at / NotifyBytes);
                break;
            default:
                break;
        }
    }

    /// <inheritdoc/>
    protected override void ConfigWritten(int offset, int size)
    {
        if (offset <= _msixControl + 1 && offset + size > _msixControl)
        {
            _msix.SetControl(Get16(_msixControl));
        }

        // The window of the PCI configuration capability: section 4.1.4.9, "PCI configuration access capability".
        if (offset >= _windowAt + 16 && offset < _windowAt + 20 && FindWindow(out uint target, out int length))
        {
            WriteMmio(target, length, Get32(_windowAt + 16));
        }
    }

    /// <inheritdoc/>
    protected override void RefreshConfig(int offset)
    {
        if (offset >= _windowAt + 16 && offset < _windowAt + 20 && FindWindow(out uint target, out int length))
        {
            SetConfig(_windowAt + 16, (uint)ReadMmio(target, length), 4);
        }
    }

    private int AddCapability(byte kind, uint page, uint length, byte size = 16)
    {
        int at = AddCapability(VendorCapability, size);
        SetConfig(at + 2, size, 1);
        SetConfig(at + 3, kind, 1);
        SetConfig(at + 8, page * Page, 4);
        SetConfig(at + 12, length, 4);
        return at;
    }

    private bool FindWindow(out uint target, out int length)
    {
        target = Get32(_windowAt + 8);
        length = (int)Get32(_windowAt + 12);
        return Get32(_windowAt + 4) << 24 == 0 && length is 1 or 2 or 4 && target < 4 * Page && target % (uint)length == 0;
    }

    // Section 4.1.4.3, "Common configuration structure layout".
    private uint ReadCommon(int at, int size)
    {
        Virtqueue? queue = _registers.Queue;
        return at switch
        {
            0x00 => _registers.DeviceFeatureSelect,
            0x04 => _registers.DeviceFeatures,
            0x08 => _registers.DriverFeatureSelect,
            0x0C => _registers.DriverFeatures,
            0x10 when size == 2 => _configurationVector,
            0x12 => (uint)_registers.Device.Queues.Length,
            0x14 => _registers.Status,
            0x15 => _registers.ConfigurationGeneration,
            0x16 => _registers.QueueSelect,
            0x18 => queue?.Size ?? 0u,
            0x1A => queue is null ? NoVector : _queueVectors[_registers.QueueSelect],
            0x1C => queue is { IsEnabled: true } ? 1u : 0,
            0x20 => (uint)(queue?.Descriptors.Value ?? 0),
            0x24 => (uint)((queue?.Descriptors.Value ?? 0) >> 32),
            0x28 => (uint)(queue?.DriverRing.Value ?? 0),
            0x2C => (uint)((queue?.DriverRing.Value ?? 0) >> 32),
            0x30 => (uint)(queue?.DeviceRing.Value ?? 0),
            0x34 => (uint)((queue?.DeviceRing.Value ?? 0) >> 32),
            0x1E => _registers.QueueSelect,                     // queue_notify_off
            _ => 0,                                             // 38h queue_notify_data, 3Ah queue_reset
        };
    }

    private void WriteCommon(int at, int size, uint value)
    {
        switch (at)
        {
            case 0x00:
                _registers.DeviceFeatureSelect = value;
                break;
            case 0x08:
                _registers.DriverFeatureSelect = value;
                break;
            case 0x0C:
                _registers.DriverFeatures = value;
                break;
            case 0x10:
                Volatile.Write(ref _configurationVector, VectorOf(value));
                break;
            case 0x14:
                if (_registers.WriteStatus((byte)value))
                {
                    ForgetInterrupts();
                }

                break;
            case 0x16:
                _registers.QueueSelect = (ushort)value;
                break;
            case 0x1A when _registers.Queue is not null:
                Volatile.Write(ref _queueVectors[_registers.QueueSelect], VectorOf(value));
                break;
            case 0x1C when value == 1:
                _registers.EnableQueue();
                break;
            case 0x3A when value == 1 && _registers.Queue is not null && size == 2:
                _registers.Device.ResetQueue(_registers.QueueSelect);
                break;
            default:
                _registers.SetQueue(FieldAt(at), (at & 4) != 0, at == 0x18 ? (ushort)value : value);
                break;
        }
    }

    private static QueueField FieldAt(int at) => at switch
    {
        0x18 => QueueField.Size,
        0x20 or 0x24 => QueueField.Descriptors,
        0x28 or 0x2C => QueueField.DriverRing,
        0x30 or 0x34 => QueueField.DeviceRing,
        _ => QueueField.None,
    };

    private ushort VectorOf(uint value) => (ushort)value < _msix.Vectors ? (ushort)value : NoVector;

    private void ForgetInterrupts()
    {
        Array.Fill(_queueVectors, NoVector);
        _configurationVector = NoVector;
        Interlocked.Exchange(ref _interruptStatus, 0);
        SetIntx(false);
    }
}
