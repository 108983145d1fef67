using System;
using System.Buffers.Binary;
using System.IO;
using System.IO.Compression;
using Hull.Host;

namespace Hull.Boot;

/// <summary>How a kernel is packed.</summary>
internal enum PackingMethod
{
    /// <summary>Not known here (bzip2, lzma, lzo): the guest unpacks it.</summary>
    Unknown,

    /// <summary>A plain ELF file.</summary>
    None,

    /// <summary>gzip.</summary>
    Gzip,

    /// <summary>xz.</summary>
    Xz,

    /// <summary>Zstandard.</summary>
    Zstd,

    /// <summary>LZ4, legacy frame.</summary>
    Lz4,
}

/// <summary>The packed vmlinux inside a bzImage: what packs it, and how to read it unpacked.</summary>
internal static class KernelPayload
{
    /// <summary>Bytes that tell the method.</summary>
    internal const int MagicSize = 6;

    // Below this, starting a thread takes longer than it saves.
    private const int ReadAheadFrom = 1 << 20;

    /// <summary>Tells the method by the first bytes.</summary>
    internal static PackingMethod Identify(ReadOnlySpan<byte> head)
    {
        if (head.Length < MagicSize)
        {
            return PackingMethod.Unknown;
        }

        if (ElfImage.HasMagic(head))
        {
            return PackingMethod.None;
        }

        if (head[0] == 0x1F && head[1] is 0x8B or 0x9E)
        {
            return PackingMethod.Gzip;
        }

        if (head.StartsWith((ReadOnlySpan<byte>)[0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0]))
        {
            return PackingMethod.Xz;
        }

        return BinaryPrimitives.ReadUInt32LittleEndian(head) switch
        {
            0xFD2F_B528 => PackingMethod.Zstd,
            Lz4LegacyUnpacker.Magic => PackingMethod.Lz4,
            _ => PackingMethod.Unknown,
        };
    }

    /// <summary>Why a stream of <see cref="TryOpen"/> failed, in words for the user.</summary>
    internal static string Reason(PackingMethod method, InvalidDataException failure) =>
        method == PackingMethod.Gzip ? "the gzip data are damaged" : failure.Message;

    /// <summary>
    /// Opens the packed bytes as a stream of unpacked ones; null when the host lacks the library. The stream
    /// throws <see cref="InvalidDataException"/> where the data are damaged.
    /// </summary>
    /// <param name="method">What <see cref="Identify"/> said; not Unknown.</param>
    /// <param name="file">The file.</param>
    /// <param name="offset">Where the packed bytes start.</param>
    /// <param name="length">
    /// Packed bytes. Linux's build appends the unpacked size, four bytes, to all but gzip, whose own trailer
    /// has it.
    /// </param>
    internal static Stream? TryOpen(PackingMethod method, BootBlobReader file, long offset, long length)
    {
        bool endsWithSize = method == PackingMethod.Lz4;
        Stream packed = file.OpenRange(offset, endsWithSize ? Math.Max(0, length - 4) : length);
        try
        {
            Stream? unpacked = method switch
            {
                PackingMethod.None => packed,
                PackingMethod.Gzip => new GZipStream(packed, CompressionMode.Decompress),
                PackingMethod.Xz => new XzUnpacker(packed),
                PackingMethod.Zstd => new ZstdUnpacker(packed),
                PackingMethod.Lz4 => new Lz4LegacyUnpacker(packed),
                _ => null,
            };
            return unpacked is null || length < ReadAheadFrom ? unpacked : new ReadAhead(unpacked);
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return null;
        }
    }
}
