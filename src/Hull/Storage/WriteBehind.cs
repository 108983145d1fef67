using System;
using System.Threading;

namespace Hull.Storage;

/// <summary>
/// Has the host begin to write a long run of bytes to its disk while the rest of the run still comes, so that the sync at its
/// end waits for the last part only. It promises nothing: what is on the disk is said by a sync. Any thread.
/// </summary>
/// <param name="begin">Starts to write a range, from an offset on so many bytes. On a thread of the pool, one at a time.</param>
internal sealed class WriteBehind(Action<ulong, ulong> begin) : IDisposable
{
    /// <summary>Bytes in a row that are begun together. A disk takes less time for them than the host for its next look.</summary>
    internal const ulong Portion = 8 << 20;

    /// <summary>Requests of a run end in any order: one that starts this far from where the run has come to is of it.</summary>
    internal const ulong Nearby = 4 << 20;

    private const int LeastWrite = 64 << 10;

    private readonly Lock _lock = new();
    private readonly ManualResetEventSlim _idle = new(initialState: true);
    private ulong _start;                   // what is not begun yet
    private ulong _end;
    private bool _closed;

    /// <summary>Says that bytes were written to the file.</summary>
    internal void Wrote(ulong offset, int length)
    {
        if (length < LeastWrite)
        {
            return;
        }

        lock (_lock)
        {
            ulong end = offset + (uint)length;
            if (offset + Nearby < _end || offset > _end + Nearby)
            {
                _start = offset;
                _end = end;
                return;
            }

            _end = Math.Max(_end, end);
            if (_end - _start >= Portion + Nearby && _idle.IsSet && !_closed)
            {
                // The call may wait for the disk's queue, which no request of the guest's should.
                _idle.Reset();
                ThreadPool.UnsafeQueueUserWorkItem(static self => self.Begin(), this, preferLocal: false);
            }
        }
    }

    /// <summary>When nobody writes any more; the file may be closed then.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_closed)
            {
                return;
            }

            _closed = true;
        }

        _idle.Wait();
        lock (_lock)
        {
            _idle.Dispose();
        }
    }

    private void Begin()
    {
        ulong start;
        ulong end;
        lock (_lock)
        {
            // Not the end, where requests are still under way.
            start = _start;
            end = Math.Max(_start, _end - Math.Min(_end, Nearby));
            _start = end;
        }

        // Whatever fails here fails at the sync, which is where somebody waits for an answer.
        begin(start, end - start);
        lock (_lock)
        {
            _idle.Set();
        }
    }
}
