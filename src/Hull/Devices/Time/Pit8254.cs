using System;
using System.Threading;
using Hull.Bus;
using Hull.Platform;
using Hull.Timeline;

namespace Hull.Devices.Time;

/// <summary>
/// The 8254: counter 0 makes interrupts, counter 2 is the speaker's, gated and read through port 0x61. Interrupts are
/// edges: the rise of counter 0's output.
/// </summary>
internal sealed class Pit8254 : IByteRegisters
{
    // QUIRK: faster interrupts are thinned to this, or a guest could keep the timeline's thread busy for ever.
    private const long MinimumPeriodNs = 50_000;
    private const int RefreshToggleNs = 15_085;

    private readonly Lock _lock = new();
    private readonly IMachineClock _clock;
    private readonly IMachineTimer _timer;
    private readonly IrqLine _irq;
    private readonly PitChannel[] _channels;
    private long _riseNs = long.MaxValue;
    private byte _portB;

    /// <summary>Makes the chip with its counters stopped.</summary>
    internal Pit8254(ITimerQueue timers, IrqLine irq)
    {
        _clock = timers.Clock;
        _timer = timers.CreateTimer(TimerFired);
        _irq = irq;
        _channels = [new PitChannel(_clock), new PitChannel(_clock), new PitChannel(_clock)];
        _channels[2].SetGate(false);
    }

    /// <summary>Puts the chip on its ports.</summary>
    internal void Map(IoBus bus)
    {
        bus.MapPorts(PlatformMap.PitPort, 4, new BytePorts(this, 4));
        bus.MapPorts(PlatformMap.PortB, 1, new BytePorts(new PortBRegister(this), 1));
    }

    /// <inheritdoc/>
    public byte ReadRegister(int offset)
    {
        lock (_lock)
        {
            return offset < 3 ? _channels[offset].Read() : (byte)0;
        }
    }

    /// <inheritdoc/>
    public void WriteRegister(int offset, byte value)
    {
        bool low;
        lock (_lock)
        {
            if (offset == 3)
            {
                WriteControl(value);
            }
            else
            {
                _channels[offset].Write(value);
            }

            low = !_channels[0].Output;
            Schedule();
        }

        if (low)
        {
            _irq.Set(false);
        }
    }

    private void WriteControl(byte value)
    {
        int select = value >> 6;
        if (select == 3)
        {
            ReadBack(value);
        }
        else if ((value & 0x30) == 0)
        {
            _channels[select].Latch();
        }
        else
        {
            _channels[select].WriteControl(value);
        }
    }

    private void ReadBack(byte value)
    {
        for (int i = 0; i < 3; i++)
        {
            if ((value >> (i + 1) & 1) == 0)
            {
                continue;
            }

            if ((value & 0x20) == 0)
            {
                _channels[i].Latch();
            }

            if ((value & 0x10) == 0)
            {
                _channels[i].LatchStatus();
            }
        }
    }

    private void TimerFired()
    {
        bool rose;
        lock (_lock)
        {
            long now = _clock.NowNs;
            rose = now >= _riseNs;
            if (rose)
            {
                _riseNs = Math.Max(_channels[0].NextRiseNs, now + MinimumPeriodNs);
            }

            Arm();
        }

        if (rose)
        {
            _irq.Set(false);
            _irq.Set(true);
        }
    }

    private void Schedule()
    {
        _riseNs = _channels[0].NextRiseNs;
        Arm();
    }

    private void Arm()
    {
        if (_riseNs == long.MaxValue)
        {
            _timer.Cancel();
        }
        else
        {
            _timer.Arm(_riseNs);
        }
    }

    private byte ReadPortB()
    {
        lock (_lock)
        {
            int refresh = (int)(_clock.NowNs / RefreshToggleNs & 1) << 4;
            return (byte)(_portB | refresh | (_channels[2].Output ? 0x20 : 0));
        }
    }

    private void WritePortB(byte value)
    {
        lock (_lock)
        {
            _portB = (byte)(value & 0x0F);
            _channels[2].SetGate((value & 1) != 0);
        }
    }

    /// <summary>System control port B.</summary>
    private sealed class PortBRegister(Pit8254 pit) : IByteRegisters
    {
        public byte ReadRegister(int offset) => pit.ReadPortB();

        public void WriteRegister(int offset, byte value) => pit.WritePortB(value);
    }
}
