using System.Threading;
using Hull.Bus;
using Hull.Timeline;

namespace Hull.Devices.Serial;

/// <summary>
/// A 16550A. Sending takes no time: the transmitter is always empty. Receiving is paced by the guest, not by the baud
/// rate (<see cref="UartReceiver"/>). National Semiconductor PC16550D data sheet, "Registers".
/// </summary>
internal sealed class Uart16550 : IByteRegisters, IIrqSource
{
    private const byte InterruptReceive = 1;
    private const byte InterruptTransmit = 2;
    private const byte InterruptLineStatus = 4;
    private const byte InterruptModem = 8;
    private const byte LineData = 0x01;
    private const byte LineEmpty = 0x60; // THRE and TEMT
    private const byte DivisorLatch = 0x80;
    private const byte ModemDtr = 0x01;
    private const byte ModemRts = 0x02;
    private const byte ModemOut1 = 0x04;
    private const byte ModemOut2 = 0x08;
    private const byte ModemLoop = 0x10;

    /// <summary>The other side is there and listens: DCD, DSR, CTS.</summary>
    private const byte ModemLines = 0xB0;

    private readonly Lock _lock = new();
    private readonly IrqLine _irq;
    private readonly ISerialOutput _output;
    private readonly UartReceiver _receiver;
    private byte _interruptEnable;
    private byte _fifoControl;
    private byte _lineControl;
    private byte _modemControl;
    private byte _modemStatus = ModemLines;
    private byte _scratch;
    private byte _overrun;
    private ushort _divisor = 12;
    private bool _transmitPending;
    private volatile bool _irqLevel;

    /// <summary>Makes the port with nothing received.</summary>
    internal Uart16550(ITimerQueue timers, IrqLine irq, ISerialOutput output)
    {
        _irq = irq;
        _output = output;
        _receiver = new UartReceiver(timers, Feed);
    }

    /// <summary>What the host sends to the guest.</summary>
    internal SerialInput Input => _receiver.Input;

    /// <inheritdoc/>
    public bool IrqLevel => _irqLevel;

    /// <summary>The guest asserts RTS and is not testing itself: bytes may come.</summary>
    private bool IsReady => (_modemControl & (ModemRts | ModemLoop)) == ModemRts;

    private bool IsFifo => (_fifoControl & 1) != 0;

    /// <summary>Puts the port on eight I/O ports.</summary>
    internal void Map(IoBus bus, ushort port) => bus.MapPorts(port, 8, new BytePorts(this, 8));

    /// <inheritdoc/>
    public byte ReadRegister(int offset)
    {
        byte value;
        bool took = false;
        bool changed;
        lock (_lock)
        {
            value = offset switch
            {
                0 => IsDivisorLatched() ? (byte)_divisor : ReadData(out took),
                1 => IsDivisorLatched() ? (byte)(_divisor >> 8) : _interruptEnable,
                2 => ReadInterruptIdentification(),
                3 => _lineControl,
                4 => _modemControl,
                5 => ReadLineStatus(),
                6 => ReadModemStatus(),
                _ => _scratch,
            };
            changed = Refresh();
        }

        Notify(changed);
        if (took)
        {
            Input.Taken();
        }

        return value;
    }

    /// <inheritdoc/>
    public void WriteRegister(int offset, byte value)
    {
        bool sent = false;
        bool changed;
        lock (_lock)
        {
            switch (offset)
            {
                case 0 when IsDivisorLatched():
                    _divisor = (ushort)((_divisor & 0xFF00) | value);
                    break;
                case 0:
                    sent = WriteData(value);
                    break;
                case 1 when IsDivisorLatched():
                    _divisor = (ushort)((_divisor & 0x00FF) | (value << 8));
                    break;
                case 1:
                    WriteInterruptEnable(value);
                    break;
                case 2:
                    WriteFifoControl(value);
                    break;
                case 3:
                    _lineControl = value;
                    break;
                case 4:
                    WriteModemControl(value);
                    break;
                case 7:
                    _scratch = value;
                    break;
                default:
                    break; // LSR and MSR are read only.
            }

            changed = Refresh();
        }

        Notify(changed);
        if (sent)
        {
            _output.Put(value);
        }
    }

    private bool IsDivisorLatched() => (_lineControl & DivisorLatch) != 0;

    private byte ReadData(out bool took) => _receiver.Read(IsReady, IsFifo, out took);

