using System;
using System.Buffers.Binary;
using System.Threading;
using Hull.Host;
using Hull.Memory;
using Hull.Storage;
using Hull.Xen.Block;
using Hull.Xen.PvDevices;
using Hull.Xen.Events;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>A disk's ring as a front end fills it, honest and not.</summary>
public sealed class BlockQueueTests : IDisposable
{
    private const ulong Ring = 0x20_0000;
    private const ulong Data = 0x10_8000;
    private const int Entries = 32;

    private readonly TestDomain _domain = new();
    private readonly MemoryStore _store = new(1 << 20);
    private readonly BlockQueue _queue;
    private uint _producer;

    public BlockQueueTests()
    {
        // The grant table's frame lies behind RAM, where the guest put it; entry 8 grants the data page, 9 only for reading.
        Assert.Equal(0, _domain.CallWith(12, 7, 0x7FF0, 1, 0, 0, 0x8000, 0));
        Grant(8, 1, Data);
        Grant(9, 1 | 4, Data);
        EventPort port = _domain.Domain.Events.Allocate(PortState.Unbound, 0)!; // the first of many
        _queue = new BlockQueue(
            _domain.Domain, _store, new SharedRing(_domain.Memory, [new GuestPhysical(Ring)], BlockQueue.EntrySize), port);
    }

    public void Dispose()
    {
        _queue.Dispose();
        _domain.Dispose();
    }

    [Fact]
    public void Write_ThenRead_MovesTheGuestsBytes()
    {
        _domain.Memory.TryWrite(new GuestPhysical(Data), "first sector"u8);
        Assert.Equal(0, Ask(1, sector: 3, reference: 8));
        Assert.Equal((byte)'f', _store.Content[3 * 512]);

        _store.Content[3 * 512] = (byte)'F';
        Assert.Equal(0, Ask(0, sector: 3, reference: 8));
        Assert.Equal((byte)'F', _domain.Memory.Read<byte>(new GuestPhysical(Data)));
    }

    [Fact]
    public void Requests_OfA32BitGuest_AreNarrower()
    {
        const ulong otherRing = 0x30_0000;
        EventPort port = _domain.Domain.Events.Allocate(PortState.Unbound, 0)!; // one of few
        SharedRing ring = new(_domain.Memory, [new GuestPhysical(otherRing)], BlockQueue.ShortEntrySize);
        using BlockQueue queue = new(_domain.Domain, _store, ring, port, isShort: true);
        _domain.Memory.TryWrite(new GuestPhysical(Data), "narrow"u8);
        byte[] entry = new byte[BlockQueue.ShortEntrySize];
        entry[0] = 1; // write
        entry[1] = 1;
        entry[4] = 77;
        entry[12] = 3;
        entry[20] = 8;
        _domain.Memory.TryWrite(new GuestPhysical(otherRing + 64 + (ulong)entry.Length), entry);
        entry[12] = 5;
        _domain.Memory.TryWrite(new GuestPhysical(otherRing + 64), entry);
        _domain.Memory.Write(new GuestPhysical(otherRing), 2u);
        Assert.Equal(0, _domain.CallWith(32, 4, (uint)port.Number));

        Assert.True(SpinWait.SpinUntil(
            () => _domain.Memory.Read<uint>(new GuestPhysical(otherRing + 8)) == 2, TimeSpan.FromSeconds(60)));
        Assert.Equal("narrow"u8.ToArray(), _store.Content[(3 * 512)..((3 * 512) + 6)]);
        Assert.Equal("narrow"u8.ToArray(), _store.Content[(5 * 512)..((5 * 512) + 6)]);
        Assert.Equal(77ul, _domain.Memory.Read<ulong>(new GuestPhysical(otherRing + 64)));
    }

