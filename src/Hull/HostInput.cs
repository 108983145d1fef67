using System;
using System.Threading;
using Hull.Devices;
using Hull.Timeline;
using Hull.Xen;

namespace Hull;

/// <summary>
/// What the host does to a machine that runs: bytes for its serial ports, the power button. At once in real time; in
/// virtual time at the next point where input may enter. Any thread.
/// </summary>
internal sealed class HostInput
{
    // Less than the queue of a serial port, so that what was promised to fit does fit.
    private const int MostOnTheWay = 32_768;

    private readonly Chipset _chipset;
    private readonly TerminalLink _terminal;
    private readonly VirtualTimerQueue? _timers;
    private readonly Domain? _domain;
    private readonly int[] _onTheWay;

    /// <summary>
    /// Makes the door; <paramref name="timers"/> is null in real time, <paramref name="domain"/> unless the guest finds Xen.
    /// </summary>
    internal HostInput(Chipset chipset, TerminalLink terminal, VirtualTimerQueue? timers, Domain? domain)
    {
        _terminal = terminal;
        _chipset = chipset;
        _domain = domain;
        _timers = timers;
        _onTheWay = new int[chipset.Serial.Count];
    }

    /// <summary>Sends bytes to a serial port; those of the first go to Xen's console if there is one.</summary>
    /// <returns>Bytes taken.</returns>
    internal int SendSerial(int port, ReadOnlySpan<byte> bytes)
    {
        if (port == 0 && _domain is not null)
        {
            return _domain.Console.Offer(bytes);
        }

        if (_timers is null)
        {
            return _chipset.Serial[port].Input.Offer(bytes);
        }

        int waiting = Volatile.Read(ref _onTheWay[port]) + _chipset.Serial[port].Input.Count;
        byte[] part = bytes[..Math.Clamp(MostOnTheWay - waiting, 0, bytes.Length)].ToArray();
        if (part.Length > 0)
        {
            Interlocked.Add(ref _onTheWay[port], part.Length);
            _timers.Post(() => Deliver(port, part));
        }

        return part.Length;
    }

    /// <summary>Sends bytes to the console that is on the user's terminal.</summary>
    /// <returns>Bytes taken.</returns>
    internal int SendTerminal(ReadOnlySpan<byte> bytes)
    {
        if (_timers is null)
        {
            return _terminal.Send(bytes);
        }

        byte[] part = bytes.ToArray();
        _timers.Post(() => _ = _terminal.Send(part));
        return part.Length;
    }

    /// <summary>The user's terminal has another size.</summary>
    internal void ResizeTerminal(int rows, int columns)
    {
        if (_timers is null)
        {
            _terminal.Resize(rows, columns);
        }
        else
        {
            _timers.Post(() => _terminal.Resize(rows, columns));
        }
    }

    /// <summary>Presses the power button.</summary>
    /// <returns>False when the guest does not listen; in virtual time nobody knows yet.</returns>
    internal bool PressPowerButton()
    {
        if (_domain is not null)
        {
            return _domain.Store.Write("control/shutdown", "poweroff");
        }

        if (_timers is null)
        {
            return _chipset.PowerButton();
        }

        _timers.Post(() => _ = _chipset.PowerButton());
        return true;
    }

    /// <summary>Ends virtual time at the current instruction, on the vCPU's thread; does nothing in real time.</summary>
    internal void Freeze() => _timers?.Freeze();

    // Two writers at once could promise the same room twice; the queue has twice as much as is promised.
    private void Deliver(int port, byte[] bytes)
    {
        _ = _chipset.Serial[port].Input.Offer(bytes);
        Interlocked.Add(ref _onTheWay[port], -bytes.Length);
    }
}
