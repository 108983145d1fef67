using System;
using System.IO;
using Hull.Host;

namespace Hull.Storage;

/// <summary>How a disk's bytes are kept in a file.</summary>
public enum DiskFormat
{
    /// <summary>As the file's ending says: .raw, .img, .iso and block devices are raw.</summary>
    ByEnding,

    /// <summary>The file's bytes are the disk's.</summary>
    Raw,
}

/// <summary>Opens images by format.</summary>
internal static class DiskImage
{
    /// <summary>Opens an image.</summary>
    /// <exception cref="HullException">The format is not known, or the file is not what it should be.</exception>
    internal static IByteStore Open(string path, DiskFormat format, bool readOnly) => Resolve(path, format) switch
    {
        DiskFormat.Raw => RawStore.Open(path, readOnly),
        _ => throw new HullException($"{path}: the file's ending names no format: add ',format=raw'"),
    };

    private static DiskFormat Resolve(string path, DiskFormat format) => format != DiskFormat.ByEnding
        ? format
        : Path.GetExtension(path).ToUpperInvariant() switch
        {
            ".RAW" or ".IMG" or ".ISO" => DiskFormat.Raw,
            _ => path.StartsWith("/dev/", StringComparison.Ordinal) ? DiskFormat.Raw : DiskFormat.ByEnding,
        };
}
