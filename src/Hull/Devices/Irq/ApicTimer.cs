using System;
using Hull.Timeline;

namespace Hull.Devices.Irq;

/// <summary>
/// The local APIC's timer: one-shot, periodic, TSC-deadline. SDM vol. 3A, "APIC Timer". Every member is called under
/// the APIC's lock; the callback given to the constructor comes from the timeline without it.
/// </summary>
internal sealed class ApicTimer
{
    /// <summary>The input clock, before the divider: a tick is a nanosecond.</summary>
    internal const ulong InputHz = 1_000_000_000;

    private const long Never = long.MaxValue;
    private const uint Masked = 0x10000;

    // QUIRK: a shorter period is stretched to this, or a guest could keep the timeline's thread busy for ever.
    private const long MinimumPeriodNs = 50_000;

    private readonly IMachineClock _clock;
    private readonly IMachineTimer _timer;
    private uint _initial;
    private int _divideShift = 1;
    private uint _divideRegister;
    private long _deadlineNs = Never;
    private ulong _tscDeadline;

    internal ApicTimer(ITimerQueue timers, Action fired)
    {
        _clock = timers.Clock;
        _timer = timers.CreateTimer(fired);
    }

    /// <summary>Modes in bits 18:17 of the LVT entry.</summary>
    private enum Mode
    {
        OneShot = 0,
        Periodic = 1,
        TscDeadline = 2,
    }

    /// <summary>The LVT entry.</summary>
    internal uint Lvt { get; private set; } = Masked;

    /// <summary>The initial count register.</summary>
    internal uint InitialCount => _initial;

    /// <summary>The divide configuration register.</summary>
    internal uint DivideRegister => _divideRegister;

    /// <summary>IA32_TSC_DEADLINE: zero when not armed, or not in that mode.</summary>
    internal ulong TscDeadline => _tscDeadline;

    /// <summary>The current count register.</summary>
    internal uint CurrentCount
    {
        get
        {
            if (_deadlineNs == Never || CurrentMode == Mode.TscDeadline)
            {
                return 0;
            }

            long left = _deadlineNs - _clock.NowNs;
            if (left <= 0)
            {
                left = CurrentMode == Mode.Periodic ? PeriodNs - (-left % PeriodNs) : 0;
            }

            return (uint)Math.Min((left + (1L << _divideShift) - 1) >> _divideShift, _initial);
        }
    }

    private Mode CurrentMode => (Mode)((Lvt >> 17) & 3);

    private long PeriodNs => Math.Max((long)_initial << _divideShift, MinimumPeriodNs);

    internal void Reset()
    {
        Stop();
        Lvt = Masked;
        _initial = 0;
        _divideRegister = 0;
        _divideShift = 1;
    }

    internal void WriteLvt(uint value)
    {
        // What would have expired while masked makes no interrupt now.
        _ = TryExpire();
        Mode old = CurrentMode;
        Lvt = value;
        if (CurrentMode != old && (CurrentMode >= Mode.TscDeadline || old >= Mode.TscDeadline))
        {
            Stop();
        }

        Schedule();
    }

    internal void WriteInitialCount(uint value)
    {
        if (CurrentMode >= Mode.TscDeadline)
        {
            return;
        }

        _initial = value;
        _deadlineNs = value == 0 ? Never : _clock.NowNs + ((long)value << _divideShift);
        Schedule();
    }

    internal void WriteDivide(uint value)
    {
        uint count = CurrentCount;
        _divideRegister = value & 0xB;

        // 0 is 2, 1 is 4, ... 6 is 128, 7 is 1.
        _divideShift = (int)((((value & 3) | ((value >> 1) & 4)) + 1) & 7);
        if (_deadlineNs != Never && CurrentMode < Mode.TscDeadline)
        {
            _deadlineNs = _clock.NowNs + ((long)count << _divideShift);
            Schedule();
        }
    }

    /// <summary>Writes IA32_TSC_DEADLINE.</summary>
    /// <returns>True when the deadline has passed already and the interrupt is due.</returns>
    internal bool WriteTscDeadline(ulong value)
    {
        if (CurrentMode != Mode.TscDeadline)
        {
            return false;
        }

        _tscDeadline = value;
        _deadlineNs = value == 0 ? Never : TscDeadlineNs();
        return TryExpire();
    }

    /// <summary>Sees whether the time has come, and goes on to the next period.</summary>
    /// <returns>True when the interrupt is due.</returns>
    internal bool TryExpire()
    {
        bool expired = false;
        if (_deadlineNs != Never)
        {
            expired = CurrentMode == Mode.TscDeadline ? TryExpireTsc() : TryExpireCount();
        }

        Schedule();
        return expired && (Lvt & Masked) == 0;
    }

    private bool TryExpireTsc()
    {
        if (_clock.Tsc < _tscDeadline)
        {
            // Early by the rounding of one clock against the other, or moved meanwhile.
            _deadlineNs = TscDeadlineNs();
            return false;
        }

        _tscDeadline = 0;
        _deadlineNs = Never;
        return true;
    }

    private bool TryExpireCount()
    {
        long late = _clock.NowNs - _deadlineNs;
        if (late < 0)
        {
            return false;
        }

        // Periods that were missed are one interrupt: IRR has one bit for it.
        _deadlineNs = CurrentMode == Mode.Periodic ? _deadlineNs + (((late / PeriodNs) + 1) * PeriodNs) : Never;
        return true;
    }

    private long TscDeadlineNs()
    {
        ulong now = _clock.Tsc;
        double ns = _tscDeadline <= now ? 0 : (_tscDeadline - now) * (1e9 / _clock.TscHz);
        return ns > 1L << 60 ? Never - 1 : _clock.NowNs + (long)ns + 1;
    }

    private void Stop()
    {
        _deadlineNs = Never;
        _tscDeadline = 0;
        _timer.Cancel();
    }

    private void Schedule()
    {
        if (_deadlineNs == Never || (Lvt & Masked) != 0)
        {
            _timer.Cancel();
        }
        else
        {
            _timer.Arm(_deadlineNs);
        }
    }
}
