using System;
using System.Threading;
using Hull.Bus;
using Hull.Platform;
using Hull.Timeline;

namespace Hull.Devices.Time;

/// <summary>
/// The MC146818 clock with its CMOS RAM behind ports 0x70 and 0x71. Time is the host's UTC plus what the guest has set;
/// the flags of register C are worked out when they are read or when an interrupt is enabled. Motorola MC146818A data
/// sheet.
/// </summary>
internal sealed class RtcMc146818 : IByteRegisters, IIrqSource
{
    private const int RegisterA = 0x0A;
    private const int RegisterB = 0x0B;
    private const int RegisterC = 0x0C;
    private const int RegisterD = 0x0D;
    private const byte UpdateInProgress = 0x80;
    private const byte Set = 0x80;
    private const byte Periodic = 0x40;
    private const byte Alarm = 0x20;
    private const byte UpdateEnded = 0x10;
    private const byte Request = 0x80;

    /// <summary>How long before the second's end UIP is seen: 244 us.</summary>
    private const long UpdateAheadTicks = 2_440;

    /// <summary>How long before its end the second is that is under way at the first look at register A: 1 ms.</summary>
    private const long FirstLookTicks = 10_000;

    // QUIRK: the fastest periodic rate (122 us) is kept, but never more than one interrupt for late ones.
    private readonly Lock _lock = new();
    private readonly IMachineClock _clock;
    private readonly IMachineTimer _timer;
    private readonly IrqLine _irq;
    private readonly byte[] _ram = new byte[128];
    private readonly RtcCalendar _calendar;
    private byte _index;
    private byte _flags;
    private long _secondsSeen;
    private ulong _periodsSeen;
    private bool _hasPhase;

    // The end of the second that the first look chose, until a look has seen it: where the host has no time for the guest just then, it
    // would wait for the next one.
    private long? _owedEndTicks;
    private volatile bool _irqLevel;
    private bool _alarmIsRequested;
    private bool _alarmUntold;

    /// <summary>Makes the clock running on UTC, 24 hours, BCD.</summary>
    internal RtcMc146818(ITimerQueue timers, IrqLine irq)
    {
        _clock = timers.Clock;
        _timer = timers.CreateTimer(TimerFired);
        _irq = irq;
        _calendar = new RtcCalendar(_ram);
        _ram[RegisterA] = 0x26;
        _ram[RegisterB] = 0x02;
        _ram[RegisterD] = 0x80;
        _secondsSeen = GuestTicks / TimeSpan.TicksPerSecond;
    }

    /// <inheritdoc/>
    public bool IrqLevel => _irqLevel;

    /// <summary>An alarm's interrupt came; any thread, with no lock held.</summary>
    internal Action? AlarmRaised { get; set; }

    /// <summary>The guest's time in 100 ns ticks.</summary>
    private long GuestTicks => _clock.UtcNow.Ticks + _calendar.OffsetTicks;

    /// <summary>Ticks of the periodic interrupt since the machine started; zero when the rate is 0.</summary>
    private ulong Periods => PeriodHz == 0 ? 0 : Ticks.FromNs(_clock.NowNs, PeriodHz);

    /// <summary>Rate select: 3 is 8192 Hz, each further step half; 1 and 2 are 256 and 128 Hz.</summary>
    private ulong PeriodHz
    {
        get
        {
            int rate = _ram[RegisterA] & 0x0F;
            return rate == 0 ? 0 : rate < 3 ? 512UL >> rate : 65_536UL >> rate;
        }
    }

    /// <summary>Puts the chip on its ports.</summary>
    internal void Map(IoBus bus) => bus.MapPorts(PlatformMap.RtcPort, 2, new BytePorts(this, 2));

    /// <summary>Sets a byte of CMOS RAM, for firmware that looks there.</summary>
    internal void SetCmos(int index, byte value)
    {
        lock (_lock)
        {
            _ram[index & 0x7F] = value;
        }
    }

    /// <inheritdoc/>
    public byte ReadRegister(int offset)
    {
        if (offset == 0)
        {
            return 0xFF; // The index is write only.
        }

        byte value;
        lock (_lock)
        {
            value = ReadIndexed();
        }

        Tell();
        return value;
    }

    /// <inheritdoc/>
    public void WriteRegister(int offset, byte value)
    {
        lock (_lock)
        {
            if (offset == 0)
            {
                _index = (byte)(value & 0x7F); // Bit 7 masks NMIs, which do not exist here.
                return;
            }

            WriteIndexed(value);
        }

        Tell();
    }

    private byte ReadIndexed()
    {
        switch (_index)
        {
            case RegisterA:
                ChoosePhase();
                return (byte)(_ram[RegisterA] | (SeesUpdate() ? UpdateInProgress : 0));
            case RegisterC:
                CatchUp();
                byte flags = _flags;
                _flags = 0;
                _irqLevel = false;
                _alarmIsRequested = false;
                Schedule();
                return flags;
            default:
                if (RtcCalendar.IsTime(_index) && (_ram[RegisterB] & Set) == 0)
                {
                    _calendar.Store(GuestTicks);
                }

                return _ram[_index];
        }
    }

