using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Linq;
using Hull.Net;

namespace Hull.Tests.Net;

/// <summary>Frames as a guest's driver makes them.</summary>
internal static class Frames
{
    internal const int Tcp4Headers = 14 + 20 + 20;
    internal const int Tcp6Headers = 14 + 40 + 20;

    internal static byte[] Plain(int length, byte fill = 0x5A, string from = "020000000001", string to = "020000000002")
    {
        byte[] frame = new byte[length];
        frame.AsSpan().Fill(fill);
        Convert.FromHexString(to + from + "88B5").CopyTo(frame, 0);
        return frame;
    }

    /// <summary>TCP as Linux gives it to a card that fills in checksums: with the pseudo-header's sum in place.</summary>
    internal static byte[] Tcp(bool isIp4, int payload, byte flags = 0x18)
    {
        int ip = isIp4 ? 20 : 40;
        byte[] frame = Plain(14 + ip + 20 + payload);
        for (int i = 0; i < payload; i++)
        {
            frame[14 + ip + 20 + i] = (byte)(i * 7);
        }

        Span<byte> at = frame.AsSpan(14);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), isIp4 ? EthernetFrame.TypeIp4 : EthernetFrame.TypeIp6);
        if (isIp4)
        {
            Convert.FromHexString("45000000123440004006" + "0000" + "0A00020F" + "0A000202").CopyTo(at);
            BinaryPrimitives.WriteUInt16BigEndian(at[2..], (ushort)(frame.Length - 14));
        }
        else
        {
            Convert.FromHexString("600000000000" + "0640" + "FD000000000000000000000000000001" + "FD000000000000000000000000000002").CopyTo(at);
            BinaryPrimitives.WriteUInt16BigEndian(at[4..], (ushort)(frame.Length - 54));
        }

        Span<byte> tcp = at[ip..];
        Convert.FromHexString("C0DE0050" + "FFFFFF00" + "00000001" + "50").CopyTo(tcp);
        tcp[13] = flags;
        BinaryPrimitives.WriteUInt16BigEndian(tcp[14..], 0x2000);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[16..], (ushort)~EthernetFrame.Fold(PseudoHeader(frame, isIp4)));
        return frame;
    }

    internal static FrameOffload Offload(bool isIp4, int segment) => new()
    {
        NeedsChecksum = true,
        ChecksumStart = (ushort)(14 + (isIp4 ? 20 : 40)),
        ChecksumOffset = 16,
        Kind = segment == 0 ? Segmentation.None : isIp4 ? Segmentation.Tcp4 : Segmentation.Tcp6,
        SegmentBytes = (ushort)segment,
    };

    /// <summary>A sum over all of TCP and its pseudo-header is 0 when the checksum is right: bytes one by one, as in RFC 1071.</summary>
    internal static bool HasGoodChecksum(ReadOnlySpan<byte> frame, bool isIp4)
    {
        ulong sum = PseudoHeader(frame, isIp4);
        ReadOnlySpan<byte> tcp = frame[(14 + (isIp4 ? 20 : 40))..];
        for (int i = 0; i < tcp.Length; i++)
        {
            sum += (uint)tcp[i] << ((i & 1) == 0 ? 8 : 0);
        }

        return EthernetFrame.Fold(sum) == 0;
    }

    private static ulong PseudoHeader(ReadOnlySpan<byte> frame, bool isIp4)
    {
        ulong sum = 6 + (uint)(frame.Length - (isIp4 ? 34 : 54));
        ReadOnlySpan<byte> addresses = isIp4 ? frame.Slice(26, 8) : frame.Slice(22, 32);
        for (int i = 0; i < addresses.Length; i += 2)
        {
            sum += BinaryPrimitives.ReadUInt16BigEndian(addresses[i..]);
        }

        return sum;
    }
}

/// <summary>Keeps what it is given.</summary>
internal sealed class KeepingSink : IFrameSink
{
    internal List<(byte[] Frame, FrameOffload Offload)> Kept { get; } = [];

    internal byte[][] Bytes => Kept.Select(static one => one.Frame).ToArray();

    public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload) => Kept.Add((frame.ToArray(), offload));
}
