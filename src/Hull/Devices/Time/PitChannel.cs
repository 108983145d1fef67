using System;
using Hull.Timeline;

namespace Hull.Devices.Time;

/// <summary>
/// One counter of the 8254. Its output and count are computed from the time when they are asked for. Called under the
/// lock of <see cref="Pit8254"/>. Intel 8254 data sheet, "Mode Definitions".
/// </summary>
internal sealed class PitChannel(IMachineClock clock)
{
    /// <summary>The input clock in Hz: 105/88 MHz.</summary>
    internal const ulong InputHz = 1_193_182;

    private const long Never = long.MaxValue;

    private int _access = 3;
    private bool _bcd;
    private ushort _reload;
    private byte _lowLatch;
    private bool _writeHigh;
    private bool _readHigh;
    private bool _counting;
    private ulong _startTick;
    private ulong _ticksBefore;
    private int _latched;
    private ushort _latch;
    private int _status = -1;

    /// <summary>The mode, 0-5.</summary>
    internal int Mode { get; private set; } = 3;

    /// <summary>The gate input.</summary>
    internal bool Gate { get; private set; } = true;

    /// <summary>The output.</summary>
    internal bool Output
    {
        get
        {
            ulong elapsed = Elapsed;
            ulong count = Count;
            return Mode switch
            {
                0 => _counting && elapsed >= count,
                1 => !_counting || elapsed >= count,
                2 => !_counting || !Gate || elapsed % count != count - 1,
                3 => !_counting || !Gate || elapsed % count < (count + 1) / 2,
                _ => !_counting || elapsed != count,
            };
        }
    }

    /// <summary>When the output next rises, in nanoseconds of the machine's clock; long.MaxValue when it does not.</summary>
    internal long NextRiseNs
    {
        get
        {
            if (!_counting || (!Gate && Mode != 1 && Mode != 5))
            {
                return Never;
            }

            ulong elapsed = Elapsed;
            ulong count = Count;
            ulong rise = Mode switch
            {
                0 or 1 => count,
                2 or 3 => ((elapsed / count) + 1) * count,
                _ => count + 1,
            };
            return rise <= elapsed ? Never : Ticks.ToNs(_startTick + rise - _ticksBefore, InputHz);
        }
    }

    /// <summary>The loaded count; zero means the largest.</summary>
    private ulong Count
    {
        get
        {
            ulong count = _bcd ? FromBcd(_reload) : _reload;
            ulong largest = _bcd ? 10_000UL : 65_536UL;
            count = count == 0 ? largest : count;

            // QUIRK: a count of 1 is illegal in modes 2 and 3; it counts as 2.
            return count == 1 && Mode is 2 or 3 ? 2 : count;
        }
    }

    private ulong NowTick => Ticks.FromNs(clock.NowNs, InputHz);

    /// <summary>Ticks counted since the count was loaded.</summary>
    private ulong Elapsed => !_counting ? 0 : _ticksBefore + (Runs ? NowTick - _startTick : 0);

    /// <summary>The gate stops the count in modes 0, 2, 3 and 4; in modes 1 and 5 its edge starts it.</summary>
    private bool Runs => Gate || Mode is 1 or 5;

    /// <summary>Drives the gate.</summary>
    internal void SetGate(bool gate)
    {
        if (gate == Gate)
        {
            return;
        }

        if (Mode is 0 or 4)
        {
            _ticksBefore = Elapsed;
            _startTick = NowTick;
        }
        else if (gate)
        {
            Start();
        }

        Gate = gate;
    }

    /// <summary>A control word for this counter (not a latch command).</summary>
    internal void WriteControl(byte value)
    {
        _access = (value >> 4) & 3;
        int mode = (value >> 1) & 7;
        Mode = mode > 5 ? mode - 4 : mode;
        _bcd = (value & 1) != 0;
        _writeHigh = false;
        _readHigh = false;
        _latched = 0;
        _status = -1;
        _counting = false;
    }

    /// <summary>The counter latch command: holds the count until it is read.</summary>
    internal void Latch()
    {
        if (_latched == 0)
        {
            _latch = CurrentCount();
            _latched = _access == 3 ? 2 : 1;
        }
    }

    /// <summary>The status half of the read-back command.</summary>
    internal void LatchStatus()
    {
        if (_status < 0)
        {
            _status = (Output ? 0x80 : 0) | (_counting ? 0 : 0x40) | (_access << 4) | (Mode << 1) | (_bcd ? 1 : 0);
        }
    }

    /// <summary>Reads the counter's port.</summary>
    internal byte Read()
    {
        if (_status >= 0)
        {
            byte status = (byte)_status;
            _status = -1;
            return status;
        }

        ushort count = _latched > 0 ? _latch : CurrentCount();
        bool high = _access == 2 || (_access == 3 && _readHigh);
        if (_access == 3)
        {
            _readHigh = !_readHigh;
        }

        _latched = Math.Max(_latched - 1, 0);
        return (byte)(high ? count >> 8 : count);
    }

    /// <summary>Writes the counter's port.</summary>
    internal void Write(byte value)
    {
        switch (_access)
        {
            case 1:
                Load(value);
                break;
            case 2:
                Load((ushort)(value << 8));
                break;
            case 3 when !_writeHigh:
                _lowLatch = value;
                _writeHigh = true;
                if (Mode == 0)
                {
                    _counting = false; // The first byte stops the count and takes the output low.
                }

                break;
            case 3:
                _writeHigh = false;
                Load((ushort)((value << 8) | _lowLatch));
                break;
            default:
                break;
        }
    }

    private static ulong FromBcd(ushort value) =>
        (ulong)((value >> 12 & 15) * 1000) + (ulong)((value >> 8 & 15) * 100) + (ulong)((value >> 4 & 15) * 10)
        + (ulong)(value & 15);

    private static ushort ToBcd(ulong value) =>
        (ushort)((value / 1000 % 10 << 12) | (value / 100 % 10 << 8) | (value / 10 % 10 << 4) | (value % 10));

    private void Load(ushort value)
    {
        _reload = value;

        // QUIRK: a new count in modes 2 and 3 counts at once, not from the next period on.
        if (Mode is not (1 or 5))
        {
            Start();
        }
    }

    private void Start()
    {
        _counting = true;
        _startTick = NowTick;
        _ticksBefore = 0;
    }

    private ushort CurrentCount()
    {
        ulong count = Count;
        ulong elapsed = Elapsed;
        ulong value = Mode switch
        {
            2 => count - (elapsed % count),
            3 => count - (elapsed * 2 % count),
            _ => _bcd ? (count + 10_000 - (elapsed % 10_000)) % 10_000 : count - elapsed,
        };
        return _bcd ? ToBcd(value) : (ushort)value;
    }
}