    private void WriteIndexed(byte value)
    {
        switch (_index)
        {
            case RegisterA:
                CatchUp();
                _ram[RegisterA] = (byte)(value & 0x7F);
                _periodsSeen = Periods;
                break;
            case RegisterB:
                WriteRegisterB(value);
                break;
            case RegisterC or RegisterD:
                return;
            default:
                WriteRam(value);
                break;
        }

        Update();
    }

    private void WriteRam(byte value)
    {
        bool time = RtcCalendar.IsTime(_index);
        bool running = (_ram[RegisterB] & Set) == 0;
        if (time && running)
        {
            CatchUp();
            _calendar.Store(GuestTicks);
        }

        _ram[_index] = value;
        if (time && running)
        {
            SetClock();
        }
    }

    private void WriteRegisterB(byte value)
    {
        CatchUp();
        bool wasSet = (_ram[RegisterB] & Set) != 0;
        bool set = (value & Set) != 0;
        if (set && !wasSet)
        {
            _calendar.Store(GuestTicks);
        }

        // SET drops the update-ended interrupt.
        _ram[RegisterB] = set ? (byte)(value & ~UpdateEnded) : value;
        if (wasSet && !set)
        {
            SetClock();
        }
    }

    // QUIRK: the clock's second ends just after the first look at register A, so its time is half a second off UTC at the most. Who
    // waits for a second's end (Xen does, busily) would wait for half of one at each start.
    private void ChoosePhase()
    {
        if (_hasPhase || (_ram[RegisterB] & (Set | Alarm | UpdateEnded)) != 0)
        {
            return;
        }

        _hasPhase = true;
        CatchUp();
        long shift = TimeSpan.TicksPerSecond - FirstLookTicks - (GuestTicks % TimeSpan.TicksPerSecond);
        _calendar.Shift(shift > TimeSpan.TicksPerSecond / 2 ? shift - TimeSpan.TicksPerSecond : shift);
        _secondsSeen = GuestTicks / TimeSpan.TicksPerSecond;
        _owedEndTicks = GuestTicks + FirstLookTicks;
    }

    private void SetClock()
    {
        _hasPhase = true;
        _owedEndTicks = null;
        _calendar.Load(_clock.UtcNow.Ticks);
        _secondsSeen = GuestTicks / TimeSpan.TicksPerSecond;
    }

    private bool IsUpdating() =>
        (_ram[RegisterB] & Set) == 0
        && GuestTicks % TimeSpan.TicksPerSecond >= TimeSpan.TicksPerSecond - UpdateAheadTicks;

    private bool SeesUpdate()
    {
        bool sees = IsUpdating() || ((_ram[RegisterB] & Set) == 0 && GuestTicks >= _owedEndTicks);
        _owedEndTicks = sees ? null : _owedEndTicks;
        return sees;
    }

    private void TimerFired()
    {
        lock (_lock)
        {
            Update();
        }

        Tell();
    }

    /// <summary>Brings flags and the line up to date, and asks for the next moment that matters.</summary>
    private void Update()
    {
        CatchUp();
        Schedule();
    }

    /// <summary>Sets the flags for what has happened since the last time.</summary>
    private void CatchUp()
    {
        ulong periods = Periods;
        if (periods != _periodsSeen)
        {
            _periodsSeen = periods;
            _flags |= Periodic;
        }

        long seconds = GuestTicks / TimeSpan.TicksPerSecond;
        if (seconds != _secondsSeen && (_ram[RegisterB] & Set) == 0)
        {
            // After a day every alarm has come once; clocks that went back count as one second.
            long passed = Math.Clamp(seconds - _secondsSeen, 1, 86_400);
            _flags |= UpdateEnded;
            for (long second = seconds - passed + 1; second <= seconds; second++)
            {
                if (_calendar.IsAlarm(second))
                {
                    _flags |= Alarm;
                    break;
                }
            }

            _secondsSeen = seconds;
        }

        bool wanted = (_flags & _ram[RegisterB] & (Periodic | Alarm | UpdateEnded)) != 0;
        _flags = (byte)(wanted ? _flags | Request : _flags & ~Request);
        _irqLevel = wanted;
        bool alarm = (_flags & _ram[RegisterB] & Alarm) != 0;
        _alarmUntold |= alarm && !_alarmIsRequested;
        _alarmIsRequested = alarm;
    }

    /// <summary>Tells those outside what changed. Without the lock.</summary>
    private void Tell()
    {
        if (Interlocked.Exchange(ref _alarmUntold, false))
        {
            AlarmRaised?.Invoke();
        }

        _irq.Follow(this);
    }

    private void Schedule()
    {
        long next = long.MaxValue;
        byte enabled = (byte)(_ram[RegisterB] & ~_flags);
        if ((enabled & Periodic) != 0 && PeriodHz != 0)
        {
            next = Ticks.ToNs(_periodsSeen + 1, PeriodHz);
        }

        if ((enabled & (Alarm | UpdateEnded)) != 0 && (enabled & Set) == 0)
        {
            long left = TimeSpan.TicksPerSecond - (GuestTicks % TimeSpan.TicksPerSecond);
            next = Math.Min(next, _clock.NowNs + (left * 100));
        }

        if (next == long.MaxValue)
        {
            _timer.Cancel();
        }
        else
        {
            _timer.Arm(next);
        }
    }
}
