namespace Hull.Storage.Qcow2;

/// <summary>Numbers of the format. QEMU's docs/interop/qcow2.txt (2023), "Header" and "Cluster mapping".</summary>
internal static class Qcow2Format
{
    internal const uint Magic = 0x5146_49FB;
    internal const int ShortHeader = 72;
    internal const int LongHeader = 104;

    internal const ulong Dirty = 1 << 0;
    internal const ulong Corrupt = 1 << 1;
    internal const ulong DataFile = 1 << 2;
    internal const ulong CompressionType = 1 << 3;
    internal const ulong ExtendedL2 = 1 << 4;
    internal const ulong LazyRefcounts = 1 << 0;
    internal const ulong BitmapsValid = 1 << 0;

    internal const uint EndExtension = 0;
    internal const uint BackingFormatExtension = 0xE279_2ACA;
    internal const uint BitmapsExtension = 0x2385_2875;

    /// <summary>Bits 9 to 55 of an entry: where it points to.</summary>
    internal const ulong OffsetMask = 0x00FF_FFFF_FFFF_FE00;

    /// <summary>Exactly one reference: it may be written in place.</summary>
    internal const ulong Copied = 1UL << 63;
    internal const ulong Compressed = 1UL << 62;
    internal const ulong ReadsAsZeros = 1;

    // Bounds that QEMU keeps too; what is larger is no honest image.
    internal const int MostL1Entries = 4 << 20;
    internal const int MostRefcountTableBytes = 8 << 20;
    internal const int MostSnapshots = 65536;
    internal const int MostBitmaps = 65535;
    internal const ulong MostBytes = 1UL << 55;
}

/// <summary>How the guest's clusters are described.</summary>
/// <param name="ClusterBits">Log2 of a cluster's bytes, 9 to 21.</param>
/// <param name="IsExtended">Entries have a bitmap for 32 subclusters each.</param>
/// <param name="HasZeroFlag">Version 3: bit 0 of an entry says that the cluster reads as zeros.</param>
internal readonly record struct ClusterLayout(int ClusterBits, bool IsExtended, bool HasZeroFlag)
{
    /// <summary>Bytes of a cluster.</summary>
    internal int ClusterSize => 1 << ClusterBits;

    /// <summary>Log2 of the entries of an L2 table.</summary>
    internal int L2Bits => ClusterBits - (IsExtended ? 4 : 3);

    /// <summary>Log2 of the bytes of a unit: what can be there, be zeros or be missing by itself.</summary>
    internal int UnitBits => ClusterBits - (IsExtended ? 5 : 0);

    /// <summary>Units of a cluster: 1 or 32.</summary>
    internal int Units => IsExtended ? 32 : 1;

    /// <summary>A bit for each unit.</summary>
    internal uint AllUnits => IsExtended ? uint.MaxValue : 1;

    /// <summary>The guest's bytes that one L1 entry stands for.</summary>
    internal ulong L1Span => 1UL << (ClusterBits + L2Bits);

    /// <summary>The bits of units <paramref name="from"/> up to and without <paramref name="to"/>.</summary>
    internal static uint UnitMask(int from, int to) => (uint)(((1UL << to) - 1) & ~((1UL << from) - 1));
}

/// <summary>Where one cluster of the guest's is.</summary>
/// <param name="Host">Offset in the file, 0 for none; of a compressed cluster the whole descriptor.</param>
/// <param name="IsCopied">Nobody else refers to it: it may be written in place.</param>
/// <param name="IsCompressed">It is packed.</param>
/// <param name="Data">Units whose bytes are at <see cref="Host"/>.</param>
/// <param name="Zero">Units that read as zeros. What is in neither is the backing file's.</param>
internal readonly record struct ClusterEntry(ulong Host, bool IsCopied, bool IsCompressed, uint Data, uint Zero)
{
    /// <summary>A cluster of which nothing is here.</summary>
    internal static ClusterEntry Absent => default;
}
