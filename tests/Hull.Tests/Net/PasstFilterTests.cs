using System;
using System.Buffers.Binary;
using Hull.Net;
using Xunit;

namespace Hull.Tests.Net;

/// <summary>What passt must not get, and what it must.</summary>
public sealed class PasstFilterTests
{
    private const byte Fin = 0x11;
    private const byte Syn = 2;
    private const byte Rst = 4;
    private const byte Ack = 0x10;

    private readonly PasstFilter _filter = new();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AcknowledgementsThatAFinHasOvertaken_AreLeftOut(bool isIp4)
    {
        Assert.False(LeavesOut(Segment(isIp4, Ack, acknowledges: 900), 0));
        Assert.False(LeavesOut(Segment(isIp4, Ack, acknowledges: 950), 0));
        Assert.False(LeavesOut(Segment(isIp4, Fin, acknowledges: 1000), 1));
        Assert.True(LeavesOut(Segment(isIp4, Ack, acknowledges: 1000), 2));
        Assert.True(LeavesOut(Segment(isIp4, Ack, acknowledges: 900), 3));
        Assert.True(LeavesOut(Segment(isIp4, Fin, acknowledges: 1000), 400));
    }

    [Fact]
    public void FinThatComesAgainLater_GoesOut()
    {
        Assert.False(LeavesOut(Segment(true, Fin, 1000), 0));
        Assert.False(LeavesOut(Segment(true, Fin, 1000), PasstFilter.EndsMs));
        Assert.True(LeavesOut(Segment(true, Fin, 1000), PasstFilter.EndsMs + 1));
    }

    [Fact]
    public void AGuestThatOnlyReads_AcknowledgesAllThatItGets()
    {
        Assert.False(LeavesOut(Segment(true, Fin, 0xFFFF_FF00), 0));
        for (uint i = 1; i < 100; i++)
        {
            Assert.False(LeavesOut(Segment(true, Ack, unchecked(0xFFFF_FF00 + (i * 10))), i));
        }

        Assert.False(LeavesOut(Segment(true, Ack, 0x2DE, window: 0x3000), 100)); // room again
        Assert.True(LeavesOut(Segment(true, Ack, 0x2DE, window: 0x3000), 101));
        Assert.False(LeavesOut(Segment(true, Ack, 0x2DE, payload: 10), 102)); // sent again, since it was lost
    }

    [Fact]
    public void SynThatComesAgain_IsLeftOut_UntilItIsLate()
    {
        Assert.False(LeavesOut(Segment(true, Syn, 0), 0));
        Assert.True(LeavesOut(Segment(true, Syn, 0), 1000));
        Assert.False(LeavesOut(Segment(true, Syn, 0), 3000));
        Assert.False(LeavesOut(Segment(true, Syn, 0, sequence: 5), 3001)); // another connection on the same ports
        Assert.False(LeavesOut(Segment(true, Ack, 0xC000_0001, sequence: 6), 3002)); // far from the SYN's, which means nothing
        Assert.False(LeavesOut(Segment(true, Ack, 0xC000_0002, sequence: 6), 3002));
        Assert.True(LeavesOut(Segment(true, Ack, 0xC000_0002, sequence: 6), 3003));
    }

    [Fact]
    public void NewConnectionOnOldPorts_IsNotThePastOne()
    {
        Assert.False(LeavesOut(Segment(true, Fin, 1000), 0));
        Assert.False(LeavesOut(Segment(true, Syn, 0, sequence: 77), 1));
        Assert.False(LeavesOut(Segment(true, Ack, 500), 2));
        Assert.False(LeavesOut(Segment(true, Fin, 500), 4));
        Assert.False(LeavesOut(Segment(true, Rst, 500), 5));
        Assert.False(LeavesOut(Segment(true, Ack, 500), 6));
    }

    [Fact]
    public void OtherFrames_AreNotLookedAt()
    {
        byte[] segment = Segment(true, Fin, 1000);
        for (int length = EthernetFrame.HeaderBytes; length < Frames.Tcp4Headers; length++)
        {
            Assert.False(LeavesOut(segment.AsSpan(0, length).ToArray(), 0));
            Assert.False(LeavesOut(segment.AsSpan(0, length).ToArray(), 0));
        }

        byte[] fragment = Segment(true, Fin, 1000);
        fragment[20] |= 0x20;
        Assert.False(LeavesOut(fragment, 0));
        Assert.False(LeavesOut(fragment, 0));
        Assert.False(LeavesOut(Frames.Plain(60), 0));
        Assert.False(LeavesOut(Frames.Plain(60), 0));
    }

    [Fact]
    public void RepeatedAcknowledgement_GoesOutThreeTimes_WherePasstHasLeftOutSomething()
    {
        _filter.Watch(FromPasst(1000, 100));
        Assert.False(LeavesOut(Segment(true, Ack, 1100), 0));
        Assert.True(LeavesOut(Segment(true, Ack, 1100), 1)); // nothing is missing
        Assert.True(LeavesOut(Segment(true, Ack, 1000), 1)); // old

        _filter.Watch(FromPasst(1300, 100)); // without 1100 to 1299
        Asks(1100, 2);
        Assert.False(LeavesOut(Segment(true, Ack, 1100), 2 + PasstFilter.AcknowledgementsMs)); // it was lost, perhaps

        _filter.Watch(FromPasst(1200, 50)); // sent again, but not all
        Asks(1100, 300);

        _filter.Watch(FromPasst(1100, 300));
        Assert.True(LeavesOut(Segment(true, Ack, 1100), 302));
        Assert.False(LeavesOut(Segment(true, Ack, 1400), 303));
        Assert.True(LeavesOut(Segment(true, Ack, 1400), 304));
        Assert.False(LeavesOut(Segment(true, Ack, 1400, window: 0x1000), 305));
        Assert.False(LeavesOut(Segment(true, Ack, 1400, payload: 5), 306));
    }

    [Fact]
    public void ManyConnections_TakeNoMoreRoom()
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        byte[] segment = Segment(true, Syn, 0);
        for (int i = 0; i < 100_000; i++)
        {
            BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(34), (ushort)i);
            BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(26), (ushort)(i >> 8));
            Assert.False(LeavesOut(segment, i));
            Assert.True(LeavesOut(segment, i));
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 100_000);
    }

    private bool LeavesOut(byte[] frame, long nowMs) => !_filter.Passes(frame, nowMs);

    private static byte[] Segment(
        bool isIp4, byte flags, uint acknowledges, ushort window = 0x2000, int payload = 0, uint sequence = 1)
    {
        byte[] frame = Frames.Tcp(isIp4, payload, flags);
        int tcp = isIp4 ? 34 : 54;
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(tcp + 4), sequence);
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(tcp + 8), acknowledges);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(tcp + 14), window);
        return frame;
    }

    private void Asks(uint acknowledges, long nowMs)
    {
        for (int i = 0; i < PasstFilter.Asks; i++)
        {
            Assert.False(LeavesOut(Segment(true, Ack, acknowledges), nowMs));
        }

        Assert.True(LeavesOut(Segment(true, Ack, acknowledges), nowMs));
    }

    private static byte[] FromPasst(uint sequence, int payload)
    {
        byte[] frame = Segment(true, Ack, 1, payload: payload, sequence: sequence);
        (byte[] from, byte[] to) = (frame[26..30], frame[30..34]);
        to.CopyTo(frame, 26);
        from.CopyTo(frame, 30);
        (frame[34], frame[35], frame[36], frame[37]) = (frame[36], frame[37], frame[34], frame[35]);
        return frame;
    }
}
