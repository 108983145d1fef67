using System;
using System.Buffers.Binary;
using System.IO;
using System.Numerics;
using System.Text;
using Hull.Host;

namespace Hull.Storage.Qcow2;

/// <summary>How a new qcow2 image is to be.</summary>
public sealed record Qcow2Options
{
    /// <summary>Bytes of a cluster, 512 to 2 MiB; 0: 64 KiB.</summary>
    public int ClusterSize { get; init; }

    /// <summary>Each cluster is divided in 32: small writes over a backing file copy less.</summary>
    public bool ExtendedL2 { get; init; }

    /// <summary>Bits of a reference count: 1, 2, 4 ... 64; 0: 16.</summary>
    public int RefcountBits { get; init; }

    /// <summary>Version 2, for programs before 2013.</summary>
    public bool Version2 { get; init; }

    /// <summary>Packed clusters are in zstd, not in deflate.</summary>
    public bool Zstd { get; init; }

    /// <summary>The file below, as it is to be written into the image; null for none.</summary>
    public string? BackingFile { get; init; }

    /// <summary>The format of the file below.</summary>
    public DiskFormat BackingFormat { get; init; }
}

/// <summary>Makes empty images.</summary>
internal static class Qcow2Creator
{
    /// <summary>Checks what is wished for, before a file is emptied for it.</summary>
    /// <exception cref="HullException">The options do not go together, or the disk is too large for them.</exception>
    internal static void Validate(Qcow2Options options, ulong diskSize)
    {
        (int size, int bits) = Resolve(options);
        Require(BitOperations.IsPow2(size) && size is >= 512 and <= 2 << 20,
            $"a cluster size of {size}: give a power of two from 512 to 2097152");
        Require(BitOperations.IsPow2(bits) && bits is >= 1 and <= 64,
            $"reference counts of {bits} bits: give 1, 2, 4, 8, 16, 32 or 64");
        Require(!options.ExtendedL2 || size >= 16 << 10, $"subclusters need clusters of at least 16384 bytes, not {size}");
        Require(!options.Version2 || (!options.ExtendedL2 && !options.Zstd && bits == 16),
            "version 2 has no subclusters, no zstd and only reference counts of 16 bits");
        Require(options.BackingFile is null || Encoding.UTF8.GetByteCount(options.BackingFile) is > 0 and <= 1023 and var length
            && length + 136 <= size, $"the name of the backing file is too long: {options.BackingFile}");
        ClusterLayout layout = new(BitOperations.Log2((uint)size), options.ExtendedL2, !options.Version2);
        Require(Qcow2Header.NeededL1Entries(layout, diskSize) <= Qcow2Format.MostL1Entries,
            $"a disk of {diskSize} bytes is too large for clusters of {size}");
    }

    /// <summary>Writes an image of no bytes; <see cref="Qcow2Store.Create"/> gives it its size.</summary>
    /// <exception cref="IOException">The host cannot write.</exception>
    internal static void Write(IImageFile file, Qcow2Options options)
    {
        (int size, int bits) = Resolve(options);
        byte[] header = new byte[size];
        int at = WriteFixed(header, options, size, bits);
        WriteBacking(header, options, at);

        // The header, the refcount table and its only block: three references.
        byte[] table = new byte[size];
        BinaryPrimitives.WriteUInt64BigEndian(table, (ulong)size * 2);
        byte[] block = new byte[size];
        for (int i = 0; i < 3; i++)
        {
            Refcounts.SetCount(block, i, BitOperations.Log2((uint)bits), 1);
        }

        file.SetLength(0);
        file.Write((ulong)size * 2, block);
        file.Write((ulong)size, table);
        file.Sync();
        file.Write(0, header);
        file.Sync();
    }

    private static (int ClusterSize, int RefcountBits) Resolve(Qcow2Options options) =>
        (options.ClusterSize == 0 ? 64 << 10 : options.ClusterSize, options.RefcountBits == 0 ? 16 : options.RefcountBits);

    private static int WriteFixed(Span<byte> at, Qcow2Options options, int size, int bits)
    {
        const int longer = 112;
        BinaryPrimitives.WriteUInt32BigEndian(at, Qcow2Format.Magic);
        BinaryPrimitives.WriteUInt32BigEndian(at[4..], options.Version2 ? 2u : 3);
        BinaryPrimitives.WriteUInt32BigEndian(at[20..], (uint)BitOperations.Log2((uint)size));
        BinaryPrimitives.WriteUInt64BigEndian(at[48..], (ulong)size);
        BinaryPrimitives.WriteUInt32BigEndian(at[56..], 1);
        if (options.Version2)
        {
            return Qcow2Format.ShortHeader;
        }

        ulong features = (options.ExtendedL2 ? Qcow2Format.ExtendedL2 : 0) | (options.Zstd ? Qcow2Format.CompressionType : 0);
        BinaryPrimitives.WriteUInt64BigEndian(at[72..], features);
        BinaryPrimitives.WriteUInt32BigEndian(at[96..], (uint)BitOperations.Log2((uint)bits));
        BinaryPrimitives.WriteUInt32BigEndian(at[100..], longer);
        at[104] = options.Zstd ? (byte)1 : (byte)0;
        return longer;
    }

    // The extension with the format, an end mark, then the name.
    private static void WriteBacking(Span<byte> header, Qcow2Options options, int at)
    {
        if (options.BackingFile is null)
        {
            return;
        }

        byte[] name = Encoding.UTF8.GetBytes(options.BackingFile);
        byte[] format = Encoding.ASCII.GetBytes(options.BackingFormat == DiskFormat.Qcow2 ? "qcow2" : "raw");
        BinaryPrimitives.WriteUInt32BigEndian(header[at..], Qcow2Format.BackingFormatExtension);
        BinaryPrimitives.WriteUInt32BigEndian(header[(at + 4)..], (uint)format.Length);
        format.CopyTo(header[(at + 8)..]);
        at += 24;
        name.CopyTo(header[at..]);
        BinaryPrimitives.WriteUInt64BigEndian(header[8..], (ulong)at);
        BinaryPrimitives.WriteUInt32BigEndian(header[16..], (uint)name.Length);
    }

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new HullException(otherwise);
        }
    }
}
