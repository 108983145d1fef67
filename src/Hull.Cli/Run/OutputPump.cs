using System;
using System.Threading;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>
/// Carries a guest's output to a stream of the host on a thread of its own: a guest sends byte by byte, and a write for
/// each would cost more than the guest's work. A reader that does not read stops the guest, not Hull's memory.
/// </summary>
internal sealed class OutputPump : IDisposable
{
    private const int Room = 1 << 18;

    private readonly object _lock = new();
    private readonly StandardStream _stream;
    private readonly Func<string?, bool> _broken;
    private readonly Action _mended;
    private readonly Thread _thread;
    private byte[] _filling = new byte[Room];
    private byte[] _writing = new byte[Room];
    private int _filled;
    private long _written;
    private bool _busy;
    private bool _finishing;
    private bool _ending;

    /// <summary>Makes a pump.</summary>
    /// <param name="stream">Gets the bytes.</param>
    /// <param name="name">For the thread's name.</param>
    /// <param name="broken">
    /// Called when bytes are lost, with the reason; null: the stream's other end is gone. False ends the pump, else later bytes are tried.
    /// </param>
    /// <param name="mended">Called when bytes are written again.</param>
    internal OutputPump(StandardStream stream, string name, Func<string?, bool> broken, Action mended)
    {
        _mended = mended;
        _stream = stream;
        _broken = broken;
        _thread = new Thread(Run) { Name = $"hull-{name}", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Bytes wait for the stream to take those before them.</summary>
    internal bool IsBehind
    {
        get
        {
            lock (_lock)
            {
                return _filled > 0 && !_ending;
            }
        }
    }

    /// <summary>Bytes that the stream has taken.</summary>
    internal long Written => Volatile.Read(ref _written);

    /// <summary>Takes bytes; waits while the reader is far behind.</summary>
    internal void Write(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            while (bytes.Length > 0 && !_ending && !_finishing)
            {
                if (_filled == Room)
                {
                    Monitor.Wait(_lock);
                    continue;
                }

                int step = Math.Min(bytes.Length, Room - _filled);
                bytes[..step].CopyTo(_filling.AsSpan(_filled));
                bytes = bytes[step..];
                _filled += step;
                if (!_busy)
                {
                    Monitor.PulseAll(_lock);
                }
            }
        }
    }

    /// <summary>Waits until everything taken so far is written, or the stream broke; what comes now is dropped.</summary>
    /// <returns>True when all of it is written.</returns>
    internal bool Finish()
    {
        lock (_lock)
        {
            _finishing = true;
            Monitor.PulseAll(_lock);
            while ((_filled > 0 || _busy) && !_ending)
            {
                Monitor.Wait(_lock);
            }

            return _filled == 0 && !_busy;
        }
    }

    /// <summary>Drops what is not written and lets go of whoever waits. The thread may stay in a blocked write.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _ending = true;
            Monitor.PulseAll(_lock);
        }
    }

    private void Run()
    {
        bool fails = false;
        while (TryTake(out int length))
        {
            bool failed = fails;
            fails = !_stream.TryWrite(_writing.AsSpan(0, length), out string? reason);
            Volatile.Write(ref _written, _written + (fails ? 0 : length));
            if (fails && !_broken(reason))
            {
                Dispose();
            }
            else if (failed && !fails)
            {
                _mended();
            }
        }
    }

    private bool TryTake(out int length)
    {
        lock (_lock)
        {
            _busy = false;
            Monitor.PulseAll(_lock);
            while (_filled == 0 && !_ending)
            {
                Monitor.Wait(_lock);
            }

            (_filling, _writing) = (_writing, _filling);
            length = _filled;
            _filled = 0;
            _busy = true;
            Monitor.PulseAll(_lock);
            return !_ending;
        }
    }
}
