using System;
using System.Linq;
using System.Threading;
using Hull.Memory;
using Hull.Net;
using Hull.Tests.Net;
using Hull.Xen.Block;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>A network card's rings as a front end fills them, honest and not.</summary>
public sealed class NetBackendTests : IDisposable
{
    private const ushort ChecksumBlank = 1;
    private const ushort MoreData = 4;
    private const ushort Extra = 8;

    private static readonly string[] Linux =
    [
        "request-rx-copy", "feature-sg", "feature-gso-tcpv4", "feature-gso-tcpv6", "feature-ipv6-csum-offload",
    ];

    private readonly NetFrontEnd _front = new(Linux);

    public NetBackendTests() => _front.Connect();

    public void Dispose() => _front.Dispose();

    [Fact]
    public void Frame_InTwoPages_GoesOutWhole()
    {
        byte[] frame = Frames.Plain(3000);
        Store(0, 3000, frame.AsSpan(0, 1096));
        Store(1, 0, frame.AsSpan(1096));

        _front.Send(NetFrontEnd.Slot(8, 3000, MoreData, 7, 3000), NetFrontEnd.Slot(9, 0, 0, 8, 1904));

        Assert.Equal([(7, 0), (8, 0)], _front.WaitForAnswers());
        Assert.Equal(frame, _front.Port.Sent.Take().Frame);
        Assert.Equal(1u, _front.Flags(8)); // no longer in use
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void LongSegment_KeepsWhatItsSenderLeftToDo(bool isIp4)
    {
        byte[] frame = Frames.Tcp(isIp4, 4000);
        Store(0, 0, frame.AsSpan(0, 4000));
        Store(1, 0, frame.AsSpan(4000));
        byte[] segmentation = [1, 0, 1400 & 0xFF, 1400 >> 8, isIp4 ? (byte)1 : (byte)2, 0, 0, 0, 0, 0, 0, 0];

        _front.Send(
            NetFrontEnd.Slot(8, 0, ChecksumBlank | MoreData | Extra, 1, (ushort)frame.Length), segmentation,
            NetFrontEnd.Slot(9, 0, 0, 2, (ushort)(frame.Length - 4000)));

        Assert.Equal([(1, 0), (1, 1), (2, 0)], _front.WaitForAnswers());
        (byte[] sent, FrameOffload offload) = _front.Port.Sent.Take();
        Assert.Equal(frame, sent);
        Assert.Equal(Frames.Offload(isIp4, 1400), offload);
    }

    [Fact]
    public void LongSegment_ComesInAsPages_WithHowItWasToBeCut()
    {
        byte[] frame = Frames.Tcp(isIp4: true, 10_000);
        _front.Post(8, 9, 10);
        _front.Port.Arrive(frame, Frames.Offload(isIp4: true, 1400));
        _front.Post(11); // three pages and a slot for the rest: now there is room

        Assert.Equal([0, 0, 1 | 2 | MoreData | Extra, 4096], _front.Answer(0));
        Assert.Equal([1, 1400, 1, 0], _front.Answer(1));
        Assert.Equal([2, 0, MoreData, 4096], _front.Answer(2));
        Assert.Equal([3, 0, 0, (ushort)(frame.Length - 8192)], _front.Answer(3));
        byte[] arrived = [.. _front.ReadPage(0, 4096), .. _front.ReadPage(2, 4096), .. _front.ReadPage(3, frame.Length - 8192)];
        Assert.Equal(frame, arrived);
        Assert.Equal(OffloadAbility.Checksum | OffloadAbility.Tcp4 | OffloadAbility.Tcp6, _front.Port.Receiver);
    }

    [Fact]
    public void PageThatMayNotBeWritten_IsAnError_AndStaysAsItIs()
    {
        _front.Post(NetFrontEnd.FirstReadOnly, 9);
        _front.Port.Arrive(Frames.Plain(60));
        _front.Port.Arrive(Frames.Plain(61));

        Assert.Equal([0, 0, 0, unchecked((ushort)-1)], _front.Answer(0));
        Assert.Equal([1, 0, 0, 61], _front.Answer(1));
        Assert.Equal(new byte[60], _front.ReadPage(0, 60));
    }

    [Theory]
    [InlineData(8u, 0, 13, -1)] // shorter than a header
    [InlineData(8u, 4090, 60, -1)] // across the page's end
    [InlineData(8u, 65535, 60, -1)]
    [InlineData(9000u, 0, 60, -1)] // never granted
    [InlineData(uint.MaxValue, 0, 60, -1)]
    [InlineData(100u, 0, 60, 0)] // to be read only, which is all that is wanted
    [InlineData(8u, 0, 4096, 0)]
    public void Status_IsAsTheProtocolSays(uint reference, ushort offset, ushort size, short status)
    {
        _front.Send(NetFrontEnd.Slot(reference, offset, 0, 5, size));
        Assert.Equal([(5, status)], _front.WaitForAnswers());
    }

    [Fact]
    public void PiecesLargerThanTheirFrame_AreAnError()
    {
        _front.Send(NetFrontEnd.Slot(8, 0, MoreData, 1, 100), NetFrontEnd.Slot(9, 0, 0, 2, 100));
        Assert.Equal([(1, -1), (2, -1)], _front.WaitForAnswers());
    }

    [Fact]
    public void ChecksumOfWhatHasNone_IsDropped_NotGuessed()
    {
        Store(0, 0, Frames.Plain(60));
        _front.Send(NetFrontEnd.Slot(8, 0, ChecksumBlank, 1, 60), NetFrontEnd.Slot(8, 0, 0, 2, 60));
        _front.WaitForAnswers();
        Assert.Equal(default, _front.Port.Sent.Take().Offload);
        Assert.Empty(_front.Port.Sent);
    }

    [Theory]
    [InlineData(MoreData)]
    [InlineData(Extra)]
    public void PacketThatBreaksOff_EndsTheTalk(ushort flags)
    {
        _front.Send(NetFrontEnd.Slot(8, 0, flags, 1, 60));
        _front.WaitUntilTaken(1);
        _front.Backend.Drain();
        _front.Send(NetFrontEnd.Slot(8, 0, 0, 2, 60));
        _front.SetState("6");
        _front.WaitForState("6"); // quiet

        Assert.Equal(0u, _front.Answered);
        Assert.Empty(_front.Port.Sent);
    }

    [Fact]
    public void WildSlots_AreAnsweredOrEndTheTalk_AndTheNextOneWorks()
    {
        Random random = new(11);
        for (int round = 0; round < 300; round++)
        {
            for (int i = 0; i < 40; i++)
            {
                byte[] slot = new byte[12];
                random.NextBytes(slot);
                if (random.Next(3) != 0)
                {
                    ushort flags = (ushort)(random.Next(3) == 0 ? random.Next(16) : 0);
                    slot = NetFrontEnd.Slot((uint)random.Next(7, 42), (ushort)random.Next(4200), flags, 1, (ushort)random.Next(70_000));
                }

                _front.Send(slot);
            }

            _front.Post((uint)random.Next(200), (uint)random.Next(), 8, 9);
            _front.Port.Arrive(Frames.Tcp(isIp4: true, random.Next(20_000)), Frames.Offload(isIp4: true, 1400));
            if (random.Next(4) == 0)
            {
                _front.ClaimSent((uint)random.Next());
            }

            _front.SetState("6");
            _front.WaitForState("6");
            _front.SetState("1");
            _front.WaitForState("2");
            while (_front.Port.Sent.TryTake(out _))
            {
            }

            _front.Connect();
            Assert.Equal("4", _front.BackState);
        }

        Frame_InTwoPages_GoesOutWhole();
    }

    [Fact]
    public void ClosedCard_GivesItsPagesBack_BeforeItSaysSo()
    {
        Assert.Equal(1u | 8 | 16, _front.Flags(2));
        Assert.Equal(1u | 8 | 16, _front.Flags(3));
        _front.Port.Arrive(Frames.Plain(60)); // waits for room, which never comes

        _front.SetState("5");
        Assert.Equal("5", _front.BackState);
        _front.SetState("6");
        _front.WaitForState("6");

        Assert.Equal(1u, _front.Flags(2));
        Assert.Equal(1u, _front.Flags(3));
        Assert.Equal(OffloadAbility.None, _front.Port.Receiver);
    }

    [Theory]
    [InlineData("tx-ring-ref", "9000")]
    [InlineData("rx-ring-ref", "-1")]
    [InlineData("event-channel-tx", "77777")]
    [InlineData("multi-queue-num-queues", "3")]
    [InlineData("multi-queue-num-queues", "4294967295")]
    [InlineData("request-rx-copy", "0")]
    public void WrongWords_AreRefused_AndNothingIsHeld(string key, string value)
    {
        using NetFrontEnd front = new("request-rx-copy") { After = (key, value) };
        front.Connect();
        front.WaitForState("6");
        Assert.Equal((1u, 1u), (front.Flags(2), front.Flags(3))); // who says "closed" holds nothing any more
    }

    [Fact]
    public void Card_ThatIsToLeave_GoesWhenItsDriverHasClosed_AndItsPlaceIsFree()
    {
        using ManualResetEventSlim gone = new();
        _front.Backend.Leave(gone.Set);
        Assert.Equal("5", _front.BackState);
        Assert.Equal("0", _front.Back("online"));
        Assert.False(gone.IsSet);

        _front.SetState("6");
        Assert.True(gone.Wait(TimeSpan.FromSeconds(60)));
        Assert.Null(_front.Back("state"));
        Assert.Null(_front.Domain.Domain.Store.Store.Tree.Find("/local/domain/1/device/vif/0"));
        _front.SetState("4"); // a driver that goes on all the same talks to nobody
        Assert.Null(_front.Back("state"));
    }

    [Fact]
    public void Card_ThatNobodyUses_GoesAtOnce()
    {
        using NetFrontEnd front = new(Linux);
        int calls = 0;
        front.Backend.Leave(() => calls++);
        front.Backend.Leave(() => calls++);
        Assert.Equal((1, null), (calls, front.BackState));
    }

    [Theory]
    [InlineData(0, "xvda", 51712)]
    [InlineData(15, "xvdp", 51952)]
    [InlineData(16, "xvdq", 268439552)]
    [InlineData(26, "xvdaa", 268442112)]
    public void Disk_HasTheNameAndNumberOfXensInterface(int index, string name, int number) =>
        Assert.Equal((name, number), (BlockBackend.NameOf(index), BlockBackend.NumberOf(index)));

    // The end of the talk is on a thread of its own, which looks into the guest's memory.
    [Fact]
    public void DriverThatClosesAsTheMachineEnds_IsNoTrouble()
    {
        for (int i = 0; i < 50; i++)
        {
            NetFrontEnd front = new(Linux);
            front.Connect();
            front.SetState("6");
            front.Dispose();
        }
    }

    [Fact]
    public void DriverWithoutLongFrames_GetsShortOnes()
    {
        using NetFrontEnd front = new("request-rx-copy");
        front.Connect();
        front.Post(8, 9, 10);
        front.Port.Arrive(Frames.Tcp(isIp4: true, 2800), Frames.Offload(isIp4: true, 1400));

        Assert.Equal(1400 + Frames.Tcp4Headers, front.Answer(0)[3]);
        Assert.Equal([1, 0, 1, 1400 + Frames.Tcp4Headers], front.Answer(1));
        Assert.Equal(2u, front.Received);
        Assert.True(Frames.HasGoodChecksum(front.ReadPage(0, 1400 + Frames.Tcp4Headers), isIp4: true));
    }

    [Theory]
    [InlineData("45000028000000004006", 14 + 20, 16)]
    [InlineData("46000028000000004011", 14 + 24, 6)]
    [InlineData("45000028000020004006", 0, 0)] // more fragments follow
    [InlineData("45000028000000014006", 0, 0)] // a fragment
    [InlineData("42000028000000004006", 0, 0)] // a header that is too short
    [InlineData("45000028000000004001", 0, 0)] // ICMP
    public void Checksum_IsFoundInItsHeader(string ip4, int start, int offset)
    {
        byte[] frame = Frames.Plain(90);
        frame[12] = 8;
        frame[13] = 0;
        Convert.FromHexString(ip4).CopyTo(frame, 14);

        Assert.Equal(start != 0, ChecksumPlace.TryFind(frame, out ushort foundStart, out ushort foundOffset));
        Assert.True(start == 0 || (foundStart, foundOffset) == (start, offset));
        for (int i = EthernetFrame.HeaderBytes; i < 60; i++)
        {
            ChecksumPlace.TryFind(frame.AsSpan(0, i), out _, out _); // a frame that ends anywhere
        }
    }

    [Fact]
    public void Checksum_IsFoundBehindIp6sExtensions()
    {
        byte[] frame = Frames.Tcp(isIp4: false, 40);
        byte[] extension = [6, 1, .. Enumerable.Repeat((byte)0, 14)];
        byte[] longer = [.. frame[..54], .. extension, .. frame[54..]];
        longer[20] = 60; // destination options

        Assert.True(ChecksumPlace.TryFind(longer, out ushort start, out ushort offset));
        Assert.Equal((54 + 16, 16), (start, offset));
    }

    private void Store(uint page, uint offset, ReadOnlySpan<byte> bytes) =>
        _front.Domain.Memory.TryWrite(new GuestPhysical(NetFrontEnd.Page(page) + offset), bytes);
}
