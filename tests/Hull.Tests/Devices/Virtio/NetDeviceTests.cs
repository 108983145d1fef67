using System;
using System.Buffers.Binary;
using System.Linq;
using Hull.Devices.Virtio;
using Hull.Host;
using Hull.Memory;
using Hull.Net;
using Hull.Tests.Net;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

/// <summary>A network card from the driver's side, with a port that the test holds.</summary>
public sealed class NetDeviceTests : IDisposable
{
    private const ulong Mergeable = 1UL << 15;
    private const ulong Everything = 0xFF_FFFF & ~(1UL << 4) & ~(1UL << 6) & ~(1UL << 10) & ~(1UL << 14);
    private const int Rx = 0;
    private const int Tx = 1;
    private const int Control = 2;
    private const int Header = 12;

    private readonly TestPort _port = new() { Mtu = 9000 };
    private VirtioDriver? _driver;

    [Fact]
    public void FrameOfTheGuests_GoesOut_WithWhatIsLeftToDo()
    {
        VirtioDriver driver = Start(Everything);
        byte[] frame = Frames.Tcp(true, 5000);
        byte[] header = new byte[Header];
        Frames.Offload(true, 1400).Write(header);
        Assert.NotNull(driver.Request(Tx, [.. header, .. frame], 0));
        (byte[] sent, FrameOffload offload) = _port.Sent.Take();
        Assert.Equal(frame, sent);
        Assert.Equal(Frames.Offload(true, 1400), offload);
    }

    [Theory]
    [InlineData(11)]
    [InlineData(Header + 13)]
    [InlineData(Header + 65535 + 14 + 5)]
    [InlineData(2_000_000)]
    public void FrameOfNoSize_IsTakenAndDropped(int length)
    {
        VirtioDriver driver = Start(Everything);
        Assert.NotNull(driver.Request(Tx, new byte[length], 0));
        Assert.NotNull(driver.Request(Tx, [.. new byte[Header], .. Frames.Plain(60)], 0));
        Assert.Equal(60, _port.Sent.Take().Frame.Length);
        Assert.False(driver.NeedsReset);
    }

    [Fact]
    public void FrameWithWorkLeft_ThatWasNotAgreedOn_IsDropped()
    {
        VirtioDriver driver = Start(0);
        byte[] header = new byte[Header];
        Frames.Offload(true, 1400).Write(header);
        Assert.NotNull(driver.Request(Tx, [.. header, .. Frames.Tcp(true, 5000)], 0));
        Assert.NotNull(driver.Request(Tx, [.. new byte[Header], .. Frames.Plain(60)], 0));
        Assert.Equal(60, _port.Sent.Take().Frame.Length);
    }

    [Fact]
    public void FrameForTheGuest_IsInItsBuffer_BehindAHeader()
    {
        VirtioDriver driver = Start(Everything);
        byte[] frame = Frames.Plain(100);
        OfferReceive(driver, 0, 2048);
        _port.Arrive(frame, default(FrameOffload) with { ChecksumIsGood = true });
        Assert.True(driver.WaitUsed(Rx, out _, out uint length));
        Assert.Equal((uint)(Header + 100), length);
        Assert.Equal([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, .. frame], Buffer(driver, 0, (int)length));
    }

    [Fact]
    public void LongFrame_IsSpreadOverBuffers_WhichComeAllAtOnce()
    {
        VirtioDriver driver = Start(Everything);
        byte[] frame = Frames.Tcp(true, 4000);
        _port.Arrive(frame);
        for (int i = 0; i < 3; i++)
        {
            OfferReceive(driver, i, 1024);
        }

        Assert.Equal(0, driver.Used(Rx));
        OfferReceive(driver, 3, 2048);
        byte[] got = [];
        for (int i = 0; i < 4; i++)
        {
            Assert.True(driver.WaitUsed(Rx, out uint id, out uint length));
            Assert.Equal((uint)i, id);
            Assert.Equal(4, driver.Used(Rx));
            got = [.. got, .. Buffer(driver, i, (int)length)];
        }

        Assert.Equal(4, got[10]);
        Assert.Equal(frame, got[Header..]);
    }

