using System;
using System.Diagnostics;
using System.Threading;
using Hull.Cpu;
using Xunit;

namespace Hull.Tests.Cpu;

/// <summary>When a halted vCPU's thread looks for its wake-up before it sleeps.</summary>
public sealed class HaltPollTests
{
    [Fact]
    public void ShortSleep_MakesTheNextWaitLook_AndALongOneEndsIt()
    {
        HaltPoll poll = new();
        Assert.False(poll.Looks);
        poll.Slept(HaltPoll.ShortNs);
        Assert.True(poll.Looks);
        poll.Slept(HaltPoll.ShortNs + 1);
        Assert.False(poll.Looks);
    }

    [Fact]
    public void LostTurn_EndsTheLooks_ForAWhile()
    {
        HaltPoll poll = new();
        poll.Slept(0);
        poll.LostTurn(Stopwatch.GetTimestamp() + Stopwatch.Frequency);          // a second yet to come, whatever the host does
        Assert.False(poll.Looks);
        poll.LostTurn(Stopwatch.GetTimestamp() - Stopwatch.Frequency);
        Assert.True(poll.Looks);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Wait_EndsWithTheEvent_WhetherItLooksOrSleeps(bool looks)
    {
        HaltPoll poll = new();
        poll.Slept(looks ? 0 : long.MaxValue);
        using ManualResetEventSlim wake = new(false, 0);
        bool over = false;
        Thread thread = new(() =>
        {
            poll.Wait(wake);
            Volatile.Write(ref over, wake.IsSet);
        });
        thread.Start();
        Assert.False(thread.Join(20));
        wake.Set();
        Assert.True(thread.Join(TimeSpan.FromSeconds(20)));
        Assert.True(Volatile.Read(ref over));

        // It slept for 20 ms either way, so the next wait does not look.
        Assert.False(poll.Looks);
    }
}
