using System;
using System.IO;
using Hull.Host;
using Hull.Storage.Qcow2;

namespace Hull.Storage;

/// <summary>
/// Which files may be opened because an image names them. None, unless the user allows it: an image from elsewhere could
/// name any file of the host's and show it to its guest. Then only regular files, for reading, and raw ones only when the
/// image says that they are.
/// </summary>
/// <param name="allows">The user allows it.</param>
internal sealed class BackingPolicy(bool allows)
{
    private const int MostImages = 32;
    private int _opened;

    /// <summary>Opens the image below one.</summary>
    /// <param name="path">The upper image: relative names are relative to its folder.</param>
    /// <param name="header">Names the lower one.</param>
    /// <exception cref="HullException">It may not be opened, or cannot.</exception>
    internal IByteStore Open(string path, Qcow2Header header)
    {
        string name = header.BackingName!; // not null: called only when there is one
        if (!allows)
        {
            throw new HullException(
                $"{path} stands on another image, {Shown(name)}: if that file may be opened, add ',backing=on' "
                + "(hull image: --allow-backing)");
        }

        if (++_opened > MostImages)
        {
            throw new HullException($"{path}: more than {MostImages} images stand on each other, or one on itself");
        }

        string below = Resolve(path, name);
        if (FormatOf(path, header, below) == DiskFormat.Raw)
        {
            return RawStore.Open(below, readOnly: true);
        }

        return Qcow2Store.Open(ImageFile.Open(below, readOnly: true), readOnly: true, lower => Open(below, lower));
    }

    private static string Resolve(string path, string name)
    {
        // QEMU reads json:..., nbd:... and the like as something else than a file.
        int colon = name.IndexOf(':', StringComparison.Ordinal);
        int slash = name.IndexOf('/', StringComparison.Ordinal);
        if ((colon >= 0 && (slash < 0 || colon < slash)) || name.Contains('\0', StringComparison.Ordinal))
        {
            throw new HullException($"{path} stands on {Shown(name)}, which is no file: Hull opens only files");
        }

        string below = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/", name);
        if (!LibcFiles.IsRegular(below))
        {
            throw new HullException($"{path} stands on {Shown(below)}, which is no regular file, or is not there");
        }

        return below;
    }

    private static DiskFormat FormatOf(string path, Qcow2Header header, string below) => header.BackingFormat switch
    {
        "raw" => DiskFormat.Raw,
        "qcow2" => DiskFormat.Qcow2,
        null when Path.GetExtension(below).Equals(".qcow2", StringComparison.OrdinalIgnoreCase) => DiskFormat.Qcow2,
        null => throw new HullException(
            $"{path} does not say what format {Shown(below)} has: say it with: qemu-img rebase -u -b {Shown(header.BackingName!)} -F raw {path}"),
        string other => throw new HullException($"{path} stands on {Shown(below)} of format {Shown(other)}: Hull knows raw and qcow2"),
    };

    // What an image says is shown without anything that a terminal would obey.
    private static string Shown(string text) => string.Create(text.Length, text, static (span, from) =>
    {
        for (int i = 0; i < span.Length; i++)
        {
            span[i] = char.IsControl(from[i]) ? '?' : from[i];
        }
    });
}