    [Theory]
    [InlineData(0, 2048ul, 8u, 0, -1)] // behind the disk's end
    [InlineData(0, ulong.MaxValue, 8u, 0, -1)]
    [InlineData(0, 0ul, 9u, 0, -1)] // read into a page that is only to be read
    [InlineData(1, 0ul, 9u, 0, 0)]
    [InlineData(1, 0ul, 10u, 0, -1)] // never granted
    [InlineData(1, 0ul, uint.MaxValue, 0, -1)]
    [InlineData(1, 0ul, 8u, 8, -1)] // the ninth sector of a page
    [InlineData(2, 0ul, 8u, 0, -2)] // no barriers
    [InlineData(3, 0ul, 8u, 0, 0)]
    public void Status_IsAsTheProtocolSays(byte operation, ulong sector, uint reference, byte lastSector, short status) =>
        Assert.Equal(status, Ask(operation, sector, reference, lastSector));

    [Fact]
    public void WildRequests_AreAnswered_AndAnOverfullRingIsLeft()
    {
        Random random = new(5);
        byte[] entry = new byte[BlockQueue.EntrySize];
        for (int i = 0; i < 10_000; i++)
        {
            random.NextBytes(entry);
            entry[0] = (byte)random.Next(8);
            entry[1] = random.Next(2) == 0 ? (byte)random.Next(13) : entry[1];
            if (random.Next(2) == 0)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(entry.AsSpan(16), (ulong)random.Next(2048));
                BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(24), (uint)random.Next(12));
            }

