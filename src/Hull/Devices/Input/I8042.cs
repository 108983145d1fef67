using System;
using System.Threading;
using Hull.Bus;
using Hull.Platform;

namespace Hull.Devices.Input;

/// <summary>
/// The keyboard controller with a keyboard, no mouse, and the two lines that systems use it for: reset and A20 (which is
/// always open). Every command answers at once, so that no driver waits for a time-out. IBM PS/2 Hardware Interface
/// Technical Reference, "Keyboard and Auxiliary Device Controller".
/// </summary>
internal sealed class I8042 : IByteRegisters, IIrqSource
{
    private const int DataOffset = 0;
    private const int CommandOffset = 4;
    private const byte OutputFull = 0x01;
    private const byte SystemFlag = 0x04;
    private const byte LastWasCommand = 0x08;
    private const byte Unlocked = 0x10;
    private const byte FromMouse = 0x20;
    private const byte InterruptEnable = 0x01;
    private const byte KeyboardDisabled = 0x10;

    private readonly Lock _lock = new();
    private readonly IrqLine _irq;
    private readonly Action _resetRequested;
    private readonly Ps2Keyboard _keyboard = new();
    private readonly byte[] _ram = new byte[32];
    private byte _status = SystemFlag | Unlocked;
    private byte _output;
    private byte _outputPort = 0xCF;
    private int _pendingCommand = -1;
    private volatile bool _irqLevel;

    /// <summary>Makes the controller as firmware leaves it: keyboard on, scancodes translated to set 1.</summary>
    /// <param name="irq">The keyboard's interrupt.</param>
    /// <param name="resetRequested">The guest pulsed the reset line. On the vCPU's thread, with no lock held.</param>
    internal I8042(IrqLine irq, Action resetRequested)
    {
        _irq = irq;
        _resetRequested = resetRequested;
        _ram[0] = 0x61; // Translate, no mouse, system flag's copy in bit 2 comes with the self test, interrupt on.
    }

    /// <inheritdoc/>
    public bool IrqLevel => _irqLevel;

    /// <summary>Puts the controller on ports 0x60, 0x64 and 0x92.</summary>
    internal void Map(IoBus bus)
    {
        bus.MapPorts(PlatformMap.I8042DataPort, 1, new BytePorts(new Part(this, DataOffset), 1));
        bus.MapPorts(PlatformMap.I8042CommandPort, 1, new BytePorts(new Part(this, CommandOffset), 1));
        bus.MapPorts(PlatformMap.PortA, 1, new BytePorts(new PortARegister(_resetRequested), 1));
    }

    /// <summary>Types scancodes (set 1, as the guest reads them). Any thread.</summary>
    /// <returns>False when the keyboard's buffer is full.</returns>
    internal bool Type(ReadOnlySpan<byte> scancodes)
    {
        bool taken;
        lock (_lock)
        {
            taken = _keyboard.TryType(scancodes);
            Refresh();
        }

        _irq.Follow(this);
        return taken;
    }

    /// <inheritdoc/>
    public byte ReadRegister(int offset)
    {
        byte value;
        lock (_lock)
        {
            if (offset == CommandOffset)
            {
                return _status;
            }

            value = _output;
            _status &= unchecked((byte)~(OutputFull | FromMouse));
            _irqLevel = false;
        }

        // The next byte is a new edge: let the line fall first.
        _irq.Follow(this);
        lock (_lock)
        {
            Refresh();
        }

        _irq.Follow(this);
        return value;
    }

    /// <inheritdoc/>
    public void WriteRegister(int offset, byte value)
    {
        bool reset = false;
        lock (_lock)
        {
            if (offset == CommandOffset)
            {
                _status |= LastWasCommand;
                reset = Command(value);
            }
            else
            {
                _status &= unchecked((byte)~LastWasCommand);
                reset = Data(value);
            }

            Refresh();
        }

        _irq.Follow(this);
        if (reset)
        {
            _resetRequested();
        }
    }

    /// <returns>True when the machine is to be reset.</returns>
    private bool Command(byte command)
    {
        _pendingCommand = -1;
        switch (command)
        {
            case >= 0x20 and < 0x40:
                Answer(_ram[command & 0x1F]);
                break;
            case >= 0x60 and < 0x80 or 0xD1 or 0xD2 or 0xD3 or 0xD4:
                _pendingCommand = command;
                break;
            case 0xA9:
                Answer(0x01); // The mouse's clock line is stuck low: there is no mouse.
                break;
            case 0xAA:
                _ram[0] |= SystemFlag;
                Answer(0x55);
                break;
            case 0xAB:
                Answer(0x00);
                break;
            case 0xAD:
                _ram[0] |= KeyboardDisabled;
                break;
            case 0xAE:
                _ram[0] &= unchecked((byte)~KeyboardDisabled);
                break;
            case 0xC0:
                Answer(0x80);
                break;
            case 0xD0:
                Answer(_outputPort);
                break;
            case >= 0xF0:
                return (command & 1) == 0; // Bits that are zero are pulsed low; bit 0 is the reset line.
            default:
                break;
        }

        return false;
    }

    /// <returns>True when the machine is to be reset.</returns>
    private bool Data(byte value)
    {
        int command = _pendingCommand;
        _pendingCommand = -1;
        switch (command)
        {
            case >= 0x60 and < 0x80:
                _ram[command & 0x1F] = value;
                break;
            case 0xD1:
                _outputPort = (byte)(value | 2);
                return (value & 1) == 0;
            case 0xD2 or 0xD3:
                // 0xD3 would come back marked as the mouse's; that it does not tells Linux that there is none.
                Answer(value);
                break;
            case 0xD4:
                break;
            default:
                _ram[0] &= unchecked((byte)~KeyboardDisabled);
                _keyboard.Write(value);
                break;
        }

        return false;
    }

    private void Answer(byte value)
    {
        _output = value;
        _status = (byte)((_status & ~FromMouse) | OutputFull);
        _irqLevel = (_ram[0] & InterruptEnable) != 0;
    }

    /// <summary>Brings the keyboard's next byte into the output buffer when it is free.</summary>
    private void Refresh()
    {
        if ((_status & OutputFull) == 0 && (_ram[0] & KeyboardDisabled) == 0 && _keyboard.TryRead(out byte value))
        {
            Answer(value);
        }

        _irqLevel = (_status & OutputFull) != 0 && (_ram[0] & InterruptEnable) != 0;
    }

    private sealed class Part(I8042 controller, int at) : IByteRegisters
    {
        public byte ReadRegister(int offset) => controller.ReadRegister(at);

        public void WriteRegister(int offset, byte value) => controller.WriteRegister(at, value);
    }

    /// <summary>System control port A: bit 0 resets, bit 1 is A20.</summary>
    private sealed class PortARegister(Action resetRequested) : IByteRegisters
    {
        public byte ReadRegister(int offset) => 2;

        public void WriteRegister(int offset, byte value)
        {
            if ((value & 1) != 0)
            {
                resetRequested();
            }
        }
    }
}
