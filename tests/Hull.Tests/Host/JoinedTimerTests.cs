using System.Threading;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Host;

/// <summary>A timer's end: the fuzzer died of a kick that came to a vCPU whose memory was gone.</summary>
public sealed class JoinedTimerTests
{
    [Fact]
    public void Dispose_WaitsForTheCallbackThatIsUnderWay()
    {
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim disposing = new();
        bool ended = false;
        JoinedTimer timer = new(Fired, 1, Timeout.Infinite);
        entered.Wait();
        disposing.Set();
        timer.Dispose();
        Assert.True(Volatile.Read(ref ended));

        void Fired()
        {
            entered.Set();
            disposing.Wait();
            Thread.Yield();
            Thread.SpinWait(1_000_000); // Dispose is on its way, and must not come back yet
            Volatile.Write(ref ended, true);
        }
    }
}
