using System;
using System.Buffers.Binary;
using System.IO;
using System.Text;
using Hull.Host;

namespace Hull.Storage.Qcow2;

/// <summary>What the first cluster of an image says, read once and checked. QEMU's docs/interop/qcow2.txt, "Header".</summary>
internal sealed class Qcow2Header
{
    private Qcow2Header(string name) => Name = name;

    /// <summary>The file, for messages.</summary>
    internal string Name { get; }

    internal int Version { get; private set; }

    internal ClusterLayout Layout { get; private set; }

    /// <summary>Bytes that the guest sees.</summary>
    internal ulong Size { get; private set; }

    internal ulong L1Offset { get; private set; }

    internal int L1Entries { get; private set; }

    internal ulong RefcountTableOffset { get; private set; }

    internal int RefcountTableClusters { get; private set; }

    /// <summary>Log2 of the bits of a reference count, 0 to 6.</summary>
    internal int RefcountOrder { get; private set; }

    internal int SnapshotCount { get; private set; }

    internal ulong SnapshotsOffset { get; private set; }

    internal ulong Incompatible { get; private set; }

    internal ulong Compatible { get; private set; }

    internal ulong Autoclear { get; private set; }

    /// <summary>Clusters are packed with zstd, not with deflate.</summary>
    internal bool UsesZstd { get; private set; }

    /// <summary>What the image calls the file below it; null when it stands alone. Not trusted: see <see cref="BackingPolicy"/>.</summary>
    internal string? BackingName { get; private set; }

    /// <summary>The format of the file below, as the image says; null when it does not say.</summary>
    internal string? BackingFormat { get; private set; }

    /// <summary>The header extension about bitmaps; empty for none.</summary>
    internal byte[] BitmapsExtension { get; private set; } = [];

    /// <summary>Where <see cref="BitmapsExtension"/> is in the file.</summary>
    internal ulong BitmapsExtensionOffset { get; private set; }

    internal bool IsDirty => (Incompatible & Qcow2Format.Dirty) != 0;

    internal bool IsCorrupt => (Incompatible & Qcow2Format.Corrupt) != 0;

    /// <summary>Entries that the L1 table needs for a size.</summary>
    internal static ulong NeededL1Entries(ClusterLayout layout, ulong size) =>
        (size / layout.L1Span) + (size % layout.L1Span == 0 ? 0u : 1u);

    /// <summary>Reads and checks the header.</summary>
    /// <exception cref="HullException">It is no qcow2 image, a damaged one, or one with a feature that is not known.</exception>
    /// <exception cref="IOException">The host cannot read.</exception>
    internal static Qcow2Header Read(IImageFile file)
    {
        byte[] start = new byte[(int)Math.Min(file.Length, 4096)];
        file.ReadPadded(0, start);
        Qcow2Header header = new(file.Name);
        if (start.Length < Qcow2Format.ShortHeader || Big32(start, 0) != Qcow2Format.Magic)
        {
            throw new HullException($"{file.Name} is no qcow2 image (if it is a raw one, add ',format=raw')");
        }

        int length = header.ReadFixed(start);
        int clusterSize = header.Layout.ClusterSize;
        byte[] cluster = new byte[clusterSize];
        file.ReadPadded(0, cluster);
        header.ReadBackingName(cluster);
        header.ReadExtensions(cluster, length);
        return header;
    }

    private static uint Big32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32BigEndian(bytes[at..]);

    private static ulong Big64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt64BigEndian(bytes[at..]);

    // The fields of fixed place. Gives the header's length.
    private int ReadFixed(ReadOnlySpan<byte> bytes)
    {
        uint version = Big32(bytes, 4);
        uint clusterBits = Big32(bytes, 20);
        Require(version is 2 or 3, $"version {version} is not known: versions 2 and 3 are");
        Require(clusterBits is >= 9 and <= 21, $"clusters of 2^{clusterBits} bytes");
        Version = (int)version;
        int length = Qcow2Format.ShortHeader;
        if (version == 3)
        {
            Require(bytes.Length >= Qcow2Format.LongHeader, "its header is cut off");
            Incompatible = Big64(bytes, 72);
            Compatible = Big64(bytes, 80);
            Autoclear = Big64(bytes, 88);
            uint stated = Big32(bytes, 100);
            Require(stated >= Qcow2Format.LongHeader && stated <= 1u << (int)clusterBits && stated % 8 == 0,
                $"a header of {stated} bytes");
            length = (int)stated;
            ReadFeatures(bytes, length);
        }

        uint order = version == 3 ? Big32(bytes, 96) : 4;
        Require(order <= 6, $"reference counts of 2^{order} bits");
        RefcountOrder = (int)order;
        Require(Big32(bytes, 32) == 0, "it is encrypted, which is not supported: convert it with qemu-img first");
        Layout = new ClusterLayout((int)clusterBits, (Incompatible & Qcow2Format.ExtendedL2) != 0, version == 3);
        Require(!Layout.IsExtended || clusterBits >= 14, "subclusters of less than a sector");
        ReadTables(bytes);
        return length;
    }

