using System;
using System.Buffers.Binary;

namespace Hull.Net;

/// <summary>What a receiver of frames can do itself.</summary>
[Flags]
internal enum OffloadAbility
{
    /// <summary>Only finished frames.</summary>
    None = 0,

    /// <summary>A checksum may be missing.</summary>
    Checksum = 1,

    /// <summary>TCP over IPv4 may be longer than a packet of the network.</summary>
    Tcp4 = 2,

    /// <summary>The same over IPv6.</summary>
    Tcp6 = 4,

    /// <summary>Such TCP may carry congestion marks.</summary>
    Ecn = 8,

    /// <summary>All of that.</summary>
    All = Checksum | Tcp4 | Tcp6 | Ecn,
}

/// <summary>How a frame is to be cut into packets.</summary>
internal enum Segmentation : byte
{
    /// <summary>Not at all.</summary>
    None = 0,

    /// <summary>TCP over IPv4.</summary>
    Tcp4 = 1,

    /// <summary>TCP over IPv6.</summary>
    Tcp6 = 4,
}

/// <summary>
/// What a frame's sender has left to do: a checksum, and cutting into packets. Virtio 1.2 section 5.1.6, "Device Operation":
/// struct virtio_net_hdr, which Linux's tap devices use too.
/// </summary>
internal readonly record struct FrameOffload
{
    /// <summary>Bytes of the structure with its count of buffers.</summary>
    internal const int HeaderBytes = 12;

    private const byte FlagNeedsChecksum = 1;
    private const byte FlagChecksumIsGood = 2;
    private const byte FlagEcn = 0x80;

    /// <summary>The checksum from <see cref="ChecksumStart"/> to the end is missing; in its place is the pseudo-header's.</summary>
    internal bool NeedsChecksum { get; init; }

    /// <summary>The checksums are known to be right.</summary>
    internal bool ChecksumIsGood { get; init; }

    /// <summary>Where the summed bytes begin in the frame: the transport header.</summary>
    internal ushort ChecksumStart { get; init; }

    /// <summary>Where the checksum is, from there.</summary>
    internal ushort ChecksumOffset { get; init; }

    /// <summary>How to cut.</summary>
    internal Segmentation Kind { get; init; }

    /// <summary>The first packet alone carries the mark "congestion window reduced".</summary>
    internal bool HasEcn { get; init; }

    /// <summary>Payload bytes in a packet.</summary>
    internal ushort SegmentBytes { get; init; }

    /// <summary>Reads the structure.</summary>
    /// <returns>False when it makes no sense, or not with a frame of that many bytes.</returns>
    internal static bool TryRead(ReadOnlySpan<byte> header, int frameBytes, out FrameOffload offload)
    {
        byte kind = header[1];
        offload = new FrameOffload
        {
            NeedsChecksum = (header[0] & FlagNeedsChecksum) != 0,
            ChecksumIsGood = (header[0] & FlagChecksumIsGood) != 0,
            Kind = (Segmentation)(kind & ~FlagEcn),
            HasEcn = (kind & FlagEcn) != 0,
            SegmentBytes = BinaryPrimitives.ReadUInt16LittleEndian(header[4..]),
            ChecksumStart = BinaryPrimitives.ReadUInt16LittleEndian(header[6..]),
            ChecksumOffset = BinaryPrimitives.ReadUInt16LittleEndian(header[8..]),
        };
        return offload.IsSound(frameBytes);
    }

    /// <summary>Writes the structure, with one buffer counted.</summary>
    internal void Write(Span<byte> header)
    {
        header[..HeaderBytes].Clear();
        header[0] = (byte)((NeedsChecksum ? FlagNeedsChecksum : 0) | (ChecksumIsGood ? FlagChecksumIsGood : 0));
        header[1] = (byte)((byte)Kind | (HasEcn ? FlagEcn : 0));
        BinaryPrimitives.WriteUInt16LittleEndian(header[2..], (ushort)(Kind == Segmentation.None ? 0 : ChecksumStart + 20));
        BinaryPrimitives.WriteUInt16LittleEndian(header[4..], SegmentBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(header[6..], ChecksumStart);
        BinaryPrimitives.WriteUInt16LittleEndian(header[8..], ChecksumOffset);
        BinaryPrimitives.WriteUInt16LittleEndian(header[10..], 1);
    }

    /// <summary>What a receiver must be able to do to take the frame as it is.</summary>
    internal OffloadAbility Needs => (NeedsChecksum ? OffloadAbility.Checksum : 0)
        | (HasEcn ? OffloadAbility.Ecn : 0)
        | Kind switch
        {
            Segmentation.Tcp4 => OffloadAbility.Tcp4,
            Segmentation.Tcp6 => OffloadAbility.Tcp6,
            _ => OffloadAbility.None,
        };

    // Cutting without a checksum to fill in is nothing that a driver may ask for. Section 5.1.6.2.1.
    private bool IsSound(int frameBytes)
    {
        bool checksum = !NeedsChecksum
            || (ChecksumStart >= EthernetFrame.HeaderBytes && ChecksumStart + ChecksumOffset + 2 <= frameBytes);
        return checksum && Kind switch
        {
            Segmentation.None => !HasEcn,
            Segmentation.Tcp4 or Segmentation.Tcp6 => NeedsChecksum && SegmentBytes != 0,
            _ => false,
        };
    }
}
