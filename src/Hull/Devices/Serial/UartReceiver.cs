using System;
using Hull.Timeline;

namespace Hull.Devices.Serial;

/// <summary>
/// The receive FIFO of a UART and the pace at which the host's bytes enter it. Bytes enter only while there is room and
/// RTS is asserted, so nothing is overrun. After a burst the receiver rests twice as long as the guest took to read it:
/// a guest that only ever serves the interrupt would never get to run the code that empties its own buffers and drops
/// RTS. Called under the UART's lock.
/// </summary>
internal sealed class UartReceiver
{
    private const int FifoSize = 16;

    /// <summary>Bytes between rests.</summary>
    private const int Burst = 256;
    private const long ShortestRestNs = 20_000;
    private const long LongestRestNs = 10_000_000;
    private const long AfterClearNs = 5_000_000;

    private readonly IMachineClock _clock;
    private readonly IMachineTimer _rest;
    private readonly byte[] _fifo = new byte[FifoSize];
    private int _first;
    private int _burst;
    private long _burstStartNs;
    private long _restEndNs;

    /// <summary>Makes an empty receiver; <paramref name="feed"/> is the UART's call of <see cref="Fill"/> under its lock.</summary>
    internal UartReceiver(ITimerQueue timers, Action feed)
    {
        _clock = timers.Clock;
        _rest = timers.CreateTimer(feed);
        Input = new SerialInput(feed);
    }

    /// <summary>The host's queue.</summary>
    internal SerialInput Input { get; }

    /// <summary>Bytes in the FIFO.</summary>
    internal int Count { get; private set; }

    /// <summary>Takes the next byte (zero when there is none) and refills.</summary>
    /// <param name="ready">RTS.</param>
    /// <param name="fifo">FIFO mode.</param>
    /// <param name="took">True when bytes left the host's queue.</param>
    internal byte Read(bool ready, bool fifo, out bool took)
    {
        took = false;
        if (Count == 0)
        {
            return 0;
        }

        byte value = _fifo[_first];
        _first = (_first + 1) % FifoSize;
        Count--;
        if (Count == 0)
        {
            took = Fill(ready, fifo);
        }

        return value;
    }

    /// <summary>Moves bytes from the host's queue into the FIFO, if it is time.</summary>
    /// <returns>True when bytes left the host's queue.</returns>
    internal bool Fill(bool ready, bool fifo)
    {
        if (!ready || Input.Count == 0)
        {
            return false;
        }

        long now = _clock.NowNs;
        if (_burst >= Burst && Count == 0)
        {
            _burst = 0;
            _restEndNs = now + Math.Clamp((now - _burstStartNs) * 2, ShortestRestNs, LongestRestNs);
        }

        if (now < _restEndNs)
        {
            _rest.Arm(_restEndNs);
            return false;
        }

        if (_burst == 0)
        {
            _burstStartNs = now;
        }

        int room = Math.Min((fifo ? FifoSize : 1) - Count, Burst - _burst);
        if (room <= 0)
        {
            return false;
        }

        Span<byte> bytes = stackalloc byte[FifoSize];
        int taken = Input.Take(bytes[..room]);
        for (int i = 0; i < taken; i++)
        {
            Push(bytes[i]);
        }

        _burst += taken;
        return taken > 0;
    }

    /// <summary>A byte from the own transmitter, in loop-back mode.</summary>
    /// <returns>False when there was no room.</returns>
    internal bool Loop(byte value, bool fifo)
    {
        if (Count >= (fifo ? FifoSize : 1))
        {
            return false;
        }

        Push(value);
        return true;
    }

    /// <summary>
    /// Empties the FIFO. The bytes go back to the host's queue, as if they had not been sent yet: drivers clear the FIFO
    /// when they start, with RTS already up, and read the data register once for luck; so new bytes come a little later.
    /// </summary>
    internal void Clear(bool looped)
    {
        if (!looped)
        {
            for (int i = Count - 1; i >= 0; i--)
            {
                Input.Return(_fifo[(_first + i) % FifoSize]);
            }
        }

        Count = 0;
        _burst = 0;
        _restEndNs = _clock.NowNs + AfterClearNs;
        _rest.Arm(_restEndNs);
    }

    private void Push(byte value)
    {
        _fifo[(_first + Count) % FifoSize] = value;
        Count++;
    }
}
