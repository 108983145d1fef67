using System;
using System.Collections.Generic;
using Hull.Devices.Virtio;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

public sealed class PackedRingTests : IDisposable
{
    private const ulong Ring = 0x10_0000;
    private const ulong Driver = 0x11_0000;
    private const ulong Device = 0x12_0000;
    private const int Size = 6;
    private readonly GuestMemory _memory = new(4 << 20);
    private readonly DescriptorChain _chain = new();

    [Fact]
    public void SizeNeedNotBeAPowerOfTwo_AndTheRingWraps()
    {
        Virtqueue queue = Queue();
        int at = 0;
        bool wrap = true;
        for (int i = 0; i < 100; i++)
        {
            Put(ref at, ref wrap, (ushort)i, 2);
            Assert.True(queue.TryTake(_chain, out bool more));
            Assert.False(more);
            Assert.Equal(i, _chain.Head);
            Assert.True(queue.Return(_chain, 5));
            int first = (2 * i) % Size;
            Assert.Equal((ushort)i, _memory.Read<ushort>(new GuestPhysical(Ring + ((ulong)first * 16) + 12)));
            Assert.Equal((2 * i / Size) % 2 == 0 ? 0x8082 : 2, _memory.Read<ushort>(new GuestPhysical(Ring + ((ulong)first * 16) + 14)));
        }
    }

    [Fact]
    public void ChainsComeBackInAnyOrder_EachWithItsIdentifier()
    {
        Virtqueue queue = Queue();
        int at = 0;
        bool wrap = true;
        DescriptorChain second = new();
        Put(ref at, ref wrap, 7, 2);
        Put(ref at, ref wrap, 9, 1);
        Assert.True(queue.TryTake(_chain, out bool more));
        Assert.True(more);
        Assert.True(queue.TryTake(second, out _));
        queue.Return(second, 1);
        queue.Return(_chain, 2);
        Assert.Equal(9, _memory.Read<ushort>(new GuestPhysical(Ring + 12)));
        Assert.Equal(7, _memory.Read<ushort>(new GuestPhysical(Ring + 16 + 12)));
    }

    [Fact]
    public void StagedChains_CanBeTakenAgain()
    {
        Virtqueue queue = Queue();
        int at = 0;
        bool wrap = true;
        Put(ref at, ref wrap, 1, 2);
        Put(ref at, ref wrap, 2, 3);
        Assert.True(queue.TryTake(_chain, out _));
        queue.Stage(_chain, 1);
        Assert.True(queue.TryTake(_chain, out _));
        queue.Stage(_chain, 1);
        queue.Unstage();
        Assert.True(queue.TryTake(_chain, out _));
        Assert.Equal(1, _chain.Head);
        Assert.False(queue.Publish());
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(1, false)]
    public void Flags_SwitchInterruptsOnAndOff(ushort flags, bool wanted)
    {
        Virtqueue queue = Queue();
        int at = 0;
        bool wrap = true;
        _memory.Write(new GuestPhysical(Driver + 2), flags);
        Put(ref at, ref wrap, 1, 1);
        Assert.True(queue.TryTake(_chain, out _));
        Assert.Equal(wanted, queue.Return(_chain, 0));
    }

    [Fact]
    public void EventIndex_AsksForOneInterruptALap()
    {
        Virtqueue queue = Queue(VirtioFeature.EventIndex);
        int at = 0;
        bool wrap = true;
        List<int> raised = [];
        _memory.Write(new GuestPhysical(Driver + 2), (ushort)2);
        for (int i = 0; i < 5 * Size; i++)
        {
            // Entry 4 of whatever lap it is.
            _memory.Write(new GuestPhysical(Driver), (ushort)(4 | (wrap ? 0x8000 : 0)));
            Put(ref at, ref wrap, 1, 1);
            Assert.True(queue.TryTake(_chain, out _));
            if (queue.Return(_chain, 0))
            {
                raised.Add(i);
            }
        }

        Assert.Equal([4, 10, 16, 22, 28], raised);
    }

    [Fact]
    public void EmptyRing_AsksToBeNotifiedOfTheNextEntry()
    {
        Virtqueue queue = Queue(VirtioFeature.EventIndex);
        int at = 0;
        bool wrap = true;
        Put(ref at, ref wrap, 1, 3);
        Assert.True(queue.TryTake(_chain, out _));
        Assert.False(queue.TryTake(_chain, out _));
        Assert.Equal(0x8003, _memory.Read<ushort>(new GuestPhysical(Device)));
        Assert.Equal(2, _memory.Read<ushort>(new GuestPhysical(Device + 2)));
    }

    public void Dispose() => _memory.Dispose();

    private Virtqueue Queue(ulong features = 0)
    {
        Virtqueue queue = new(_memory, 64)
        {
            Size = Size,
            Descriptors = new GuestPhysical(Ring),
            DriverRing = new GuestPhysical(Driver),
            DeviceRing = new GuestPhysical(Device),
        };
        Assert.True(queue.TryEnable(VirtioFeature.Version1 | VirtioFeature.RingPacked | features));
        return queue;
    }

    // A chain of buffers to be written.
    private void Put(ref int at, ref bool wrap, ushort id, int count)
    {
        for (int i = 0; i < count; i++)
        {
            ulong entry = Ring + ((ulong)at * 16);
            _memory.Write(new GuestPhysical(entry), 0x20_0000ul);
            _memory.Write(new GuestPhysical(entry + 8), 16u);
            _memory.Write(new GuestPhysical(entry + 12), id);
            _memory.Write(new GuestPhysical(entry + 14), (ushort)((wrap ? 0x80 : 0x8000) | 2 | (i < count - 1 ? 1 : 0)));
            at++;
            if (at == Size)
            {
                at = 0;
                wrap = !wrap;
            }
        }
    }
}