    [Fact]
    public void FrameThatIsLongerThanTheWholeRing_IsLost_AndTheNextComes()
    {
        VirtioDriver driver = Start(Mergeable);
        for (int i = 0; i < 16; i++)
        {
            OfferReceive(driver, i, 100);
        }

        _port.Arrive(Frames.Plain(3000));
        _port.Arrive(Frames.Plain(60, 9));
        Assert.True(driver.WaitUsed(Rx, out uint id, out uint length));
        Assert.Equal((0u, 72u), (id, length));
        Assert.Equal(9, Buffer(driver, 0, 72)[^1]);
    }

    [Fact]
    public void BuffersAreTooSmall_WithoutMerging_TheFrameIsLost()
    {
        VirtioDriver driver = Start(0);
        OfferReceive(driver, 0, 100);
        OfferReceive(driver, 1, 100);
        _port.Arrive(Frames.Plain(1000));
        _port.Arrive(Frames.Plain(60));
        Assert.True(driver.WaitUsed(Rx, out _, out uint length));
        Assert.Equal(0u, length);
        Assert.True(driver.WaitUsed(Rx, out _, out length));
        Assert.Equal(72u, length);
    }

    [Fact]
    public void GuestThatCannotCut_GetsPackets()
    {
        VirtioDriver driver = Start(Mergeable);
        Assert.Equal(OffloadAbility.None, _port.Receiver);
        for (int i = 0; i < 3; i++)
        {
            OfferReceive(driver, i, 2048);
        }

        _port.Arrive(Frames.Tcp(true, 3000), Frames.Offload(true, 1000));
        for (int i = 0; i < 3; i++)
        {
            Assert.True(driver.WaitUsed(Rx, out _, out uint length));
            Assert.Equal((uint)(Header + Frames.Tcp4Headers + 1000), length);
            Assert.True(Buffer(driver, i, Header).AsSpan(0, 10).IndexOfAnyExcept((byte)0) < 0);
        }
    }

    [Fact]
    public void ResetWhileAFrameWaitsForBuffers_EndsTheWait()
    {
        VirtioDriver driver = Start(Everything);
        _port.Arrive(Frames.Plain(60));
        _port.Arrive(Frames.Plain(60));
        driver.Start(VirtioFeature.Version1 | (Everything & ~(1UL << 22)));
        OfferReceive(driver, 0, 2048);
        _port.Arrive(Frames.Plain(61));
        Assert.True(driver.WaitUsed(Rx, out _, out _));
    }

    [Fact]
    public void PulledCable_IsSeen_AndTheGuestMakesItselfKnownBehindIt()
    {
        VirtioDriver driver = Start(Everything);
        Assert.Equal(1ul, driver.Read(0x2006, 2));
        driver.TakeInterrupts();
        _port.Plug(false);
        Assert.Equal(0ul, driver.Read(0x2006, 2));
        Assert.Equal(2ul, driver.TakeInterrupts() & 2);
        _port.Plug(true);
        Assert.Equal(3ul, driver.Read(0x2006, 2));
        Assert.Equal([0], driver.Request(Control, [3, 0], 1)!);
        Assert.Equal(1ul, driver.Read(0x2006, 2));
    }

    [Fact]
    public void Configuration_HasAddressAndMtu()
    {
        VirtioDriver driver = Start(Everything);
        Assert.Equal("020000000007", Convert.ToHexString(Enumerable.Range(0, 6).Select(i => (byte)driver.Read(0x2000 + (ulong)i, 1)).ToArray()));
        Assert.Equal(9000ul, driver.Read(0x200A, 2));
    }

