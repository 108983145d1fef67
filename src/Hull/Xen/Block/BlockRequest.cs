using Hull.Memory;

namespace Hull.Xen.Block;

/// <summary>A request's operations. Xen, public/io/blkif.h, "BLKIF_OP_*".</summary>
internal enum BlockOperation : byte
{
    Read = 0,
    Write = 1,
    FlushDiskCache = 3,
    Discard = 5,
    Indirect = 6,
}

/// <summary>A piece of a page: where it is, and its bytes.</summary>
internal readonly record struct BlockSegment(uint Reference, GuestPhysical At, int Length);

/// <summary>A request, copied out of its ring and checked for what it says of itself.</summary>
internal sealed class BlockRequest
{
    /// <summary>The most segments of one request, direct or indirect.</summary>
    internal const int MostSegments = 256;

    internal BlockOperation Operation { get; set; }

    internal ulong Id { get; set; }

    internal ulong Sector { get; set; }

    /// <summary>Of a discard: sectors.</summary>
    internal ulong SectorCount { get; set; }

    /// <summary>Pages of the data in order.</summary>
    internal BlockSegment[] Segments { get; } = new BlockSegment[MostSegments];

    internal int SegmentCount { get; set; }
}
