using System;
using System.Threading;
using Hull.Bus;
using Hull.Platform;

namespace Hull.Devices.Irq;

/// <summary>
/// The two 8259s of a PC, the slave at input 2 of the master, with the edge/level control registers. Sixteen inputs
/// in, one INT out.
/// </summary>
internal sealed class PicPair : IExtIntSource
{
    private readonly Lock _lock = new();
    private readonly Pic8259 _master = new(elcrMask: 0xF8, cascadeInput: 2);
    private readonly Pic8259 _slave = new(elcrMask: 0xDE, cascadeInput: -1);
    private volatile bool _output;

    /// <summary>Called with no lock held when <see cref="Output"/> may have changed.</summary>
    internal Action? OutputChanged { get; set; }

    /// <inheritdoc/>
    public bool Output => _output;

    /// <summary>Puts the pair on its ports.</summary>
    internal void Map(IoBus bus)
    {
        bus.MapPorts(PlatformMap.Pic1Port, 2, new BytePorts(new Ports(this, _master), 2));
        bus.MapPorts(PlatformMap.Pic2Port, 2, new BytePorts(new Ports(this, _slave), 2));
        bus.MapPorts(PlatformMap.ElcrPort, 2, new BytePorts(new ElcrPorts(this), 2));
    }

    /// <summary>Goes to the state after power-on.</summary>
    internal void Reset()
    {
        lock (_lock)
        {
            _master.Reset();
            _slave.Reset();
            Refresh();
        }

        OutputChanged?.Invoke();
    }

    /// <summary>Drives input 0-15. Any thread.</summary>
    internal void SetInput(int input, bool level)
    {
        bool changed;
        lock (_lock)
        {
            if (input < 8)
            {
                _master.SetInput(input, level);
            }
            else
            {
                _slave.SetInput(input - 8, level);
            }

            changed = Refresh();
        }

        Notify(changed);
    }

    /// <inheritdoc/>
    public int AcknowledgeInterrupt()
    {
        int vector;
        bool changed;
        lock (_lock)
        {
            int input = _master.Acknowledge();
            vector = input == 2 ? _slave.VectorOf(_slave.Acknowledge()) : _master.VectorOf(input);
            changed = Refresh();
        }

        Notify(changed);
        return vector;
    }

    private byte Read(Pic8259 chip, int address)
    {
        byte value;
        bool changed;
        lock (_lock)
        {
            value = chip.Read(address);
            changed = Refresh();
        }

        Notify(changed);
        return value;
    }

    private void Write(Pic8259 chip, int address, byte value)
    {
        bool changed;
        lock (_lock)
        {
            chip.Write(address, value);
            changed = Refresh();
        }

        Notify(changed);
    }

    private bool Refresh()
    {
        _master.SetCascade(_slave.Pending >= 0);
        bool output = _master.Pending >= 0;
        bool changed = output != _output;
        _output = output;
        return changed;
    }

    private void Notify(bool changed)
    {
        if (changed)
        {
            OutputChanged?.Invoke();
        }
    }

    private sealed class Ports(PicPair pair, Pic8259 chip) : IByteRegisters
    {
        public byte ReadRegister(int offset) => pair.Read(chip, offset);

        public void WriteRegister(int offset, byte value) => pair.Write(chip, offset, value);
    }

    private sealed class ElcrPorts(PicPair pair) : IByteRegisters
    {
        public byte ReadRegister(int offset)
        {
            lock (pair._lock)
            {
                return offset == 0 ? pair._master.Elcr : pair._slave.Elcr;
            }
        }

        public void WriteRegister(int offset, byte value)
        {
            lock (pair._lock)
            {
                Pic8259 chip = offset == 0 ? pair._master : pair._slave;
                chip.Elcr = value;
            }
        }
    }
}
