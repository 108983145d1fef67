using System;
using System.Threading;

namespace Hull.Devices.Virtio;

/// <summary>
/// One port of a console device: who it is, and what the host has sent that the guest has not taken yet. The sender waits
/// when the guest is far behind, so the bytes here have a bound.
/// </summary>
internal sealed class ConsolePort
{
    private const int Room = 64 << 10;

    private readonly object _lock = new();
    private readonly Lock _output = new();
    private readonly byte[] _input = new byte[Room];
    private readonly Action _changed;
    private int _first;
    private int _count;
    private bool _isHostOpen;
    private bool _isGuestOpen;
    private bool _isInputOver;
    private bool _ended;

    /// <summary>Makes a port.</summary>
    /// <param name="name">Null: a console.</param>
    /// <param name="end">The host's end.</param>
    /// <param name="inputCame">There is input. Any thread.</param>
    /// <param name="changed">The host's end came or went. Any thread.</param>
    internal ConsolePort(string? name, IConsoleEnd end, Action inputCame, Action changed)
    {
        Name = name;
        End = end;
        InputCame = inputCame;
        _changed = changed;
    }

    /// <summary>The name; null for a console.</summary>
    internal string? Name { get; }

    /// <summary>The host's end.</summary>
    internal IConsoleEnd End { get; }

    /// <summary>Somebody of the host's has the port open.</summary>
    internal bool IsHostOpen => Volatile.Read(ref _isHostOpen);

    /// <summary>The driver knows the port, and what is told of it arrives.</summary>
    internal bool IsReady { get; set; }

    /// <summary>Somebody of the guest's has the port open. Any thread.</summary>
    internal bool IsGuestOpen
    {
        get => Volatile.Read(ref _isGuestOpen);
        set => Volatile.Write(ref _isGuestOpen, value);
    }

    private Action InputCame { get; }

    /// <summary>Gives bytes of the guest's to the host's end. Any thread.</summary>
    /// <returns>Bytes taken.</returns>
    internal int Write(ReadOnlySpan<byte> bytes)
    {
        // The port's own thread, and a vCPU's with an emergency write.
        lock (_output)
        {
            return End.Write(bytes);
        }
    }

    /// <summary>Takes what there is room for. Any thread.</summary>
    /// <returns>Bytes taken.</returns>
    internal int Offer(ReadOnlySpan<byte> bytes)
    {
        int taken;
        lock (_lock)
        {
            taken = Math.Min(bytes.Length, Room - _count);
            int at = (_first + _count) % Room;
            int straight = Math.Min(taken, Room - at);
            bytes[..straight].CopyTo(_input.AsSpan(at));
            bytes[straight..taken].CopyTo(_input);
            _count += taken;
        }

        if (taken > 0)
        {
            InputCame();
        }

        return taken;
    }

    /// <summary>Takes all bytes, at the guest's pace. A thread of the host's end.</summary>
    /// <returns>False when the machine ends.</returns>
    internal bool OfferAll(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            bytes = bytes[Offer(bytes)..];
            lock (_lock)
            {
                while (bytes.Length > 0 && _count == Room && !_ended)
                {
                    Monitor.Wait(_lock);
                }

                if (_ended)
                {
                    return false;
                }
            }
        }

        return true;
    }

    /// <summary>The first bytes that wait; they stay until <see cref="Drop"/>.</summary>
    /// <returns>How many.</returns>
    internal int Peek(Span<byte> destination)
    {
        lock (_lock)
        {
            int count = Math.Min(destination.Length, _count);
            int straight = Math.Min(count, Room - _first);
            _input.AsSpan(_first, straight).CopyTo(destination);
            _input.AsSpan(0, count - straight).CopyTo(destination[straight..]);
            return count;
        }
    }

    /// <summary>The first bytes are in the guest's buffers, and those are given back.</summary>
    internal void Drop(int count)
    {
        bool isLast;
        lock (_lock)
        {
            _first = (_first + count) % Room;
            _count -= count;
            isLast = _count == 0 && _isInputOver;
            Monitor.PulseAll(_lock);
        }

        if (isLast)
        {
            SetHostOpen(false);
        }
    }

    /// <summary>Waits a moment for room for more. Any thread.</summary>
    internal void WaitForRoom(TimeSpan wait)
    {
        lock (_lock)
        {
            if (_count == Room && !_ended)
            {
                Monitor.Wait(_lock, wait);
            }
        }
    }

    /// <summary>No more bytes come: the host's end closes when the guest has taken all. Any thread.</summary>
    internal void EndInput()
    {
        bool isEmpty;
        lock (_lock)
        {
            _isInputOver = true;
            isEmpty = _count == 0;
        }

        if (isEmpty)
        {
            SetHostOpen(false);
        }
    }

    /// <summary>The host's end was opened or closed. Any thread.</summary>
    internal void SetHostOpen(bool open)
    {
        Volatile.Write(ref _isHostOpen, open);
        _changed();
    }

    /// <summary>Lets go of who waits in <see cref="OfferAll"/>.</summary>
    internal void Stop()
    {
        lock (_lock)
        {
            _ended = true;
            Monitor.PulseAll(_lock);
        }
    }
}
