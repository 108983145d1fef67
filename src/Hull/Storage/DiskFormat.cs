using System;
using System.IO;
using Hull.Host;
using Hull.Storage.Qcow2;

namespace Hull.Storage;

/// <summary>How a disk's bytes are kept in a file.</summary>
public enum DiskFormat
{
    /// <summary>As the file's ending says: .raw, .img, .iso and block devices are raw, .qcow2 is qcow2.</summary>
    ByEnding,

    /// <summary>The file's bytes are the disk's.</summary>
    Raw,

    /// <summary>QEMU's format: grows with what is written, can stand on another image.</summary>
    Qcow2,
}

/// <summary>Opens images by format.</summary>
internal static class DiskImage
{
    /// <summary>Opens an image.</summary>
    /// <param name="path">The file.</param>
    /// <param name="format">Its format; never taken from its content.</param>
    /// <param name="readOnly">Nothing is changed.</param>
    /// <param name="allowBacking">The files may be opened that the image names as those below it.</param>
    /// <param name="snapshot">The snapshot of a qcow2 image to read instead of the disk; null for the disk.</param>
    /// <exception cref="HullException">The format is not known, or the file is not what it should be.</exception>
    internal static IByteStore Open(
        string path, DiskFormat format, bool readOnly, bool allowBacking = false, string? snapshot = null)
    {
        DiskFormat resolved = Resolve(path, format);
        return resolved == DiskFormat.Qcow2
            ? OpenQcow2(path, readOnly, allowBacking, snapshot)
            : snapshot is null
                ? RawStore.Open(path, readOnly)
                : throw new HullException($"{path} is a raw image: it has no snapshots");
    }

    /// <summary>Opens a qcow2 image.</summary>
    /// <exception cref="HullException">It is none that Hull can use.</exception>
    internal static Qcow2Store OpenQcow2(string path, bool readOnly, bool allowBacking, string? snapshot = null)
    {
        BackingPolicy policy = new(allowBacking);
        return Qcow2Store.Open(ImageFile.Open(path, readOnly), readOnly, header => policy.Open(path, header), snapshot);
    }

    /// <summary>The format that a name stands for.</summary>
    /// <exception cref="HullException">The ending says nothing.</exception>
    internal static DiskFormat Resolve(string path, DiskFormat format) => format != DiskFormat.ByEnding
        ? format
        : Path.GetExtension(path).ToUpperInvariant() switch
        {
            ".RAW" or ".IMG" or ".ISO" => DiskFormat.Raw,
            ".QCOW2" => DiskFormat.Qcow2,
            _ when path.StartsWith("/dev/", StringComparison.Ordinal) && !LibcFiles.IsRegular(path) => DiskFormat.Raw,
            _ => throw new HullException(path.Length == 0
                ? "a disk without a file: give its image or block device, as in FILE,format=raw"
                : $"{path}: the file's ending names no format: say which it is, raw or qcow2 (',format=raw' behind a disk's name, '-f raw' for hull image)"),
        };
}
