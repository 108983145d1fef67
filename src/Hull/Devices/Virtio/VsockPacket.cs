using System;
using System.Buffers.Binary;

namespace Hull.Devices.Virtio;

/// <summary>What a packet is for.</summary>
internal enum VsockOperation : ushort
{
    Request = 1,
    Response = 2,
    Reset = 3,
    Shutdown = 4,
    Data = 5,
    CreditUpdate = 6,
    CreditRequest = 7,
}

/// <summary>The head of a packet of the socket device. Virtio 1.2 section 5.10.6, "Device Operation".</summary>
internal readonly record struct VsockPacket
{
    /// <summary>Bytes of a head.</summary>
    internal const int HeaderBytes = 44;

    /// <summary>The context identifier of the host.</summary>
    internal const ulong HostCid = 2;

    /// <summary>The one type of socket there is.</summary>
    internal const ushort Stream = 1;

    /// <summary>Shutdown: the sender will not receive.</summary>
    internal const uint NoReceive = 1;

    /// <summary>Shutdown: the sender will not send.</summary>
    internal const uint NoSend = 2;

    internal ulong SourceCid { get; init; }

    internal ulong DestinationCid { get; init; }

    internal uint SourcePort { get; init; }

    internal uint DestinationPort { get; init; }

    internal uint Length { get; init; }

    internal ushort Type { get; init; }

    internal VsockOperation Operation { get; init; }

    internal uint Flags { get; init; }

    /// <summary>Bytes that the sender keeps for what it receives on this connection.</summary>
    internal uint BufferBytes { get; init; }

    /// <summary>Bytes that the sender has passed on of what it received, in all; wraps.</summary>
    internal uint ForwardedBytes { get; init; }

    internal static VsockPacket Read(ReadOnlySpan<byte> bytes) => new()
    {
        SourceCid = BinaryPrimitives.ReadUInt64LittleEndian(bytes),
        DestinationCid = BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]),
        SourcePort = BinaryPrimitives.ReadUInt32LittleEndian(bytes[16..]),
        DestinationPort = BinaryPrimitives.ReadUInt32LittleEndian(bytes[20..]),
        Length = BinaryPrimitives.ReadUInt32LittleEndian(bytes[24..]),
        Type = BinaryPrimitives.ReadUInt16LittleEndian(bytes[28..]),
        Operation = (VsockOperation)BinaryPrimitives.ReadUInt16LittleEndian(bytes[30..]),
        Flags = BinaryPrimitives.ReadUInt32LittleEndian(bytes[32..]),
        BufferBytes = BinaryPrimitives.ReadUInt32LittleEndian(bytes[36..]),
        ForwardedBytes = BinaryPrimitives.ReadUInt32LittleEndian(bytes[40..]),
    };

    internal void Write(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, SourceCid);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], DestinationCid);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[16..], SourcePort);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[20..], DestinationPort);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[24..], Length);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[28..], Type);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[30..], (ushort)Operation);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[32..], Flags);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[36..], BufferBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[40..], ForwardedBytes);
    }
}
