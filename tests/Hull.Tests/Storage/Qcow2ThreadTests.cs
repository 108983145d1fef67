using System;
using System.Threading.Tasks;
using Hull.Storage;
using Hull.Storage.Qcow2;
using Xunit;

namespace Hull.Tests.Storage;

/// <summary>Several threads on one image, as a device's queues are.</summary>
public sealed class Qcow2ThreadTests
{
    private const int Threads = 4;
    private const int Share = 4 << 20;

    [Theory]
    [InlineData(512)]
    [InlineData(65536)]
    public async Task ThreadsOnTheirOwnParts_DoNotDisturbEachOther(int clusterSize)
    {
        using ImageFolder folder = new();
        string image = folder["disk.qcow2"];
        DiskTool.Create(image, default, Threads * Share, new Qcow2Options { ClusterSize = clusterSize });
        byte[] content = new byte[Threads * Share];
        using (IByteStore store = DiskImage.Open(image, default, readOnly: false))
        {
            Task[] tasks = new Task[Threads];
            for (int i = 0; i < Threads; i++)
            {
                int mine = i;
                tasks[i] = Task.Factory.StartNew(() => Work(store, content, mine), TaskCreationOptions.LongRunning);
            }

            await Task.WhenAll(tasks);
        }

        using (IByteStore store = DiskImage.Open(image, default, readOnly: true))
        {
            byte[] read = new byte[content.Length];
            store.Read(0, read);
            Assert.True(read.AsSpan().SequenceEqual(content));
        }

        Assert.True(DiskTool.Check(image, default, Qcow2Repair.None) is { Corruptions: 0, Leaks: 0 });
    }

    // Neighbours' parts are mixed, sector by sector in groups, so that they share clusters.
    private static void Work(IByteStore store, byte[] content, int mine)
    {
        Random random = new(mine);
        byte[] read = new byte[8192];
        for (int i = 0; i < 400; i++)
        {
            int group = random.Next(Share / 8192);
            int at = ((group * Threads) + mine) * 8192;
            Span<byte> part = content.AsSpan(at, 8192);
            switch (random.Next(5))
            {
                case 0:
                    store.Read((ulong)at, read);
                    Assert.True(part.SequenceEqual(read), $"thread {mine}, read at {at}");
                    break;
                case 1:
                    part.Clear();
                    store.WriteZeroes((ulong)at, 8192, mayFree: true);
                    break;
                case 2:
                    store.Flush();
                    break;
                default:
                    random.NextBytes(part);
                    store.Write((ulong)at, part);
                    break;
            }
        }
    }
}
