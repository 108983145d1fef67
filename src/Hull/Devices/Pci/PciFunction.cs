using System;
using System.Buffers.Binary;
using System.Threading;
using Hull.Bus;

namespace Hull.Devices.Pci;

/// <summary>Who a PCI function says it is.</summary>
internal sealed record PciIdentity
{
    /// <summary>Vendor.</summary>
    internal required ushort Vendor { get; init; }

    /// <summary>Device.</summary>
    internal required ushort Device { get; init; }

    /// <summary>Base class, subclass and programming interface, as 0xBBSSPP.</summary>
    internal required uint Class { get; init; }

    /// <summary>Revision.</summary>
    internal byte Revision { get; init; }

    /// <summary>Subsystem vendor.</summary>
    internal ushort SubsystemVendor { get; init; }

    /// <summary>Subsystem.</summary>
    internal ushort Subsystem { get; init; }
}

/// <summary>
/// One PCI function with a type 0 header: 4 KiB of configuration space with a mask of what the guest may write, BARs,
/// a list of capabilities, INTx. A device derives from it or owns one. Configuration accesses come from any vCPU.
/// PCI Local Bus 3.0, "Configuration Space".
/// </summary>
internal class PciFunction : IIrqSource
{
    internal const int ConfigSize = 4096;
    private const int Command = 0x04;
    private const int Status = 0x06;
    private const int FirstBar = 0x10;
    private const int Bars = 6;
    private const int CapabilityPointer = 0x34;
    private const int InterruptLine = 0x3C;
    private const int InterruptPin = 0x3D;
    private const ushort CommandPorts = 1;
    private const ushort CommandMemory = 2;
    private const ushort CommandBusMaster = 4;
    private const ushort CommandIntxDisable = 0x400;
    private const ushort StatusInterrupt = 0x08;
    private const ushort StatusCapabilities = 0x10;

    private readonly byte[] _config = new byte[ConfigSize];
    private readonly byte[] _writable = new byte[ConfigSize];
    private readonly PciBar?[] _bars = new PciBar?[Bars];
    private int _nextCapability = 0x40;
    private int _lastCapability = CapabilityPointer;
    private IoBus? _bus;
    private IrqLine? _intx;
    private bool _intxWanted;
    private volatile bool _irqLevel;

    /// <summary>Makes the function with no BARs and no capabilities.</summary>
    internal PciFunction(PciIdentity identity)
    {
        Span<byte> config = _config;
        BinaryPrimitives.WriteUInt16LittleEndian(config, identity.Vendor);
        BinaryPrimitives.WriteUInt16LittleEndian(config[2..], identity.Device);
        BinaryPrimitives.WriteUInt32LittleEndian(config[8..], (identity.Class << 8) | identity.Revision);
        BinaryPrimitives.WriteUInt16LittleEndian(config[0x2C..], identity.SubsystemVendor);
        BinaryPrimitives.WriteUInt16LittleEndian(config[0x2E..], identity.Subsystem);
        SetWritable(Command, CommandPorts | CommandMemory | CommandBusMaster | CommandIntxDisable, 2);
        SetWritable(InterruptLine, 0xFF, 1);
        SetWritable(0x0C, 0xFF, 1);
    }

    /// <inheritdoc/>
    public bool IrqLevel => _irqLevel;

    /// <summary>True when the guest lets the function reach memory (bus master enable).</summary>
    internal bool IsBusMaster => (Get16(Command) & CommandBusMaster) != 0;

    /// <summary>Guards the configuration space; derived classes may take it for state that changes with it.</summary>
    protected Lock Gate { get; } = new();

    /// <summary>Connects the function. Called by <see cref="PciBus"/>.</summary>
    internal void Attach(IoBus bus, IrqLine? intx, byte interruptLine)
    {
        _bus = bus;
        if (intx is not null)
        {
            _intx = intx;
            _config[InterruptPin] = 1;
            _config[InterruptLine] = interruptLine;
        }
    }

    /// <summary>The function is out of its slot: its BARs decode nothing, its interrupt is low.</summary>
    internal void Detach()
    {
        WriteConfig(Command, 2, 0);
        SetIntx(false);
        Detached();
    }

    /// <summary>The multi-function bit of the header type.</summary>
    internal void SetMultifunction() => _config[0x0E] |= 0x80;

    /// <summary>Reads 1, 2 or 4 bytes of configuration space.</summary>
    internal uint ReadConfig(int offset, int size)
    {
        uint value = 0;
        lock (Gate)
        {
            RefreshConfig(offset);
            for (int i = 0; i < size && offset + i < ConfigSize; i++)
            {
                value |= (uint)_config[offset + i] << (i * 8);
            }
        }

        return value;
    }

