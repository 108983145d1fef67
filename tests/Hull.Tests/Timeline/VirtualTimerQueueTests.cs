using System.Collections.Generic;
using Hull.Timeline;
using Xunit;

namespace Hull.Tests.Timeline;

public sealed class VirtualTimerQueueTests
{
    private readonly VirtualClock _clock = new();
    private readonly VirtualTimerQueue _queue;
    private readonly Counter _counter = new();

    public VirtualTimerQueueTests()
    {
        _clock.CountBy(_counter);
        _queue = new VirtualTimerQueue(_clock);
    }

    [Fact]
    public void EachInstruction_IsANanosecondAndATick()
    {
        _counter.Executed = 1234;
        Assert.Equal(1234, _clock.NowNs);
        Assert.Equal(1234UL, _clock.Tsc);
        Assert.Equal(1_000_000_000UL, _clock.TscHz);
    }

    [Fact]
    public void Timers_RunWhenTheCountIsReached_InOrder()
    {
        List<int> order = [];
        _queue.CreateTimer(() => order.Add(2)).Arm(200);
        _queue.CreateTimer(() => order.Add(1)).Arm(100);
        _queue.RunDue();
        Assert.Empty(order);
        Assert.Equal(100, _queue.NextStopNs);
        _counter.Executed = 200;
        _queue.RunDue();
        Assert.Equal([1, 2], order);
        Assert.Equal(VirtualTimerQueue.InputPeriodNs, _queue.NextStopNs);
    }

    [Fact]
    public void EarlierDeadline_MovesTheStop_LaterOneDoesNot()
    {
        int moved = 0;
        _queue.StopMoved += () => moved++;
        IMachineTimer timer = _queue.CreateTimer(static () => { });
        _queue.RunDue();
        timer.Arm(VirtualTimerQueue.InputPeriodNs + 1);
        Assert.Equal(0, moved);
        timer.Arm(5);
        Assert.Equal(1, moved);
    }

    [Fact]
    public void Input_EntersAtTheNextPointOnly()
    {
        int arrived = 0;
        _queue.RunDue();
        _queue.Post(() => arrived++);
        _counter.Executed = VirtualTimerQueue.InputPeriodNs - 1;
        _queue.RunDue();
        Assert.Equal(0, arrived);
        _counter.Executed++;
        _queue.RunDue();
        Assert.Equal(1, arrived);
    }

    [Fact]
    public void Idle_TakesInputFirst_ThenJumpsToTheDeadline()
    {
        int arrived = 0;
        _queue.CreateTimer(static () => { }).Arm(5_000_000_000);
        _queue.Post(() => arrived++);
        Assert.True(_queue.SkipIdle());
        Assert.Equal((1, 0L), (arrived, _clock.NowNs));
        Assert.True(_queue.SkipIdle());
        Assert.Equal(5_000_000_000, _clock.NowNs);
    }

    [Fact]
    public void IdleWithoutDeadlineOrInput_WaitsForTheHost() => Assert.False(_queue.SkipIdle());

    private sealed class Counter : IInstructionCounter
    {
        public long Executed { get; set; }
    }
}
