using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using Hull.Host;
using Hull.Storage.Qcow2;

namespace Hull.Storage;

/// <summary>
/// What is done to images that no guest uses: `hull image`. Each takes the image's lock. An <see cref="IOException"/> says
/// that the host cannot, a <see cref="HullException"/> that the image or the wish is at fault.
/// </summary>
public static class DiskTool
{
    private const int Sector = 512;

    /// <summary>Makes an empty image.</summary>
    /// <param name="path">The file; one that is there is emptied.</param>
    /// <param name="format">Its format; by its ending if need be.</param>
    /// <param name="size">Bytes that the guest sees; null: those of the file below.</param>
    /// <param name="options">For qcow2.</param>
    /// <exception cref="HullException">The wishes do not go together, or the file cannot be made.</exception>
    public static void Create(string path, DiskFormat format, ulong? size, Qcow2Options options)
    {
        ArgumentNullException.ThrowIfNull(options);
        format = DiskImage.Resolve(path, format);
        if (format == DiskFormat.Raw && options != new Qcow2Options())
        {
            throw new HullException($"{path} is to be a raw image: it has a size and no other options");
        }

        if (options.BackingFile is { } below)
        {
            options = options with { BackingFormat = DiskImage.Resolve(below, options.BackingFormat) };
            string lower = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/", below);
            ulong there = Inspect(lower, options.BackingFormat).Size;
            size ??= there;
        }

        ulong bytes = size ?? throw new HullException($"{path}: how large? give a size, as in 10G");
        if (bytes is < Sector or > long.MaxValue)
        {
            throw new HullException($"{path}: a disk of {bytes} bytes: give at least {Sector}");
        }

        Make(path, format, (bytes + Sector - 1) & ~(Sector - 1UL), options);
    }

    /// <summary>The format that a file's ending names.</summary>
    /// <exception cref="HullException">It names none.</exception>
    public static DiskFormat FormatOf(string path) => DiskImage.Resolve(path, DiskFormat.ByEnding);

    /// <summary>Tells what an image is.</summary>
    /// <exception cref="HullException">It cannot be opened, or is no such image.</exception>
    public static DiskReport Inspect(string path, DiskFormat format)
    {
        format = DiskImage.Resolve(path, format);
        using ImageFile file = ImageFile.Open(path, readOnly: true);
        DiskReport report = new()
        {
            File = path,
            Format = format,
            Size = file.Length,
            Taken = LibcFiles.TakenBytes(path),
        };
        return format == DiskFormat.Raw ? report : Inspect(file, report);
    }

    /// <summary>Looks for contradictions in an image.</summary>
    /// <returns>Null for a format that has none.</returns>
    /// <exception cref="HullException">It cannot be opened, or is no such image.</exception>
    public static Qcow2Findings? Check(string path, DiskFormat format, Qcow2Repair repair)
    {
        if (DiskImage.Resolve(path, format) == DiskFormat.Raw)
        {
            return null;
        }

        using ImageFile file = ImageFile.Open(path, readOnly: repair == Qcow2Repair.None);
        return Qcow2Check.Run(file, repair);
    }

    /// <summary>Gives a disk another size.</summary>
    /// <param name="path">The image.</param>
    /// <param name="format">Its format; by its ending if need be.</param>
    /// <param name="newSize">Makes the new size from the old one.</param>
    /// <param name="mayShrink">What is behind the new end may be lost.</param>
    /// <param name="allowBacking">The files may be opened that the image names as those below it.</param>
    /// <returns>The new size in bytes.</returns>
    /// <exception cref="HullException">It would shrink and may not, or is too large for its format.</exception>
    public static ulong Resize(string path, DiskFormat format, Func<ulong, ulong> newSize, bool mayShrink, bool allowBacking)
    {
        ArgumentNullException.ThrowIfNull(newSize);
        if (DiskImage.Resolve(path, format) == DiskFormat.Raw)
        {
            using ImageFile file = ImageFile.Open(path, readOnly: false);
            ulong length = Wanted(path, file.Length, newSize, mayShrink);
            file.SetLength(length);
            file.Sync();
            return length;
        }

        using Qcow2Store store = DiskImage.OpenQcow2(path, readOnly: false, allowBacking);
        ulong size = Wanted(path, store.Length, newSize, mayShrink);
        store.Resize(size);
        return size;
    }

