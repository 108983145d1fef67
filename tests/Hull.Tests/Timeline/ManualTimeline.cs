using System;
using Hull.Timeline;

namespace Hull.Tests.Timeline;

/// <summary>Time that stands still until <see cref="Advance"/> moves it; timers fire on the caller's thread, at their moment.</summary>
internal sealed class ManualTimeline : ITimerQueue, IMachineClock
{
    private readonly TimerHeap _heap = new();

    public IMachineClock Clock => this;

    public long NowNs { get; private set; }

    public ulong Tsc => (ulong)(NowNs * TicksInAThousandNs / 1000);

    /// <summary>How fast the counter runs, whatever <see cref="TscHz"/> says.</summary>
    public long TicksInAThousandNs { get; set; } = 2000;

    public ulong TscHz => 2_000_000_000;

    public ulong TscOffset => 0;

    public DateTimeOffset Start { get; set; } = new(2024, 2, 28, 23, 59, 57, TimeSpan.Zero);

    public DateTimeOffset UtcNow => Start.AddTicks(NowNs / 100);

    public int Fired { get; private set; }

    public IMachineTimer CreateTimer(Action fired)
    {
        _heap.Reserve();
        return new ManualTimer(_heap, new TimerHeap.Entry(fired));
    }

    public void Advance(long ns)
    {
        long end = NowNs + ns;
        while (_heap.FirstDeadlineNs <= end)
        {
            NowNs = Math.Max(NowNs, _heap.FirstDeadlineNs);
            _heap.TakeDue(NowNs)!.Fired();
            Fired++;
        }

        NowNs = end;
    }

    public void AdvanceUs(long us) => Advance(us * 1000);

    public void AdvanceMs(long ms) => Advance(ms * 1_000_000);

    private sealed class ManualTimer(TimerHeap heap, TimerHeap.Entry entry) : IMachineTimer
    {
        public void Arm(long deadlineNs) => heap.Set(entry, deadlineNs);

        public void Cancel() => heap.Remove(entry);
    }
}
