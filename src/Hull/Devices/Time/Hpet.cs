using System.Threading;
using Hull.Bus;
using Hull.Devices.Irq;
using Hull.Memory;
using Hull.Platform;
using Hull.Timeline;

namespace Hull.Devices.Time;

/// <summary>
/// The high precision event timer: a 64-bit counter of 10 ns ticks and three comparators, without legacy replacement.
/// IA-PC HPET Specification, "Register Model".
/// </summary>
internal sealed class Hpet : IMmioDevice
{
    /// <summary>Nanoseconds in a tick.</summary>
    internal const long TickNs = 10;

    private const int Timers = 3;
    private const ulong TickFs = TickNs * 1_000_000;

    // Revision 1, three timers, 64 bits, vendor 8086h; the high half is the tick in femtoseconds.
    private const ulong Capabilities = (TickFs << 32) | 0x8086_2001 | ((Timers - 1) << 8);
    private const ulong CapabilitiesOffset = 0x00;
    private const ulong ConfigurationOffset = 0x10;
    private const ulong StatusOffset = 0x20;
    private const ulong CounterOffset = 0xF0;
    private const ulong TimersOffset = 0x100;
    private const ulong TimerSize = 0x20;
    private const ulong Enable = 1;

    private readonly Lock _lock = new();
    private readonly IMachineClock _clock;
    private readonly HpetTimer[] _timers = new HpetTimer[Timers];
    private ulong _configuration;
    private ulong _counter;
    private long _startNs;

    /// <summary>Makes the chip, stopped.</summary>
    internal Hpet(ITimerQueue timers, InterruptInputs inputs, IMsiSink messages)
    {
        _clock = timers.Clock;
        for (int i = 0; i < Timers; i++)
        {
            _timers[i] = new HpetTimer(timers, inputs, messages, Fired);
        }
    }

    private bool IsRunning => (_configuration & Enable) != 0;

    private ulong Counter => IsRunning ? _counter + (ulong)((_clock.NowNs - _startNs) / TickNs) : _counter;

    /// <summary>Maps the registers.</summary>
    internal void Map(IoBus bus) => bus.MapMmio(new GuestPhysical(PlatformMap.HpetBase), 0x400, this);

    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        ulong value;
        lock (_lock)
        {
            value = ReadRegister(offset & ~7UL);
        }

        value >>= (int)(offset & 7) * 8;
        return size == 8 ? value : value & ((1UL << (size * 8)) - 1);
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
        // Words and double words only, aligned, as the specification has it.
        if (size < 4 || (offset & (ulong)(size - 1)) != 0)
        {
            return;
        }

        int shift = (int)(offset & 4) * 8;
        ulong mask = (size == 8 ? ulong.MaxValue : uint.MaxValue) << shift;
        lock (_lock)
        {
            WriteRegister(offset & ~7UL, value << shift, mask);
            foreach (HpetTimer timer in _timers)
            {
                timer.Schedule(IsRunning, Counter);
            }
        }

        foreach (HpetTimer timer in _timers)
        {
            timer.Follow();
        }
    }

    private ulong ReadRegister(ulong offset)
    {
        switch (offset)
        {
            case CapabilitiesOffset:
                return Capabilities;
            case ConfigurationOffset:
                return _configuration;
            case StatusOffset:
                ulong status = 0;
                for (int i = 0; i < Timers; i++)
                {
                    status |= _timers[i].IrqLevel ? 1UL << i : 0;
                }

                return status;
            case CounterOffset:
                return Counter;
            default:
                ulong index = (offset - TimersOffset) / TimerSize;
                return offset >= TimersOffset && index < Timers ? _timers[index].Read(offset % TimerSize) : 0;
        }
    }

    private void WriteRegister(ulong offset, ulong value, ulong mask)
    {
        switch (offset)
        {
            case ConfigurationOffset:
                _counter = Counter;
                _startNs = _clock.NowNs;
                _configuration = ((_configuration & ~mask) | (value & mask)) & Enable;
                break;
            case StatusOffset:
                for (int i = 0; i < Timers; i++)
                {
                    if ((value & mask & (1UL << i)) != 0)
                    {
                        _timers[i].ClearLevel();
                    }
                }

                break;
            case CounterOffset:
                _counter = (Counter & ~mask) | (value & mask);
                _startNs = _clock.NowNs;
                break;
            default:
                ulong index = (offset - TimersOffset) / TimerSize;
                if (offset >= TimersOffset && index < Timers)
                {
                    _timers[index].Write(offset % TimerSize, value, mask);
                }

                break;
        }
    }

    private void Fired(HpetTimer timer)
    {
        bool expired;
        lock (_lock)
        {
            expired = timer.TryExpire(IsRunning, Counter);
        }

        if (expired)
        {
            timer.Interrupt();
        }
    }
}