            Put(entry);
            if (i % (Entries / 2) == 0)
            {
                Wait();
            }
        }

        Wait();
        uint answered = _domain.Memory.Read<uint>(new GuestPhysical(Ring + 8));
        _domain.Memory.Write(new GuestPhysical(Ring), _producer + 1000);
        Kick();
        _queue.Drain();
        Assert.Equal(answered, _domain.Memory.Read<uint>(new GuestPhysical(Ring + 8)));
    }

    [Theory]
    [InlineData(1ul, true)] // pages that adjoin
    [InlineData(3ul, true)] // pages that do not
    [InlineData(0ul, true)] // the same page again and again
    [InlineData(ulong.MaxValue, true)] // adjoining, and backwards
    [InlineData(3ul, false)] // what does not lie together on the disk comes through the buffer
    public void Indirect_MovesEachPageToItsPlace(ulong step, bool isTogether)
    {
        _store.IsTogether = isTogether;
        const int pages = 256;
        const int list = 12;
        const ulong first = 0x28_0000;
        Grant(list, 1 | 4, 0x11_0000);
        for (int i = 0; i < pages; i++)
        {
            ulong page = Page(i);
            Grant(16 + i, 1, page);
            _domain.Memory.Write(new GuestPhysical(page), (uint)i);
            GuestPhysical segment = new(0x11_0000 + (ulong)(i * 8));
            _domain.Memory.Write(segment, 16u + (uint)i);
            _domain.Memory.Write(new GuestPhysical(segment.Value + 4), i == 70 ? 0x0601u : 0x0700u); // first and last sector
        }

        AskIndirect(1);
        int at = 0;
        for (int i = 0; i < pages; i++)
        {
            // A page's first word is on the disk unless its first sector was left out.
            if (i != 70)
            {
                Assert.Equal(
                    _domain.Memory.Read<uint>(new GuestPhysical(Page(i))), BitConverter.ToUInt32(_store.Content, at));
            }

            at += i == 70 ? 6 * 512 : 4096;
        }

        new Random(1).NextBytes(_store.Content);
        AskIndirect(0);
        at = 0;
        for (int i = 0; i < pages; i++)
        {
            int length = i == 70 ? 6 * 512 : 4096;
            byte[] moved = new byte[length];
            _domain.Memory.TryRead(new GuestPhysical(Page(i) + (i == 70 ? 512ul : 0)), moved);
            Assert.True(step == 0 || moved.AsSpan().SequenceEqual(_store.Content.AsSpan(at, length)), $"page {i}");
            at += length;
        }

        ulong Page(int index) => step == ulong.MaxValue ? first + 0x10_0000 - ((ulong)index << 12)
            : step == 3 ? first + ((ulong)(index % 128) << 13) + ((ulong)(index / 128) << 12)
            : first + (step * ((ulong)index << 12));

        void AskIndirect(byte operation)
        {
            byte[] entry = new byte[BlockQueue.EntrySize];
            (entry[0], entry[1]) = (6, operation);
            BinaryPrimitives.WriteUInt16LittleEndian(entry.AsSpan(2), pages);
            BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(28), list);
            uint answer = _producer % Entries;
            Put(entry);
            Wait();
            Assert.Equal(0, _domain.Memory.Read<short>(new GuestPhysical(Ring + 64 + (answer * BlockQueue.EntrySize) + 10)));
        }
    }

    [Fact]
    public void Read_WithOnePageNotGranted_MovesNothing()
    {
        _domain.Memory.Write(new GuestPhysical(Data), 0x1234u);
        byte[] entry = new byte[BlockQueue.EntrySize];
        entry[1] = 2;
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(24), 8);
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(32), 10);
        Put(entry);
        Wait();
        Assert.Equal(-1, _domain.Memory.Read<short>(new GuestPhysical(Ring + 64 + 10)));
        Assert.Equal(0x1234u, _domain.Memory.Read<uint>(new GuestPhysical(Data)));
    }

    private void Grant(int reference, ushort flags, ulong page)
    {
        GuestPhysical entry = new((0x8000UL << 12) + (ulong)(reference * 8));
        _domain.Memory.Write(entry, (uint)flags);
        _domain.Memory.Write(new GuestPhysical(entry.Value + 4), (uint)(page >> 12));
    }

    // One segment from the page's first sector; the status of its answer.
    private short Ask(byte operation, ulong sector, uint reference, byte lastSector = 0)
    {
        byte[] entry = new byte[BlockQueue.EntrySize];
        entry[0] = operation;
        entry[1] = 1;
        BinaryPrimitives.WriteUInt64LittleEndian(entry.AsSpan(16), sector);
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(24), reference);
        entry[29] = lastSector;
        uint at = _producer % Entries;
        Put(entry);
        Wait();
        return _domain.Memory.Read<short>(new GuestPhysical(Ring + 64 + (at * BlockQueue.EntrySize) + 10));
    }

    private void Put(byte[] entry)
    {
        _domain.Memory.TryWrite(new GuestPhysical(Ring + 64 + (_producer % Entries * BlockQueue.EntrySize)), entry);
        _domain.Memory.Write(new GuestPhysical(Ring), ++_producer);
        Kick();
    }

    // The queue's port is the third: store and console have the first two.
    private void Kick() => Assert.Equal(0, _domain.CallWith(32, 4, 3));

    private void Wait() => Assert.True(
        SpinWait.SpinUntil(
            () => _domain.Memory.Read<uint>(new GuestPhysical(Ring + 8)) == _producer, TimeSpan.FromSeconds(60)),
        "no answer");

    /// <summary>A disk in memory.</summary>
    private sealed class MemoryStore(int size) : IByteStore
    {
        internal byte[] Content { get; } = new byte[size];

        internal bool IsTogether { get; set; }

        public ulong Length => (ulong)size;

        public bool IsReadOnly => false;

        public uint BlockSize => 512;

        public void Read(ulong offset, Span<byte> destination) =>
            Content.AsSpan((int)offset, destination.Length).CopyTo(destination);

        public bool TryRead(ulong offset, Span<HostRange> pieces, int length)
        {
            foreach (HostRange piece in IsTogether ? pieces : [])
            {
                Read(offset, piece.Bytes);
                offset += (uint)piece.Length;
                length -= piece.Length;
            }

            Assert.True(length == 0 || !IsTogether);
            return IsTogether;
        }

        public void Write(ulong offset, ReadOnlySpan<byte> source) => source.CopyTo(Content.AsSpan((int)offset));

        public void Flush()
        {
        }

        public void Discard(ulong offset, ulong length) => Content.AsSpan((int)offset, (int)length).Clear();

        public void WriteZeroes(ulong offset, ulong length, bool mayFree) => Discard(offset, length);

        public ulong FindRun(ulong offset, out bool isZero)
        {
            isZero = false;
            return Length - offset;
        }

        public void Dispose()
        {
        }
    }
}
