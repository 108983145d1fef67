using System;
using System.IO;
using System.Threading;

namespace Hull.Devices.Serial;

/// <summary>
/// Gathers what a guest sends and hands it to the host in blocks, from a thread of its own: the guest does not wait for
/// the host's file, until 64 KiB are due.
/// </summary>
internal sealed class SerialWriter : ISerialOutput, IDisposable
{
    /// <summary>
    /// Receives a block. Called on the writer's thread, one block at a time. After an <see cref="IOException"/> (nobody
    /// reads any more) the rest is dropped.
    /// </summary>
    internal delegate void BlockSink(ReadOnlySpan<byte> block);

    private const int Capacity = 65_536;

    /// <summary>How long bytes gather before they leave, unless there are many.</summary>
    private const int GatherMs = 1;

    /// <summary>How long the end of a machine waits for a reader that has stopped reading.</summary>
    private const int PatienceMs = 2000;

    private readonly object _gate = new();
    private readonly BlockSink _sink;
    private readonly Thread _thread;
    private byte[] _filling = new byte[Capacity];
    private byte[] _draining = new byte[Capacity];
    private int _count;
    private bool _writing;
    private bool _closed;
    private bool _hurry;

    /// <summary>Starts the thread.</summary>
    internal SerialWriter(string name, BlockSink sink)
    {
        _sink = sink;
        _thread = new Thread(Loop) { Name = name, IsBackground = true };
        _thread.Start();
    }

    /// <inheritdoc/>
    public void Put(byte value)
    {
        lock (_gate)
        {
            while (_count == Capacity && !_closed)
            {
                Monitor.Wait(_gate);
            }

            if (_closed)
            {
                return;
            }

            _filling[_count++] = value;
            if (_count is 1 or Capacity / 2)
            {
                Monitor.PulseAll(_gate);
            }
        }
    }

    /// <summary>Waits until everything that was put has reached the sink.</summary>
    /// <returns>False when that took longer than two seconds: the sink blocks.</returns>
    internal bool Flush()
    {
        long deadline = Environment.TickCount64 + PatienceMs;
        lock (_gate)
        {
            _hurry = true;
            Monitor.PulseAll(_gate);
            bool done = true;
            while ((_count > 0 || _writing) && !_closed && done)
            {
                int left = (int)(deadline - Environment.TickCount64);
                done = left > 0 && Monitor.Wait(_gate, left);
            }

            _hurry = false;
            return done;
        }
    }

    /// <summary>Writes the rest and ends the thread; a vCPU that is blocked in <see cref="Put"/> goes on.</summary>
    public void Dispose()
    {
        bool flushed = Flush();
        Close();
        if (flushed)
        {
            _thread.Join();
        }
    }

    private void Close()
    {
        lock (_gate)
        {
            _closed = true;
            Monitor.PulseAll(_gate);
        }
    }

    private void Loop()
    {
        while (true)
        {
            int count = Take();
            if (count == 0)
            {
                return;
            }

            try
            {
                _sink(_draining.AsSpan(0, count));
            }
            catch (IOException)
            {
                Close();
                return;
            }

            lock (_gate)
            {
                _writing = false;
                Monitor.PulseAll(_gate);
            }
        }
    }

    /// <summary>Waits for bytes, and a little for more; then swaps the buffers.</summary>
    private int Take()
    {
        lock (_gate)
        {
            while (_count == 0 && !_closed)
            {
                Monitor.Wait(_gate);
            }

            if (_count < Capacity / 2 && !_hurry && !_closed)
            {
                Monitor.Wait(_gate, GatherMs);
            }

            (_filling, _draining) = (_draining, _filling);
            int count = _count;
            _count = 0;
            _writing = count > 0;
            Monitor.PulseAll(_gate);
            return count;
        }
    }
}
