using System;
using System.Buffers.Binary;

namespace Hull.Xen.Store;

/// <summary>Kinds of message. Xen, public/io/xs_wire.h, "enum xsd_sockmsg_type".</summary>
internal enum StoreMessageType : uint
{
    Control = 0,
    Directory = 1,
    Read = 2,
    GetPermissions = 3,
    Watch = 4,
    Unwatch = 5,
    TransactionStart = 6,
    TransactionEnd = 7,
    GetDomainPath = 10,
    Write = 11,
    MakeDirectory = 12,
    Remove = 13,
    SetPermissions = 14,
    WatchEvent = 15,
    Error = 16,
    IsDomainIntroduced = 17,
    ResetWatches = 21,
    DirectoryPart = 22,
}

/// <summary>A message's head, "struct xsd_sockmsg": its kind, the sender's number for it, the transaction, bytes that follow.</summary>
internal readonly record struct StoreHeader(StoreMessageType Type, uint Request, uint Transaction, uint Length)
{
    /// <summary>Bytes of the head.</summary>
    internal const int Size = 16;

    /// <summary>The most bytes behind it.</summary>
    internal const int MostPayload = 4096;

    /// <summary>Reads one.</summary>
    internal static StoreHeader Read(ReadOnlySpan<byte> bytes) => new(
        (StoreMessageType)BinaryPrimitives.ReadUInt32LittleEndian(bytes),
        BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]),
        BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]),
        BinaryPrimitives.ReadUInt32LittleEndian(bytes[12..]));

    /// <summary>Writes it.</summary>
    internal void Write(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, (uint)Type);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], Request);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[8..], Transaction);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[12..], Length);
    }
}
