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

    private const long LookNs = 50_000;

    /// <summary>The next wait begins with a look.</summary>
    internal bool Looks { get; private set; }

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
    internal void Slept(long ns) => Looks = ns <= ShortNs;

    // Who brings the wake-up may need this processor.
    private static bool IsSetSoon(ManualResetEventSlim wake)
    {
        long start = Stopwatch.GetTimestamp();
        while (!wake.IsSet)
        {
            if (Stopwatch.GetElapsedTime(start).TotalNanoseconds > LookNs)
            {
                return false;
            }

            Thread.Yield();
        }

        return true;
    }
}
