using System;
using Hull.Bus;
using Hull.Devices.Irq;
using Hull.Timeline;

namespace Hull.Devices.Time;

/// <summary>
/// One comparator of the <see cref="Hpet"/>, periodic or one-shot, with an I/O APIC input or a message. Called under the
/// chip's lock but for <see cref="Interrupt"/> and <see cref="Follow"/>. IA-PC HPET Specification, "Timer N Registers".
/// </summary>
internal sealed class HpetTimer : IIrqSource
{
    private const ulong LevelTriggered = 1 << 1;
    private const ulong InterruptEnable = 1 << 2;
    private const ulong Periodic = 1 << 3;
    private const ulong SetValue = 1 << 6;
    private const ulong Narrow = 1 << 8;
    private const ulong Message = 1 << 14;
    private const ulong Writable = LevelTriggered | InterruptEnable | Periodic | SetValue | Narrow | (0x1F << 9) | Message;

    // Periodic, 64 bits, message delivery; inputs 20-23 of the I/O APIC.
    private const ulong Fixed = (1 << 4) | (1 << 5) | (1 << 15) | (0x00F0_0000UL << 32);
    private const int FirstInput = 20;
    private const int Inputs = 4;

    // QUIRK: as the other timers, never more than one interrupt in 50 us.
    private const ulong MinimumPeriod = 50_000 / (ulong)Hpet.TickNs;
    private const long LongestWaitTicks = long.MaxValue / 4 / Hpet.TickNs;

    private readonly IMachineClock _clock;
    private readonly IMachineTimer _timer;
    private readonly IMsiSink _messages;
    private readonly IrqLine[] _lines = new IrqLine[Inputs];
    private ulong _configuration;
    private ulong _comparator = ulong.MaxValue;
    private ulong _period;
    private ulong _message;
    private bool _pending;
    private volatile bool _level;

    internal HpetTimer(ITimerQueue timers, InterruptInputs inputs, IMsiSink messages, Action<HpetTimer> fired)
    {
        _clock = timers.Clock;
        _timer = timers.CreateTimer(() => fired(this));
        _messages = messages;
        for (int i = 0; i < Inputs; i++)
        {
            _lines[i] = inputs.CreateIoApicLine(FirstInput + i);
        }
    }

    /// <inheritdoc/>
    public bool IrqLevel => _level;

    private ulong Mask => (_configuration & Narrow) != 0 ? uint.MaxValue : ulong.MaxValue;

    internal ulong Read(ulong offset) => offset switch
    {
        0x00 => _configuration | Fixed,
        0x08 => _comparator & Mask,
        0x10 => _message,
        _ => 0,
    };

    internal void Write(ulong offset, ulong value, ulong mask)
    {
        switch (offset)
        {
            case 0x00:
                _configuration = ((_configuration & ~mask) | (value & mask)) & Writable;
                if ((_configuration & LevelTriggered) == 0)
                {
                    _level = false;
                }

                break;
            case 0x08:
                WriteComparator(value, mask);
                break;
            case 0x10:
                _message = (_message & ~mask) | (value & mask);
                break;
            default:
                break;
        }
    }

    /// <summary>The status bit was written with one.</summary>
    internal void ClearLevel() => _level = false;

    /// <summary>Asks for the next match.</summary>
    internal void Schedule(bool running, ulong counter)
    {
        if (!running || !_pending || (_configuration & InterruptEnable) == 0)
        {
            _timer.Cancel();
            return;
        }

        ulong left = (_comparator - counter) & Mask;
        long ticks = (long)Math.Min(left, (ulong)LongestWaitTicks);
        _timer.Arm(_clock.NowNs + (ticks * Hpet.TickNs));
    }

    /// <summary>Sees whether the comparator has matched, and goes on to the next period.</summary>
    internal bool TryExpire(bool running, ulong counter)
    {
        // A match is behind us when the distance, taken as signed, is not positive.
        ulong passed = (counter - _comparator) & Mask;
        bool expired = running && _pending && (_configuration & InterruptEnable) != 0 && passed <= Mask >> 1;
        if (expired)
        {
            _pending = (_configuration & Periodic) != 0 && _period != 0;
            ulong period = Math.Max(_period, MinimumPeriod);
            _comparator += _pending ? ((passed / period) + 1) * period : 0;
            _level |= (_configuration & LevelTriggered) != 0;
        }

        Schedule(running, counter);
        return expired;
    }

    /// <summary>Delivers a match. With no lock held.</summary>
    internal void Interrupt()
    {
        ulong configuration = _configuration;
        if ((configuration & Message) != 0)
        {
            ulong message = _message;
            _messages.Send(new MsiMessage(message >> 32, (uint)message));
        }
        else if ((configuration & LevelTriggered) != 0)
        {
            Follow();
        }
        else
        {
            LineOf(configuration)?.Pulse();
        }
    }

    /// <summary>Brings the line to the level; other inputs, which the guest may have left, fall. With no lock held.</summary>
    internal void Follow()
    {
        IrqLine? own = LineOf(_configuration);
        foreach (IrqLine line in _lines)
        {
            if (line == own)
            {
                line.Follow(this);
            }
            else if (line.Level)
            {
                line.Set(false);
            }
        }
    }

    private IrqLine? LineOf(ulong configuration)
    {
        uint index = (uint)((configuration >> 9) & 0x1F) - FirstInput;
        return index < Inputs ? _lines[index] : null;
    }

    /// <summary>In periodic mode a write is the period, and the comparator too when "set value" was written before.</summary>
    private void WriteComparator(ulong value, ulong mask)
    {
        bool periodic = (_configuration & Periodic) != 0;
        if (!periodic || (_configuration & SetValue) != 0)
        {
            _comparator = ((_comparator & ~mask) | (value & mask)) & Mask;
            _configuration &= ~SetValue;
            _pending = true;
        }

        if (periodic)
        {
            _period = ((_period & ~mask) | (value & mask)) & Mask;
        }
    }
}
