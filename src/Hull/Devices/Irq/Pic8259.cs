using System.Numerics;

namespace Hull.Devices.Irq;

/// <summary>
/// One 8259A: requests, mask, in-service, priorities. Not thread safe: <see cref="PicPair"/> locks. Intel 8259A data
/// sheet.
/// </summary>
internal sealed class Pic8259
{
    private readonly byte _elcrMask;
    private readonly int _cascadeInput;
    private byte _lines;
    private byte _irr;
    private byte _isr;
    private byte _imr;
    private byte _base;
    private int _lowest;
    private int _initStep;
    private bool _needsIcw4;
    private bool _single;
    private bool _autoEoi;
    private bool _rotateOnAutoEoi;
    private bool _specialMask;
    private bool _fullyNested;
    private bool _poll;
    private bool _readIsr;

    /// <summary>Makes a chip.</summary>
    /// <param name="elcrMask">The inputs that may be level triggered.</param>
    /// <param name="cascadeInput">The input of the slave; -1 on the slave itself.</param>
    internal Pic8259(byte elcrMask, int cascadeInput)
    {
        _elcrMask = elcrMask;
        _cascadeInput = cascadeInput;
        Reset();
    }

    /// <summary>The edge/level control register: 1 is level.</summary>
    internal byte Elcr
    {
        get;
        set => field = (byte)(value & _elcrMask);
    }

    /// <summary>The input that is to be served next; -1 when INT is not asserted.</summary>
    internal int Pending
    {
        get
        {
            int requests = _irr & ~_imr;
            int blocking = _isr;
            if (_specialMask)
            {
                blocking &= ~_imr;
            }

            if (_fullyNested && _cascadeInput >= 0)
            {
                blocking &= ~(1 << _cascadeInput);
            }

            int request = Rank(requests);
            return request < Rank(blocking) ? (request + _lowest + 1) & 7 : -1;
        }
    }

    /// <summary>Power-on: nothing requested, nothing masked, vectors at zero.</summary>
    internal void Reset()
    {
        Initialize();
        _base = 0;
        _irr = 0;
        _initStep = 0;
        Elcr = 0;
    }

    /// <summary>Drives an input.</summary>
    internal void SetInput(int input, bool level)
    {
        byte bit = (byte)(1 << input);
        bool rose = level && (_lines & bit) == 0;
        _lines = (byte)(level ? _lines | bit : _lines & ~bit);
        if ((Elcr & bit) != 0)
        {
            _irr = (byte)(level ? _irr | bit : _irr & ~bit);
        }
        else if (rose)
        {
            _irr |= bit;
        }
    }

    /// <summary>The slave's INT output, which is a level.</summary>
    internal void SetCascade(bool level)
    {
        byte bit = (byte)(1 << _cascadeInput);
        _irr = (byte)(level ? _irr | bit : _irr & ~bit);
    }

    /// <summary>Takes the pending input into service.</summary>
    /// <returns>The input; 7 and no change when there is none (the spurious interrupt).</returns>
    internal int Acknowledge()
    {
        int input = Pending;
        if (input < 0)
        {
            return 7;
        }

        byte bit = (byte)(1 << input);
        if ((Elcr & bit) == 0)
        {
            _irr = (byte)(_irr & ~bit);
        }

        if (!_autoEoi)
        {
            _isr |= bit;
        }
        else if (_rotateOnAutoEoi)
        {
            _lowest = input;
        }

        return input;
    }

    /// <summary>The vector of an input.</summary>
    internal int VectorOf(int input) => _base | input;

    /// <summary>IN from address 0 or 1.</summary>
    internal byte Read(int address)
    {
        if (_poll)
        {
            _poll = false;
            int pending = Pending;
            return pending < 0 ? (byte)0 : (byte)(0x80 | Acknowledge());
        }

        return address == 1 ? _imr : _readIsr ? _isr : _irr;
    }

    /// <summary>OUT to address 0 or 1.</summary>
    internal void Write(int address, byte value)
    {
        if (address == 1)
        {
            WriteData(value);
        }
        else if ((value & 0x10) != 0)
        {
            Initialize();
            _needsIcw4 = (value & 1) != 0;
            _single = (value & 2) != 0;
            _initStep = 2;
        }
        else if ((value & 8) != 0)
        {
            WriteOcw3(value);
        }
        else
        {
            WriteOcw2(value);
        }
    }

    private void Initialize()
    {
        _irr = (byte)(_irr & Elcr);
        _isr = 0;
        _imr = 0;
        _lowest = 7;
        _autoEoi = false;
        _rotateOnAutoEoi = false;
        _specialMask = false;
        _fullyNested = false;
        _poll = false;
        _readIsr = false;
    }

    private void WriteData(byte value)
    {
        switch (_initStep)
        {
            case 2:
                _base = (byte)(value & 0xF8);
                _initStep = !_single ? 3 : _needsIcw4 ? 4 : 0;
                break;
            case 3:
                _initStep = _needsIcw4 ? 4 : 0; // The cascade is wired, whatever the guest believes.
                break;
            case 4:
                _fullyNested = (value & 0x10) != 0;
                _autoEoi = (value & 2) != 0;
                _initStep = 0;
                break;
            default:
                _imr = value;
                break;
        }
    }

    private void WriteOcw3(byte value)
    {
        _poll = (value & 4) != 0;
        if ((value & 2) != 0)
        {
            _readIsr = (value & 1) != 0;
        }

        if ((value & 0x40) != 0)
        {
            _specialMask = (value & 0x20) != 0;
        }
    }

    private void WriteOcw2(byte value)
    {
        int input = value & 7;
        switch (value >> 5)
        {
            case 0 or 4:
                _rotateOnAutoEoi = value >> 5 == 4;
                break;
            case 1 or 5:
                int rank = Rank(_specialMask ? _isr & ~_imr : _isr);
                if (rank < 8)
                {
                    EndOfInterrupt((rank + _lowest + 1) & 7, rotate: value >> 5 == 5);
                }

                break;
            case 3 or 7:
                EndOfInterrupt(input, rotate: value >> 5 == 7);
                break;
            case 6:
                _lowest = input;
                break;
            default:
                break;
        }
    }

    private void EndOfInterrupt(int input, bool rotate)
    {
        _isr = (byte)(_isr & ~(1 << input));
        if (rotate)
        {
            _lowest = input;
        }
    }

    /// <summary>How far the best input of a set is from the highest priority: 0-7, or 8 for none.</summary>
    private int Rank(int set)
    {
        int rotated = ((set << 8) | set) >> (_lowest + 1) & 0xFF;
        return rotated == 0 ? 8 : BitOperations.TrailingZeroCount(rotated);
    }
}