    /// <summary>Copies a disk into a new image.</summary>
    /// <param name="source">What is read; its file is not changed.</param>
    /// <param name="path">The new file; one that is there is emptied.</param>
    /// <param name="format">Its format; by its ending if need be.</param>
    /// <param name="options">For qcow2; no file below.</param>
    /// <param name="progress">Is told the share that is done, 0 to 1.</param>
    /// <param name="cancellation">Ends it. A new file that does not have all is removed, then as after an error.</param>
    /// <exception cref="HullException">One of the two cannot be opened or made.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public static void Convert(
        DiskSource source,
        string path,
        DiskFormat format,
        Qcow2Options options,
        IProgress<double>? progress,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(options);
        format = DiskImage.Resolve(path, format);
        using IByteStore from = DiskImage.Open(source.File, source.Format, true, source.AllowBacking, source.Snapshot);
        bool isNew = !File.Exists(path);
        bool isWhole = false;
        Make(path, format, from.Length, options);
        try
        {
            using IByteStore to = DiskImage.Open(path, format, readOnly: false);
            DiskCopy.Run(from, to, progress, cancellation);
            to.Flush();
            isWhole = true;
        }
        finally
        {
            if (isNew && !isWhole)
            {
                File.Delete(path); // half a disk looks like one
            }
        }
    }

    private static void Make(string path, DiskFormat format, ulong size, Qcow2Options options)
    {
        if (format == DiskFormat.Qcow2)
        {
            Qcow2Creator.Validate(options, size);
        }

        using ImageFile file = ImageFile.Create(path);
        if (format == DiskFormat.Qcow2)
        {
            Qcow2Store.Create(file, options, size);
            return;
        }

        file.SetLength(size);
        file.Sync();
    }

    private static ulong Wanted(string path, ulong old, Func<ulong, ulong> newSize, bool mayShrink)
    {
        ulong size = (newSize(old) + Sector - 1) & ~(Sector - 1UL);
        if (size is < Sector or > long.MaxValue)
        {
            throw new HullException($"{path}: a disk of {size} bytes: give at least {Sector}");
        }

        return size >= old || mayShrink
            ? size
            : throw new HullException($"{path} has {old} bytes; what is behind {size} would be lost: add --shrink if it may be");
    }

    private static DiskReport Inspect(ImageFile file, DiskReport report)
    {
        Qcow2Header header = Qcow2Header.Read(file);
        try
        {
            List<Qcow2Snapshot> snapshots = Qcow2Snapshot.ReadAll(file, header, out _);
            List<Qcow2Bitmap> bitmaps = Qcow2Bitmap.ReadAll(file, header, out _, out _);
            Qcow2Report qcow2 = new()
            {
                Version = header.Version,
                ClusterSize = header.Layout.ClusterSize,
                ExtendedL2 = header.Layout.IsExtended,
                RefcountBits = 1 << header.RefcountOrder,
                Compression = header.UsesZstd ? "zstd" : "zlib",
                Dirty = header.IsDirty,
                Corrupt = header.IsCorrupt,
                BackingFile = header.BackingName,
                BackingFormat = header.BackingFormat,
                Snapshots = snapshots.ConvertAll(one => new SnapshotReport(one.Id, one.Name, one.DiskSize, one.Taken)),
                Bitmaps = bitmaps.ConvertAll(one => new BitmapReport(
                    one.Name, (one.Flags & Qcow2Bitmap.Records) != 0, (one.Flags & Qcow2Bitmap.InUse) != 0)),
            };
            return report with { Size = header.Size, Qcow2 = qcow2 };
        }
        catch (Qcow2Damage e)
        {
            throw new HullException($"{e.Message}: the image is damaged; look with: hull image check {file.Name}", e);
        }
    }
}

/// <summary>What a conversion reads.</summary>
/// <param name="File">The image.</param>
/// <param name="Format">Its format; by its ending if need be.</param>
/// <param name="AllowBacking">The files may be opened that it names as those below it.</param>
/// <param name="Snapshot">The snapshot to read; null for the disk.</param>
public sealed record DiskSource(string File, DiskFormat Format = DiskFormat.ByEnding, bool AllowBacking = false, string? Snapshot = null);
