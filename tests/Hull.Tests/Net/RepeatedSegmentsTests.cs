using System;
using System.Buffers.Binary;
using Hull.Net;
using Xunit;

namespace Hull.Tests.Net;

/// <summary>What must not follow a connection's end or start at once.</summary>
public sealed class RepeatedSegmentsTests
{
    private const byte Fin = 0x11;
    private const byte Syn = 2;
    private const byte Rst = 4;
    private const byte Ack = 0x10;

    private readonly RepeatedSegments _repeated = new();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AcknowledgementsThatAFinHasOvertaken_AreLeftOut(bool isIp4)
    {
        Assert.False(Contains(Segment(isIp4, Ack, acknowledges: 900), 0));
        Assert.False(Contains(Segment(isIp4, Fin, acknowledges: 1000), 1));
        Assert.True(Contains(Segment(isIp4, Ack, acknowledges: 1000), 2));
        Assert.True(Contains(Segment(isIp4, Ack, acknowledges: 900), 3));
        Assert.True(Contains(Segment(isIp4, Fin, acknowledges: 1000), 400));
    }

    [Fact]
    public void FinThatComesAgainLater_GoesOut()
    {
        Assert.False(Contains(Segment(true, Fin, 1000), 0));
        Assert.False(Contains(Segment(true, Fin, 1000), RepeatedSegments.WindowMs));
        Assert.True(Contains(Segment(true, Fin, 1000), RepeatedSegments.WindowMs + 1));
    }

    [Fact]
    public void AGuestThatOnlyReads_AcknowledgesAllThatItGets()
    {
        Assert.False(Contains(Segment(true, Fin, 0xFFFF_FF00), 0));
        for (uint i = 1; i < 100; i++)
        {
            Assert.False(Contains(Segment(true, Ack, unchecked(0xFFFF_FF00 + (i * 10))), i));
        }

        Assert.False(Contains(Segment(true, Ack, 0x2DE, window: 0x3000), 100)); // room again
        Assert.True(Contains(Segment(true, Ack, 0x2DE, window: 0x3000), 101));
        Assert.False(Contains(Segment(true, Ack, 0x2DE, payload: 10), 102)); // sent again, since it was lost
    }

    [Fact]
    public void SynThatComesAgain_IsLeftOut_UntilItIsLate()
    {
        Assert.False(Contains(Segment(true, Syn, 0), 0));
        Assert.True(Contains(Segment(true, Syn, 0), 1000));
        Assert.False(Contains(Segment(true, Syn, 0), 3000));
        Assert.False(Contains(Segment(true, Syn, 0, sequence: 5), 3001)); // another connection on the same ports
        Assert.False(Contains(Segment(true, Ack, 1, sequence: 6), 3002));
        Assert.False(Contains(Segment(true, Ack, 1, sequence: 6), 3003)); // an open connection repeats what it likes
    }

    [Fact]
    public void NewConnectionOnOldPorts_IsNotThePastOne()
    {
        Assert.False(Contains(Segment(true, Fin, 1000), 0));
        Assert.False(Contains(Segment(true, Syn, 0, sequence: 77), 1));
        Assert.False(Contains(Segment(true, Ack, 500), 2));
        Assert.False(Contains(Segment(true, Ack, 500), 3));
        Assert.False(Contains(Segment(true, Fin, 500), 4));
        Assert.False(Contains(Segment(true, Rst, 500), 5));
        Assert.False(Contains(Segment(true, Ack, 500), 6));
    }

    [Fact]
    public void OtherFrames_AreNotLookedAt()
    {
        byte[] segment = Segment(true, Fin, 1000);
        for (int length = EthernetFrame.HeaderBytes; length < Frames.Tcp4Headers; length++)
        {
            Assert.False(Contains(segment.AsSpan(0, length).ToArray(), 0));
            Assert.False(Contains(segment.AsSpan(0, length).ToArray(), 0));
        }

        byte[] fragment = Segment(true, Fin, 1000);
        fragment[20] |= 0x20;
        Assert.False(Contains(fragment, 0));
        Assert.False(Contains(fragment, 0));
        Assert.False(Contains(Frames.Plain(60), 0));
        Assert.False(Contains(Frames.Plain(60), 0));
    }

    [Fact]
    public void MoreConnectionsThanAreRemembered_ForgetTheOldest()
    {
        for (int i = 0; i < 3 * RepeatedSegments.Most; i++)
        {
            byte[] segment = Segment(true, Syn, 0);
            BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(34), (ushort)i);
            Assert.False(Contains(segment, i));
            Assert.True(Contains(segment, i));
        }
    }

    private bool Contains(byte[] frame, long nowMs) => _repeated.Contains(frame, nowMs);

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
}
