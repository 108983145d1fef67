using System.Diagnostics;
using System.Threading;

namespace Hull.Cpu;

/// <summary>
/// A halted vCPU's wait. What a guest waits for is often there within microseconds (a disk's answer), sooner than a host puts a
/// thread to sleep and wakes it; so the thread looks for a while before it sleeps. Not after a long sleep: an idle guest costs
/// nothing.
/// </summary>
internal sealed class HaltPoll
{
    /// <summary>A wait of at most this, in nanoseconds, was short: the next one may be over while the thread looks.</summary>
    internal const long ShortNs = 300_000;

    private const double LookMs = 0.05;

    // On a host with more to do than processors, who gives way waits for a turn, which a sleeper that is woken need not.
    private const double TurnMs = 1;
    private const double BusyMs = 100;

    private bool _wasShort;
    private long _lostTurnAt = -Stopwatch.Frequency;

    /// <summary>The next wait begins with a look.</summary>
    internal bool Looks => _wasShort && Stopwatch.GetElapsedTime(_lostTurnAt).TotalMilliseconds >= BusyMs;

    /// <summary>Waits until the event is set.</summary>
    internal void Wait(ManualResetEventSlim wake)
    {
        if (wake.IsSet || (Looks && IsSetSoon(wake)))
        {
            return;
        }

        long start = Stopwatch.GetTimestamp();
        wake.Wait();
        Slept((long)Stopwatch.GetElapsedTime(start).TotalNanoseconds);
    }

    /// <summary>A wait slept for so long.</summary>
    internal void Slept(long ns) => _wasShort = ns <= ShortNs;

    /// <summary>Giving way, the thread lost its turn at a time stamp: others need the processor.</summary>
    internal void LostTurn(long at) => _lostTurnAt = at;

    // Who brings the wake-up may need this processor.
    private bool IsSetSoon(ManualResetEventSlim wake)
    {
        long start = Stopwatch.GetTimestamp();
        for (long last = start; !wake.IsSet;)
        {
            Thread.Yield();
            long now = Stopwatch.GetTimestamp();
            if (Stopwatch.GetElapsedTime(last, now).TotalMilliseconds > TurnMs)
            {
                LostTurn(now);
            }

            if (Stopwatch.GetElapsedTime(start, now).TotalMilliseconds > LookMs)
            {
                return wake.IsSet;
            }

            last = now;
        }

        return true;
    }
}