    private void ReadFeatures(ReadOnlySpan<byte> bytes, int length)
    {
        const ulong known = Qcow2Format.Dirty | Qcow2Format.Corrupt | Qcow2Format.CompressionType | Qcow2Format.ExtendedL2;
        Require((Incompatible & Qcow2Format.DataFile) == 0, "its data are in another file, which Hull does not open");
        Require((Incompatible & ~known) == 0, $"it needs features that are not known (mask {Incompatible & ~known:x})");
        byte compression = length > Qcow2Format.LongHeader && bytes.Length > Qcow2Format.LongHeader ? bytes[104] : (byte)0;
        Require(compression <= 1, $"compression {compression} is not known");
        Require(((Incompatible & Qcow2Format.CompressionType) != 0) == (compression != 0), "it contradicts itself on compression");
        UsesZstd = compression == 1;
    }

    private void ReadTables(ReadOnlySpan<byte> bytes)
    {
        Size = Big64(bytes, 24);
        L1Offset = Big64(bytes, 40);
        RefcountTableOffset = Big64(bytes, 48);
        SnapshotsOffset = Big64(bytes, 64);
        uint l1 = Big32(bytes, 36);
        uint refcountClusters = Big32(bytes, 56);
        uint snapshots = Big32(bytes, 60);
        Require(Size <= long.MaxValue, $"a size of {Size} bytes");
        Require(l1 <= Qcow2Format.MostL1Entries && NeededL1Entries(Layout, Size) <= l1,
            $"an L1 table of {l1} entries for {Size} bytes");
        Require(IsTable(L1Offset) && (l1 == 0 || L1Offset != 0), $"an L1 table at {L1Offset}");
        Require(refcountClusters > 0 && (ulong)refcountClusters << Layout.ClusterBits <= Qcow2Format.MostRefcountTableBytes,
            $"a refcount table of {refcountClusters} clusters");
        Require(IsTable(RefcountTableOffset) && RefcountTableOffset != 0, $"a refcount table at {RefcountTableOffset}");
        Require(snapshots <= Qcow2Format.MostSnapshots, $"{snapshots} snapshots");
        Require(snapshots == 0 || (IsTable(SnapshotsOffset) && SnapshotsOffset != 0), $"a snapshot table at {SnapshotsOffset}");
        L1Entries = (int)l1;
        RefcountTableClusters = (int)refcountClusters;
        SnapshotCount = (int)snapshots;
    }

    private bool IsTable(ulong offset) => offset < Qcow2Format.MostBytes && (offset & ((uint)Layout.ClusterSize - 1)) == 0;

    private void ReadBackingName(ReadOnlySpan<byte> cluster)
    {
        ulong at = Big64(cluster, 8);
        uint length = Big32(cluster, 16);
        if (at == 0 || length == 0)
        {
            return;
        }

        Require(length <= 1023 && at < (ulong)cluster.Length && length <= (ulong)cluster.Length - at, "the name of its backing file is cut off");
        BackingName = Encoding.UTF8.GetString(cluster.Slice((int)at, (int)length));
    }

    private void ReadExtensions(ReadOnlySpan<byte> cluster, int at)
    {
        ulong backing = Big64(cluster, 8);
        int end = backing >= (ulong)at && backing < (ulong)cluster.Length ? (int)backing : cluster.Length;
        while (at <= end - 8)
        {
            uint kind = Big32(cluster, at);
            uint length = Big32(cluster, at + 4);
            at += 8;
            if (kind == Qcow2Format.EndExtension)
            {
                return;
            }

            Require(length <= (uint)(end - at), "a header extension is cut off");
            ReadOnlySpan<byte> content = cluster.Slice(at, (int)length);
            if (kind == Qcow2Format.BackingFormatExtension)
            {
                Require(length <= 15, "the format of its backing file has a long name");
                BackingFormat = Encoding.UTF8.GetString(content);
            }
            else if (kind == Qcow2Format.BitmapsExtension)
            {
                Require(length == 24, "a bitmaps extension of another size");
                BitmapsExtension = content.ToArray();
                BitmapsExtensionOffset = (ulong)at;
            }

            at += (int)((length + 7) & ~7u);
        }
    }

    private void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new HullException($"{Name} is no qcow2 image that Hull can use: {otherwise}");
        }
    }
}
