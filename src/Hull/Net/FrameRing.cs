using System;
using System.Threading;

namespace Hull.Net;

/// <summary>Frames that wait for one reader, in a buffer of fixed size; those that find no room are dropped.</summary>
internal sealed class FrameRing(int bytes) : IFrameSink
{
    private const int MostFrames = 4096;

    private readonly object _lock = new();
    private readonly byte[] _bytes = new byte[bytes];
    private readonly Entry[] _entries = new Entry[MostFrames];
    private int _first;
    private int _count;
    private int _end;
    private bool _holds;
    private bool _stopped;

    /// <inheritdoc/>
    public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        lock (_lock)
        {
            if (_count == MostFrames || !TryPlace(frame.Length, out int at))
            {
                return;
            }

            frame.CopyTo(_bytes.AsSpan(at));
            _entries[(_first + _count++) % MostFrames] = new Entry(at, frame.Length, offload);
            _end = at + frame.Length;
            Monitor.Pulse(_lock);
        }
    }

    /// <summary>The next frame, which stays until the next call; waits for one.</summary>
    /// <returns>Empty after <see cref="Stop"/>.</returns>
    internal Span<byte> Take(out FrameOffload offload)
    {
        offload = default;
        lock (_lock)
        {
            if (_holds)
            {
                _first = (_first + 1) % MostFrames;
                _count--;
                _holds = false;
            }

            while (_count == 0 && !_stopped)
            {
                Monitor.Wait(_lock);
            }

            if (_stopped)
            {
                return [];
            }

            _holds = true;
            Entry entry = _entries[_first];
            offload = entry.Offload;
            return _bytes.AsSpan(entry.At, entry.Length);
        }
    }

    /// <summary>Ends the reader's waits for good.</summary>
    internal void Stop()
    {
        lock (_lock)
        {
            _stopped = true;
            Monitor.Pulse(_lock);
        }
    }

    // In one piece: behind the last frame, or at the start when there is no room up to the end.
    private bool TryPlace(int length, out int at)
    {
        at = _count == 0 ? 0 : _end;
        int oldest = _count == 0 ? 0 : _entries[_first].At;
        if (_count == 0 || at > oldest)
        {
            if (length <= _bytes.Length - at)
            {
                return true;
            }

            at = 0;
            return _count != 0 && length < oldest;
        }

        return length < oldest - at;
    }

    private readonly record struct Entry(int At, int Length, FrameOffload Offload);
}