    /// <summary>Writes 1, 2 or 4 bytes of configuration space.</summary>
    internal void WriteConfig(int offset, int size, uint value)
    {
        lock (Gate)
        {
            for (int i = 0; i < size && offset + i < ConfigSize; i++)
            {
                int at = offset + i;
                byte mask = _writable[at];
                _config[at] = (byte)((_config[at] & ~mask) | ((byte)(value >> (i * 8)) & mask));
            }

            if (offset < FirstBar + (Bars * 4) && offset + size > Command)
            {
                UpdateBars();
            }

            RefreshIntx();
        }

        _intx?.Follow(this);
        ConfigWritten(offset, size);
    }

    /// <summary>Registers a BAR. Before the machine runs.</summary>
    internal void AddBar(int index, PciBar bar)
    {
        _bars[index] = bar;
        int at = FirstBar + (index * 4);
        ulong mask = ~(bar.Size - 1);
        SetWritable(at, (uint)mask & (bar.IsPorts ? ~3u : ~0xFu), 4);
        BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(at), bar.Flags);
        if (bar.IsWide)
        {
            SetWritable(at + 4, (uint)(mask >> 32), 4);
        }
    }

    /// <summary>The BAR at an index, if there is one.</summary>
    internal PciBar? GetBar(int index) => _bars[index];

    /// <summary>The address in a BAR.</summary>
    internal ulong GetBarAddress(int index)
    {
        PciBar? bar = _bars[index];
        if (bar is null)
        {
            return 0;
        }

        int at = FirstBar + (index * 4);
        ulong low = Get32(at) & (bar.IsPorts ? ~3u : ~0xFu);
        return bar.IsWide ? low | ((ulong)Get32(at + 4) << 32) : low;
    }

    /// <summary>Adds a capability of <paramref name="length"/> bytes, its header included, filled with zeros.</summary>
    /// <returns>Its offset in configuration space.</returns>
    internal int AddCapability(byte id, int length)
    {
        int at = _nextCapability;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(at + length, 0x100);
        _nextCapability = (at + length + 3) & ~3;
        _config[at] = id;
        _config[_lastCapability == CapabilityPointer ? CapabilityPointer : _lastCapability + 1] = (byte)at;
        _lastCapability = at;
        _config[Status] |= (byte)StatusCapabilities;
        return at;
    }

    /// <summary>Sets bytes that the guest reads. <paramref name="size"/> is 1, 2 or 4.</summary>
    internal void SetConfig(int offset, uint value, int size)
    {
        lock (Gate)
        {
            for (int i = 0; i < size; i++)
            {
                _config[offset + i] = (byte)(value >> (i * 8));
            }
        }
    }

    /// <summary>Says which bits of configuration space the guest may change.</summary>
    internal void SetWritable(int offset, uint mask, int size)
    {
        for (int i = 0; i < size; i++)
        {
            _writable[offset + i] = (byte)(mask >> (i * 8));
        }
    }

    /// <summary>Drives INTx. Any thread; the caller holds no lock.</summary>
    internal void SetIntx(bool level)
    {
        lock (Gate)
        {
            _intxWanted = level;
            RefreshIntx();
        }

        _intx?.Follow(this);
    }

    /// <summary>The function was taken out. Returns when no access is under way any more.</summary>
    protected virtual void Detached()
    {
    }

    /// <summary>The guest wrote configuration space. With no lock held.</summary>
    protected virtual void ConfigWritten(int offset, int size)
    {
    }

    /// <summary>The guest is about to read configuration space; under <see cref="Gate"/>.</summary>
    protected virtual void RefreshConfig(int offset)
    {
    }

    /// <summary>Two bytes of configuration space.</summary>
    protected ushort Get16(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(_config.AsSpan(offset));

    /// <summary>Four bytes of configuration space.</summary>
    protected uint Get32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(offset));

    private void UpdateBars()
    {
        if (_bus is null)
        {
            return;
        }

        ushort command = Get16(Command);
        for (int i = 0; i < Bars; i++)
        {
            if (_bars[i] is { } bar)
            {
                bool decode = (command & (bar.IsPorts ? CommandPorts : CommandMemory)) != 0;
                bar.Update(_bus, decode, GetBarAddress(i));
            }
        }
    }

    private void RefreshIntx()
    {
        _config[Status] = (byte)(_intxWanted ? _config[Status] | StatusInterrupt : _config[Status] & ~StatusInterrupt);
        _irqLevel = _intxWanted && (Get16(Command) & CommandIntxDisable) == 0;
    }
}
