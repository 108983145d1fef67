using System;
using System.Buffers.Binary;
using System.Linq;
using Hull.Net;
using Xunit;

namespace Hull.Tests.Net;

public sealed class FrameFinisherTests
{
    private readonly KeepingSink _sink = new();
    private readonly FrameFinisher _finisher = new();

    [Theory]
    [InlineData(true, 1)]
    [InlineData(true, 1460)]
    [InlineData(false, 64001)]
    public void MissingChecksum_IsFilledIn(bool isIp4, int payload)
    {
        Finish(Frames.Tcp(isIp4, payload), Frames.Offload(isIp4, 0), OffloadAbility.None);
        (byte[] frame, FrameOffload offload) = Assert.Single(_sink.Kept);
        Assert.True(Frames.HasGoodChecksum(frame, isIp4));
        Assert.Equal(OffloadAbility.None, offload.Needs);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WhatTheReceiverCanDo_IsLeftToIt(bool isIp4)
    {
        byte[] frame = Frames.Tcp(isIp4, 30000);
        Finish([.. frame], Frames.Offload(isIp4, 1400), OffloadAbility.All);
        Assert.Equal(frame, Assert.Single(_sink.Bytes));
        Assert.Equal(Frames.Offload(isIp4, 1400), _sink.Kept[0].Offload);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ReceiverOfLongSegmentsWithoutChecksums_GetsOne(bool isIp4)
    {
        Finish(Frames.Tcp(isIp4, 30000), Frames.Offload(isIp4, 1400), OffloadAbility.Tcp4 | OffloadAbility.Tcp6);
        Assert.True(Frames.HasGoodChecksum(Assert.Single(_sink.Bytes), isIp4));
    }

    [Theory]
    [InlineData(true, 10000, 1448)]
    [InlineData(true, 1448, 1448)]
    [InlineData(false, 64000, 536)]
    [InlineData(false, 2897, 1448)]
    public void LongSegment_IsCutIntoPackets(bool isIp4, int payload, int size)
    {
        byte[] whole = Frames.Tcp(isIp4, payload, flags: 0x99);              // CWR, ACK, PSH, FIN
        int headers = isIp4 ? Frames.Tcp4Headers : Frames.Tcp6Headers;
        Finish([.. whole], Frames.Offload(isIp4, size), OffloadAbility.None);

        Assert.Equal((payload + size - 1) / size, _sink.Kept.Count);
        Assert.Equal(whole[headers..], _sink.Bytes.SelectMany(one => one[headers..]).ToArray());
        uint sequence = 0xFFFF_FF00;
        for (int i = 0; i < _sink.Kept.Count; i++)
        {
            byte[] frame = _sink.Bytes[i];
            bool isLast = i == _sink.Kept.Count - 1;
            Assert.True(Frames.HasGoodChecksum(frame, isIp4));
            Assert.Equal(sequence, BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(headers - 16)));
            Assert.Equal(0x10 | (i == 0 ? 0x80 : 0) | (isLast ? 9 : 0), frame[headers - 7]);
            Assert.Equal(frame.Length - (isIp4 ? 14 : 54), BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(isIp4 ? 16 : 18)));
            sequence += (uint)(frame.Length - headers);
            if (isIp4)
            {
                Assert.Equal(0, EthernetFrame.Fold(EthernetFrame.Sum(frame.AsSpan(14, 20))));
                Assert.Equal(0x1234 + i, BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(18)));
            }
        }
    }

    [Fact]
    public void OneByteAPacket_IsDropped()
    {
        Finish(Frames.Tcp(true, 60000), Frames.Offload(true, 1), OffloadAbility.None);
        Assert.Empty(_sink.Kept);
    }

    [Theory]
    [InlineData(0, 16, 0, 0)]                                               // inside the Ethernet header
    [InlineData(100, 0xFFFF, 0, 0)]
    [InlineData(200, 16, 0, 0)]                                             // behind the frame
    [InlineData(34, 16, 1, 0)]                                              // cut into nothing
    [InlineData(34, 16, 3, 100)]                                            // UDP fragments, long gone
    [InlineData(34, 16, 0x80, 0)]                                           // a congestion mark on nothing
    [InlineData(34, 16, 7, 100)]
    public void HeaderThatMakesNoSense_IsRefused(ushort start, ushort offset, byte kind, ushort segment)
    {
        byte[] header = new byte[12];
        header[0] = 1;
        header[1] = kind;
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(4), segment);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(6), start);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(8), offset);
        Assert.False(FrameOffload.TryRead(header, 100, out _));
    }

    [Fact]
    public void Header_ReadsAsWritten()
    {
        byte[] header = new byte[12];
        FrameOffload offload = Frames.Offload(false, 1400) with { HasEcn = true };
        offload.Write(header);
        Assert.True(FrameOffload.TryRead(header, 5000, out FrameOffload read));
        Assert.Equal(offload, read);
    }

    [Fact]
    public void AMillionRandomHeaders_DoNoHarm()
    {
        Random random = new(20);
        byte[][] frames = [Frames.Tcp(true, 300), Frames.Tcp(false, 300), Frames.Plain(14), Frames.Plain(90)];
        byte[] frame = new byte[512];
        byte[] header = new byte[12];
        for (int i = 0; i < 1_000_000; i++)
        {
            byte[] from = frames[random.Next(frames.Length)];
            from.CopyTo(frame, 0);
            random.NextBytes(header);
            header[1] = (byte)(random.Next(4) == 0 ? header[1] : random.Next(6));
            header[7] &= (byte)(random.Next(8) == 0 ? 0xFF : 0);
            header[9] &= (byte)(random.Next(8) == 0 ? 0xFF : 0);
            header[5] &= (byte)(random.Next(8) == 0 ? 0xFF : 0);
            frame[random.Next(from.Length)] = (byte)random.Next(256);
            if (FrameOffload.TryRead(header, from.Length, out FrameOffload offload))
            {
                _finisher.Finish(frame.AsSpan(0, from.Length), offload, (OffloadAbility)random.Next(16), 65535, new NoSink());
            }
        }
    }

    private void Finish(byte[] frame, FrameOffload offload, OffloadAbility able) =>
        _finisher.Finish(frame, offload, able, EthernetFrame.LargestUnsegmented, _sink);

    private readonly struct NoSink : IFrameSink
    {
        public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
        {
        }
    }
}
