using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Host;
using Hull.Timeline;
using Xunit;

namespace Hull.Tests.Timeline;

public sealed class TimerQueueTests
{
    [Fact]
    public void Timers_FireInOrderOfDeadline()
    {
        MachineClock clock = new();
        using TimerQueue queue = new(clock);
        using CountdownEvent done = new(3);
        List<int> order = [];
        IMachineTimer[] timers = new IMachineTimer[3];
        for (int i = 0; i < 3; i++)
        {
            int number = i;
            timers[i] = queue.CreateTimer(() =>
            {
                order.Add(number);
                done.Signal();
            });
        }

        long now = clock.NowNs;
        timers[0].Arm(now + 30_000_000);
        timers[1].Arm(now + 10_000_000);
        timers[2].Arm(now + 20_000_000);
        Assert.True(done.Wait(TimeSpan.FromSeconds(20)));
        Assert.Equal([1, 2, 0], order);
    }

    [Fact]
    public void Timer_NeverFiresEarly()
    {
        MachineClock clock = new();
        using TimerQueue queue = new(clock);
        using ManualResetEventSlim fired = new();
        long at = 0;
        IMachineTimer timer = queue.CreateTimer(() =>
        {
            at = clock.NowNs;
            fired.Set();
        });
        long deadline = clock.NowNs + 3_000_000;
        timer.Arm(deadline);
        Assert.True(fired.Wait(TimeSpan.FromSeconds(20)));
        Assert.True(at >= deadline);
    }

    [Fact]
    public void RearmInCallback_FiresAgain()
    {
        MachineClock clock = new();
        using TimerQueue queue = new(clock);
        using CountdownEvent done = new(5);
        IMachineTimer? timer = null;
        timer = queue.CreateTimer(() =>
        {
            if (!done.Signal())
            {
                timer!.Arm(clock.NowNs + 1000);
            }
        });
        timer.Arm(0);
        Assert.True(done.Wait(TimeSpan.FromSeconds(20)));
    }

    [Fact]
    public void FarDeadline_DoesNotFireNorDisturb()
    {
        MachineClock clock = new();
        using TimerQueue queue = new(clock);
        using ManualResetEventSlim fired = new();
        bool wrong = false;
        queue.CreateTimer(() => wrong = true).Arm(long.MaxValue);
        queue.CreateTimer(fired.Set).Arm(clock.NowNs + 1_000_000);
        Assert.True(fired.Wait(TimeSpan.FromSeconds(20)));
        Assert.False(wrong);
    }

    [Fact]
    public void Heap_SortsRandomDeadlines()
    {
        Random random = new(7);
        TimerHeap heap = new();
        TimerHeap.Entry[] entries = new TimerHeap.Entry[200];
        for (int i = 0; i < entries.Length; i++)
        {
            heap.Reserve();
            entries[i] = new TimerHeap.Entry(static () => { });
        }

        for (int i = 0; i < 5000; i++)
        {
            TimerHeap.Entry entry = entries[random.Next(entries.Length)];
            if (random.Next(3) == 0)
            {
                heap.Remove(entry);
            }
            else
            {
                heap.Set(entry, random.Next(1000));
            }
        }

        int armed = Array.FindAll(entries, static entry => entry.Index >= 0).Length;
        long last = 0;
        int taken = 0;
        while (heap.TakeDue(long.MaxValue) is { } entry)
        {
            Assert.True(entry.DeadlineNs >= last);
            last = entry.DeadlineNs;
            taken++;
        }

        Assert.Equal(armed, taken);
    }

    [Fact]
    public void Tsc_StartsNearZeroAndGoesOn()
    {
        MachineClock clock = new();
        ulong first = clock.Tsc;
        Assert.True(first < clock.TscHz);
        Assert.True(clock.Tsc > first);
        Assert.InRange(HostTsc.Hz, 100_000_000UL, 20_000_000_000UL);
    }

    [Theory]
    [InlineData(3_579_545UL)]
    [InlineData(1_193_182UL)]
    [InlineData(32_768UL)]
    public void Ticks_ConvertBackToTheFirstMoment(ulong hz)
    {
        Random random = new(3);
        for (int i = 0; i < 1000; i++)
        {
            ulong ticks = (ulong)random.NextInt64(1, 1L << 45);
            long ns = Ticks.ToNs(ticks, hz);
            Assert.Equal(ticks, Ticks.FromNs(ns, hz));
            Assert.Equal(ticks - 1, Ticks.FromNs(ns - 1, hz));
        }
    }
}
