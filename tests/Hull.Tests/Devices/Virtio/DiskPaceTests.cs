using System;
using System.Diagnostics;
using System.Threading;
using Hull.Devices.Virtio;
using Hull.Host;
using Hull.Memory;
using Hull.Storage;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

/// <summary>Which requests of a disk's queue go on beside each other: a driver that notifies only when it is asked to.</summary>
public sealed class DiskPaceTests : IDisposable
{
    private const int Large = 256 << 10;
    private const ulong HeadersAt = VirtioDriver.DataAt;
    private const ulong StatusAt = VirtioDriver.DataAt + 0x1000;
    private const ulong BytesAt = VirtioDriver.DataAt + 0x1_0000;

    private readonly SlowStore _store = new();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Flush_DoesNotHoldUpAReadThatComesLater(bool packed)
    {
        using VirtioDriver driver = Start(packed);
        _store.Gate.Reset();
        Offer(driver, 0, type: 4, sector: 0, bytes: 0);
        Assert.True(SpinWait.SpinUntil(() => _store.IsInFlush, TimeSpan.FromSeconds(20)));

        Offer(driver, 1, type: 0, sector: 0, bytes: 512);
        Assert.True(driver.WaitUsed(0, out _, out uint length));
        Assert.Equal(513u, length);
        Assert.True(_store.IsInFlush);

        _store.Gate.Set();
        Assert.True(driver.WaitUsed(0, out _, out length));
        Assert.Equal(1u, length);
    }

    [Fact]
    public void LargeWrites_GoOnBesideEachOther_WhenTheHostIsSlow()
    {
        using VirtioDriver driver = Start(packed: false);
        _store.PauseMs = 20;
        Write(driver, 1);
        Assert.Equal(1, _store.MostWrites);
        Write(driver, 4);
        Assert.True(_store.MostWrites > 1);
    }

    [Fact]
    public void Pace_IsThatOfTheLastRequest()
    {
        Pace pace = new();
        pace.Ended(Stopwatch.GetTimestamp() - Stopwatch.Frequency);
        Assert.True(pace.IsSlow);
        pace.Ended(Stopwatch.GetTimestamp() + Stopwatch.Frequency);             // quick, whatever the host does meanwhile
        Assert.False(pace.IsSlow);
    }

    /// <inheritdoc/>
    public void Dispose() => _store.Dispose();

    private static void Write(VirtioDriver driver, int count)
    {
        for (int i = 0; i < count; i++)
        {
            Offer(driver, i, type: 1, sector: (ulong)(i * Large / 512), Large, rings: i == count - 1);
        }

        for (int i = 0; i < count; i++)
        {
            Assert.True(driver.WaitUsed(0, out _, out _));
        }
    }

    private VirtioDriver Start(bool packed) =>
        new VirtioDriver(context => new DiskDevice(context, _store, "slow", queues: 1), threads: true, packed).Start();

    // Three descriptors a request: header, data (none for a flush), status.
    private static void Offer(VirtioDriver driver, int slot, uint type, ulong sector, int bytes, bool rings = true)
    {
        ulong header = HeadersAt + ((ulong)slot * 16);
        driver.Memory.Write(new GuestPhysical(header), type);
        driver.Memory.Write(new GuestPhysical(header + 8), sector);
        int first = slot * 3;
        driver.Describe(0, first, header, 16, VirtioDriver.Next, bytes > 0 ? first + 1 : first + 2);
        driver.Describe(0, first + 1, BytesAt, (uint)bytes, VirtioDriver.Next | (type == 0 ? VirtioDriver.Write : 0), first + 2);
        driver.Describe(0, first + 2, StatusAt + (ulong)slot, 1, VirtioDriver.Write);
        driver.OfferQuietly(0, (ushort)first);
        if (rings && driver.WantsNotification(0))
        {
            driver.Ring(0);
        }
    }

    private sealed class SlowStore : IByteStore
    {
        private int _writes;
        private int _mostWrites;
        private volatile bool _isInFlush;

        public ulong Length => 16 << 20;

        public bool IsReadOnly => false;

        public uint BlockSize => 4096;

        internal ManualResetEventSlim Gate { get; } = new(initialState: true);

        internal bool IsInFlush => _isInFlush;

        internal int PauseMs { get; set; }

        internal int MostWrites => Volatile.Read(ref _mostWrites);

        public void Read(ulong offset, Span<byte> destination) => destination.Clear();

        public bool TryRead(ulong offset, Span<HostRange> pieces, int length) => false;

        public void Write(ulong offset, ReadOnlySpan<byte> source)
        {
            int writes = Interlocked.Increment(ref _writes);
            _mostWrites = Math.Max(_mostWrites, writes);
            Thread.Sleep(PauseMs);
            Interlocked.Decrement(ref _writes);
        }

        public void Flush()
        {
            _isInFlush = true;
            Gate.Wait();
            _isInFlush = false;
        }

        public void Discard(ulong offset, ulong length)
        {
        }

        public void WriteZeroes(ulong offset, ulong length, bool mayFree)
        {
        }

        public ulong FindRun(ulong offset, out bool isZero)
        {
            isZero = false;
            return Length - offset;
        }

        public void Dispose() => Gate.Dispose();
    }
}
