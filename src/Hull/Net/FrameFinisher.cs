using System;
using System.Buffers.Binary;

namespace Hull.Net;

/// <summary>
/// Does in software what a frame's sender has left to do and its receiver cannot: fills in the checksum, cuts TCP into
/// packets. For one thread.
/// </summary>
internal sealed class FrameFinisher
{
    // Linux sends no less than 48 bytes in a packet; a guest that asks for one byte each only wants to see Hull busy.
    private const int MostSegments = 2048;
    private const int TcpHeaderBytes = 20;
    private const int TcpChecksumAt = 16;
    private const int Protocol = 6;
    private const byte Fin = 1;
    private const byte Psh = 8;
    private const byte Cwr = 0x80;

    private readonly byte[] _segment = new byte[EthernetFrame.LargestUnsegmented];

    /// <summary>Gives a frame to a sink, in a form that the sink can take; drops what cannot be done.</summary>
    /// <param name="frame">The frame; changed.</param>
    /// <param name="offload">What is left to do; checked by <see cref="FrameOffload.TryRead"/>.</param>
    /// <param name="able">What the sink can do.</param>
    /// <param name="largest">Bytes of the largest frame that the sink takes.</param>
    /// <param name="sink">Gets the frame, or several.</param>
    internal void Finish(Span<byte> frame, in FrameOffload offload, OffloadAbility able, int largest, IFrameSink sink)
    {
        bool whole = frame.Length <= largest && (offload.Needs & ~able & ~OffloadAbility.Checksum) == 0;
        if (!whole && offload.Kind != Segmentation.None)
        {
            Cut(frame, offload, largest, sink);
        }
        else if (whole && offload.NeedsChecksum && (able & OffloadAbility.Checksum) == 0)
        {
            FillIn(frame, offload);
            sink.Put(frame, default(FrameOffload) with { ChecksumIsGood = true });
        }
        else if (whole)
        {
            sink.Put(frame, offload);
        }
    }

    private static void FillIn(Span<byte> frame, in FrameOffload offload)
    {
        ushort sum = EthernetFrame.Fold(EthernetFrame.Sum(frame[offload.ChecksumStart..]));

        // UDP says "no checksum" with 0; the other zero means the same sum. RFC 768.
        BinaryPrimitives.WriteUInt16BigEndian(
            frame[(offload.ChecksumStart + offload.ChecksumOffset)..], sum == 0 ? ushort.MaxValue : sum);
    }

    private void Cut(ReadOnlySpan<byte> frame, in FrameOffload offload, int largest, IFrameSink sink)
    {
        int tcp = offload.ChecksumStart;
        ushort type = EthernetFrame.GetPayload(frame, out int ip);
        bool isIp4 = type == EthernetFrame.TypeIp4;
        if (type != (offload.Kind == Segmentation.Tcp4 ? EthernetFrame.TypeIp4 : EthernetFrame.TypeIp6)
            || tcp < ip + (isIp4 ? 20 : 40) || tcp + TcpHeaderBytes > frame.Length)
        {
            return;
        }

        int headers = tcp + (frame[tcp + 12] >> 4 << 2);
        int payload = frame.Length - headers;
        int size = offload.SegmentBytes;
        if (headers < tcp + TcpHeaderBytes || payload <= 0 || headers + size > largest || payload / size > MostSegments
            || (isIp4 && ip + ((frame[ip] & 15) * 4) != tcp))
        {
            return;
        }

        frame[..headers].CopyTo(_segment);
        ushort identification = BinaryPrimitives.ReadUInt16BigEndian(frame[(ip + 4)..]);
        uint sequence = BinaryPrimitives.ReadUInt32BigEndian(frame[(tcp + 4)..]);
        for (int at = 0, index = 0; at < payload; at += size, index++)
        {
            int length = Math.Min(size, payload - at);
            Span<byte> segment = _segment.AsSpan(0, headers + length);
            frame.Slice(headers + at, length).CopyTo(segment[headers..]);
            BinaryPrimitives.WriteUInt32BigEndian(segment[(tcp + 4)..], sequence + (uint)at);
            segment[tcp + 13] = (byte)(frame[tcp + 13]
                & ~(at + length < payload ? Fin | Psh : 0) & ~(index > 0 ? Cwr : 0));
            if (isIp4)
            {
                WriteIp4(segment[ip..tcp], segment.Length - ip, (ushort)(identification + index));
            }
            else
            {
                BinaryPrimitives.WriteUInt16BigEndian(segment[(ip + 4)..], (ushort)(segment.Length - ip - 40));
            }

            WriteTcpChecksum(segment[tcp..], isIp4 ? segment.Slice(ip + 12, 8) : segment.Slice(ip + 8, 32));
            sink.Put(segment, default(FrameOffload) with { ChecksumIsGood = true });
        }
    }

    private static void WriteIp4(Span<byte> header, int length, ushort identification)
    {
        BinaryPrimitives.WriteUInt16BigEndian(header[2..], (ushort)length);
        BinaryPrimitives.WriteUInt16BigEndian(header[4..], identification);
        BinaryPrimitives.WriteUInt16BigEndian(header[10..], 0);
        BinaryPrimitives.WriteUInt16BigEndian(header[10..], EthernetFrame.Fold(EthernetFrame.Sum(header)));
    }

    // RFC 9293 section 3.1: over a pseudo-header of addresses, protocol and length too.
    private static void WriteTcpChecksum(Span<byte> tcp, ReadOnlySpan<byte> addresses)
    {
        BinaryPrimitives.WriteUInt16BigEndian(tcp[TcpChecksumAt..], 0);
        ulong sum = EthernetFrame.Sum(tcp) + EthernetFrame.Sum(addresses) + Protocol + (uint)tcp.Length;
        BinaryPrimitives.WriteUInt16BigEndian(tcp[TcpChecksumAt..], EthernetFrame.Fold(sum));
    }
}
