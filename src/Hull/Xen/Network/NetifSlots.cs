using System;
using System.Buffers.Binary;

namespace Hull.Xen.Network;

/// <summary>Flags of a slot with data. Xen, public/io/netif.h, "NETTXF_*" and "NETRXF_*", which number them differently.</summary>
[Flags]
internal enum TransmitFlags : ushort
{
    None = 0,
    ChecksumBlank = 1,
    DataValidated = 2,
    MoreData = 4,
    ExtraInfo = 8,
}

/// <summary>The same of what the guest receives.</summary>
[Flags]
internal enum ReceiveFlags : ushort
{
    None = 0,
    DataValidated = 1,
    ChecksumBlank = 2,
    MoreData = 4,
    ExtraInfo = 8,
}

/// <summary>A slot of the ring of frames that the guest sends. "netif_tx_request_t".</summary>
internal readonly record struct TransmitRequest(uint Reference, ushort Offset, TransmitFlags Flags, ushort Id, ushort Size)
{
    /// <summary>Bytes of it, and of a slot: its response is smaller.</summary>
    internal const int Bytes = 12;

    internal static TransmitRequest Read(ReadOnlySpan<byte> slot) => new(
        BinaryPrimitives.ReadUInt32LittleEndian(slot),
        BinaryPrimitives.ReadUInt16LittleEndian(slot[4..]),
        (TransmitFlags)BinaryPrimitives.ReadUInt16LittleEndian(slot[6..]),
        BinaryPrimitives.ReadUInt16LittleEndian(slot[8..]),
        BinaryPrimitives.ReadUInt16LittleEndian(slot[10..]));
}

/// <summary>What a slot without data says of the frame. "netif_extra_info_t".</summary>
internal readonly record struct ExtraInfo(byte Type, bool HasMore, ushort SegmentBytes, byte SegmentationType)
{
    /// <summary>XEN_NETIF_EXTRA_TYPE_GSO: how to cut the frame.</summary>
    internal const byte TypeGso = 1;

    /// <summary>XEN_NETIF_GSO_TYPE_TCPV4.</summary>
    internal const byte Tcp4 = 1;

    /// <summary>XEN_NETIF_GSO_TYPE_TCPV6.</summary>
    internal const byte Tcp6 = 2;

    /// <summary>Bytes of it.</summary>
    internal const int Bytes = 8;

    internal static ExtraInfo Read(ReadOnlySpan<byte> slot) =>
        new(slot[0], (slot[1] & 1) != 0, BinaryPrimitives.ReadUInt16LittleEndian(slot[2..]), slot[4]);

    internal void Write(Span<byte> slot)
    {
        slot[..Bytes].Clear();
        slot[0] = Type;
        slot[1] = (byte)(HasMore ? 1 : 0);
        BinaryPrimitives.WriteUInt16LittleEndian(slot[2..], SegmentBytes);
        slot[4] = SegmentationType;
    }
}

/// <summary>How a slot was done. "NETIF_RSP_*".</summary>
internal static class NetifStatus
{
    internal const short Dropped = -2;
    internal const short Error = -1;
    internal const short Okay = 0;

    /// <summary>The answer to a slot without data.</summary>
    internal const short Null = 1;
}