    [Theory]
    [InlineData("0106", 1)]                                                 // no such command
    [InlineData("01", 1)]
    [InlineData("0000", 1)]                                                 // no data
    [InlineData("000001", 0)]
    [InlineData("000601", 1)]
    [InlineData("0101020000000009", 0)]
    [InlineData("0101030000000009", 1)]                                     // a group's address
    [InlineData("01000000000000000000", 0)]
    [InlineData("0100FFFFFFFF00000000", 1)]                                 // 2^32-1 addresses
    [InlineData("010001000000020000000001", 1)]                             // half of a table
    [InlineData("0200FF0F", 0)]
    [InlineData("02000010", 1)]                                             // VLAN 4096
    [InlineData("04000100", 1)]                                             // one pair only: no such feature
    [InlineData("05000200000000000000", 0)]
    [InlineData("05000000000000000080", 1)]
    [InlineData("FF00", 1)]
    public void Command_IsAnswered(string command, byte answer)
    {
        VirtioDriver driver = Start(Everything);
        Assert.Equal([answer], driver.Request(Control, Convert.FromHexString(command), 1)!);
    }

    [Fact]
    public void Filter_KeepsOthersFramesOut()
    {
        VirtioDriver driver = Start(Everything);
        foreach (string command in (string[])["000000", "010001000000" + "020000000008" + "01000000" + "010000000008", "02000700"])
        {
            Assert.Equal([0], driver.Request(Control, Convert.FromHexString(command), 1)!);
        }

        for (int i = 0; i < 16; i++)
        {
            OfferReceive(driver, i, 2048);
        }

        byte mark = 0;
        foreach ((string to, int vlan) in ((string, int)[])[("020000000009", -1), ("020000000007", -1), ("020000000008", -1),
            ("010000000009", -1), ("010000000008", -1), ("FFFFFFFFFFFF", -1), ("020000000007", 7), ("020000000007", 8), ("020000000007", 0)])
        {
            byte[] frame = Frames.Plain(60, ++mark, to: to);
            if (vlan >= 0)
            {
                BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(12), 0x8100_0000u | (uint)vlan);
            }

            _port.Arrive(frame);
        }

