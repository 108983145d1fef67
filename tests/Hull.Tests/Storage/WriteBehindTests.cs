using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using Hull.Storage;
using Xunit;

namespace Hull.Tests.Storage;

public sealed class WriteBehindTests
{
    private const int Request = 1 << 20;

    [Fact]
    public void LongRun_IsBegunInOrder_WithoutGapsAndWithoutItsEnd()
    {
        List<(ulong Start, ulong Length)> begun = Ranges(Enumerable.Range(100, 64));

        Assert.NotEmpty(begun);
        Assert.Equal(100UL * Request, begun[0].Start);
        for (int i = 1; i < begun.Count; i++)
        {
            Assert.Equal(begun[i - 1].Start + begun[i - 1].Length, begun[i].Start);
        }

        Assert.InRange(begun[^1].Start + begun[^1].Length, 100UL * Request, (164UL * Request) - WriteBehind.Nearby);
        Assert.All(begun, range => Assert.True(range.Length >= WriteBehind.Portion));
    }

    [Fact]
    public void RequestsThatEndInAnyOrder_AreOneRun()
    {
        IEnumerable<int> swapped = Enumerable.Range(0, 64).Select(i => i ^ 3);

        Assert.NotEmpty(Ranges(swapped));
    }

    [Fact]
    public void WritesHereAndThere_AreLeftToTheHost() =>
        Assert.Empty(Ranges(Enumerable.Range(0, 64).Select(i => i * 100 % 6400)));

    [Fact]
    public void OnePlaceAgainAndAgain_IsLeftToTheHost() =>
        Assert.Empty(Ranges(Enumerable.Range(0, 256).Select(i => i % 4)));

    [Fact]
    public void SmallWrites_AreLeftToTheHost() =>
        Assert.Empty(Ranges(Enumerable.Range(0, 8192), 4096));

    [Fact]
    public void Dispose_WaitsForWhatIsBegun()
    {
        using ManualResetEventSlim entered = new();
        bool isDone = false;
        WriteBehind behind = new((_, _) =>
        {
            entered.Set();
            Thread.Yield();
            Volatile.Write(ref isDone, true);
        });
        for (int i = 0; i < 16; i++)
        {
            behind.Wrote((ulong)i * Request, Request);
        }

        Assert.True(entered.Wait(TimeSpan.FromSeconds(60)));
        behind.Dispose();

        Assert.True(Volatile.Read(ref isDone));
    }

    // What has been begun when all is written.
    private static List<(ulong Start, ulong Length)> Ranges(IEnumerable<int> requests, int size = Request)
    {
        List<(ulong, ulong)> begun = [];
        WriteBehind behind = new((start, length) =>
        {
            lock (begun)
            {
                begun.Add((start, length));
            }
        });
        foreach (int request in requests)
        {
            behind.Wrote((ulong)request * (ulong)size, size);
        }

        behind.Dispose();
        return begun;
    }
}