    private bool WriteData(byte value)
    {
        _transmitPending = true;
        if ((_modemControl & ModemLoop) == 0)
        {
            return true;
        }

        if (!_receiver.Loop(value, IsFifo))
        {
            _overrun = 2;
        }

        return false;
    }

    private void WriteInterruptEnable(byte value)
    {
        value &= 0x0F;

        // Enabling the transmit interrupt with the transmitter empty raises it at once; Linux tests for that.
        if ((value & ~_interruptEnable & InterruptTransmit) != 0)
        {
            _transmitPending = true;
        }

        _interruptEnable = value;
    }

    private void WriteFifoControl(byte value)
    {
        bool toggled = ((value ^ _fifoControl) & 1) != 0;
        if (toggled || (value & 2) != 0)
        {
            _receiver.Clear(looped: (_modemControl & ModemLoop) != 0);
        }

        _fifoControl = (byte)((value & 1) != 0 ? value & 0xC9 : 0);
    }

    private void WriteModemControl(byte value)
    {
        if (((value ^ _modemControl) & ModemLoop) != 0)
        {
            _receiver.Clear(looped: (_modemControl & ModemLoop) != 0);
        }

        _modemControl = (byte)(value & 0x1F);
        byte lines = ModemLines;
        if ((value & ModemLoop) != 0)
        {
            lines = (byte)(((value & ModemRts) << 3) | ((value & ModemDtr) << 5)
                | ((value & ModemOut1) << 4) | ((value & ModemOut2) << 4));
        }

        // Deltas in the low half: a changed line; for RI only its end counts.
        byte changed = (byte)((lines ^ _modemStatus) >> 4);
        bool ringEnded = (_modemStatus & ~lines & 0x40) != 0;
        byte delta = (byte)((changed & 0x0B) | (ringEnded ? 4 : 0));
        _modemStatus = (byte)(lines | (_modemStatus & 0x0F) | delta);
        _receiver.Fill(IsReady, IsFifo);
    }

    private byte ReadInterruptIdentification()
    {
        byte identification = Identify();
        if (identification == 2)
        {
            _transmitPending = false;
        }

        return (byte)(identification | (IsFifo ? 0xC0 : 0));
    }

    private byte ReadLineStatus()
    {
        byte value = (byte)(LineEmpty | (_receiver.Count > 0 ? LineData : 0) | _overrun);
        _overrun = 0;
        return value;
    }

    private byte ReadModemStatus()
    {
        byte value = _modemStatus;
        _modemStatus &= 0xF0;
        return value;
    }

    /// <summary>The interrupt of the highest priority, as IIR shows it; 1 is none.</summary>
    private byte Identify()
    {
        if ((_interruptEnable & InterruptLineStatus) != 0 && _overrun != 0)
        {
            return 6;
        }

        if ((_interruptEnable & InterruptReceive) != 0 && _receiver.Count > 0)
        {
            // Below the trigger level it is the character time-out, which comes without delay here.
            return _receiver.Count >= TriggerLevel() ? (byte)4 : (byte)0x0C;
        }

        if ((_interruptEnable & InterruptTransmit) != 0 && _transmitPending)
        {
            return 2;
        }

        return (_interruptEnable & InterruptModem) != 0 && (_modemStatus & 0x0F) != 0 ? (byte)0 : (byte)1;
    }

    private int TriggerLevel() => !IsFifo ? 1 : (_fifoControl >> 6) switch
    {
        0 => 1,
        1 => 4,
        2 => 8,
        _ => 14,
    };

    /// <summary>On a PC, OUT2 connects the interrupt with the bus.</summary>
    /// <returns>True when the interrupt changed, and the line is to follow once the lock is dropped.</returns>
    private bool Refresh()
    {
        bool level = (_modemControl & (ModemOut2 | ModemLoop)) == ModemOut2 && Identify() != 1;
        bool changed = level != _irqLevel;
        _irqLevel = level;
        return changed;
    }

    private void Notify(bool changed)
    {
        if (changed)
        {
            _irq.Follow(this);
        }
    }

    /// <summary>Bytes arrived from the host, or the pause is over. Any thread.</summary>
    private void Feed()
    {
        bool took;
        bool changed;
        lock (_lock)
        {
            took = _receiver.Fill(IsReady, IsFifo);
            changed = Refresh();
        }

        Notify(changed);
        if (took)
        {
            Input.Taken();
        }
    }
}