        foreach (byte expected in (byte[])[2, 3, 5, 6, 7, 9])
        {
            Assert.True(driver.WaitUsed(Rx, out uint id, out uint length));
            Assert.Equal(expected, Buffer(driver, (int)id, (int)length)[^1]);
        }
    }

    [Fact]
    public void SeveralPairs_AreChosenByCommand_AndAnswersComeWhereTheQuestionWent()
    {
        _driver = new VirtioDriver(context => new NetDevice(context, _port, [2, 0, 0, 0, 0, 7], 2), threads: true);
        _driver.Start(VirtioFeature.Version1 | Everything);
        Assert.Equal(2ul, _driver.Read(0x2008, 2));
        Assert.Equal([1], _driver.Request(4, [4, 0, 3, 0], 1)!);
        Assert.Equal([0], _driver.Request(4, [4, 0, 2, 0], 1)!);
        byte[] frame = Frames.Tcp(true, 100);
        Assert.NotNull(_driver.Request(3, [.. new byte[Header], .. frame], 0));
        _port.Sent.Take();
        OfferReceive(_driver, 0, 2048, queue: 2);
        _port.Arrive(frame);
        Assert.True(_driver.WaitUsed(2, out _, out _));
    }

    [Fact]
    public void WithoutThePairsFeature_TheThirdQueueIsTheControlQueue()
    {
        _driver = new VirtioDriver(context => new NetDevice(context, _port, [2, 0, 0, 0, 0, 7], 2), threads: true);
        _driver.Start(VirtioFeature.Version1 | (Everything & ~(1UL << 22)));
        Assert.Equal([0], _driver.Request(2, [0, 0, 1], 1)!);
    }

    [Theory]
    [InlineData(",queues=9")]
    [InlineData(",mtu=100")]
    [InlineData(",mac=03:00:00:00:00:01")]
    [InlineData(",mac=02:00")]
    [InlineData(",publish=80:80")]
    public void WrongOption_IsOneClearLine(string option)
    {
        Assert.Throws<HullException>(() => new VirtioDriver(Hull.Devices.DeviceText.ParseNet("unplugged" + option)));
    }

    [Fact]
    public void RandomFramesAndCommands_DoNoHarm()
    {
        // Without threads every notification is done when it returns; nothing but the answer is looked at.
        using TestPort port = new() { IsSink = true, Takes = OffloadAbility.None, Mtu = 1500 };
        using VirtioDriver driver = new(context => new NetDevice(context, port, [2, 0, 0, 0, 0, 7], 2), threads: false);
        Random random = new(11);
        byte[] bytes = new byte[400];
        byte[][] frames = [Frames.Tcp(true, 200), Frames.Tcp(false, 200), Frames.Plain(60)];
        driver.Start(VirtioFeature.Version1 | Everything);
        for (int i = 0; i < 1_000_000; i++)
        {
            bool isControl = random.Next(4) == 0;
            int length = isControl ? Command(random, bytes) : Frame(random, frames, bytes);
            int queue = isControl ? 4 : 1 + (2 * random.Next(2));
            driver.Memory.TryWrite(new GuestPhysical(VirtioDriver.DataAt), bytes.AsSpan(0, length));
            driver.Describe(queue, 0, VirtioDriver.DataAt, (uint)length, isControl ? VirtioDriver.Next : 0, 1);
            driver.Describe(queue, 1, VirtioDriver.DataAt + 4096, (uint)random.Next(1, 3), VirtioDriver.Write);
            driver.Offer(queue, 0);
        }

        Assert.False(driver.NeedsReset);
        Assert.True(port.Count > 100_000, $"{port.Count} frames went out");
    }

    public void Dispose()
    {
        _driver?.Dispose();
        _port.Dispose();
    }

    private static int Command(Random random, byte[] bytes)
    {
        int length = random.Next(24);
        random.NextBytes(bytes.AsSpan(0, length));
        bytes[0] = (byte)random.Next(7);
        bytes[1] = (byte)random.Next(7);
        bytes[2] = (byte)random.Next(4);
        bytes.AsSpan(3, 3).Clear();
        return length;
    }

    private static int Frame(Random random, byte[][] frames, byte[] bytes)
    {
        byte[] frame = frames[random.Next(frames.Length)];
        random.NextBytes(bytes.AsSpan(0, Header));
        if (random.Next(4) != 0)
        {
            Frames.Offload(frame == frames[0], random.Next(3) == 0 ? random.Next(300) : 0).Write(bytes);
        }

        frame.CopyTo(bytes, Header);
        bytes[random.Next(Header + frame.Length)] = (byte)random.Next(256);
        return random.Next(16) == 0 ? random.Next(bytes.Length) : Header + frame.Length;
    }

    private static void OfferReceive(VirtioDriver driver, int index, uint length, int queue = Rx)
    {
        driver.Describe(queue, index, At(index), length, VirtioDriver.Write);
        driver.Offer(queue, (ushort)index);
    }

    private static ulong At(int index) => VirtioDriver.DataAt + 0x20_0000 + ((ulong)index * 0x1_0000);

    private static byte[] Buffer(VirtioDriver driver, int index, int length)
    {
        byte[] bytes = new byte[length];
        driver.Memory.TryRead(new GuestPhysical(At(index)), bytes);
        return bytes;
    }

    private VirtioDriver Start(ulong features)
    {
        _driver = new VirtioDriver(context => new NetDevice(context, _port, [2, 0, 0, 0, 0, 7], 1), threads: true);
        return _driver.Start(VirtioFeature.Version1 | (features & ~(1UL << 22)));
    }
}
