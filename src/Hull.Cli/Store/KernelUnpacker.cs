using System;
using System.Formats.Tar;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Hull.Host;

namespace Hull.Cli.Store;

/// <summary>Takes a kernel out of a Debian package file: only what the store keeps is ever written.</summary>
internal static class KernelUnpacker
{
    // Debian's System.map is a line that names another package.
    private const long SmallestSystemMap = 1024;
    private const string InstallerText = "/text/debian-installer/";

    /// <summary>
    /// Unpacks the kernel, its configuration, symbols, modules or RAM disk into a directory.
    /// </summary>
    /// <exception cref="HullException">The file is no package, or holds no kernel.</exception>
    internal static async Task UnpackAsync(string packageFile, string folder, CancellationToken cancellation)
    {
        await HostCommand.ReadAsync(
            "dpkg-deb",
            ["--fsys-tarfile", packageFile],
            (tar, token) => ReadTarAsync(tar, folder, token),
            cancellation).ConfigureAwait(false);
        if (!File.Exists(Path.Combine(folder, "vmlinuz")))
        {
            throw new HullException($"the package {Path.GetFileName(packageFile)} holds no kernel");
        }
    }

    private static async Task ReadTarAsync(Stream tar, string folder, CancellationToken cancellation)
    {
        try
        {
            TarReader reader = new(tar, leaveOpen: true);
            await using (reader.ConfigureAwait(false))
            {
                while (await reader.GetNextEntryAsync(false, cancellation).ConfigureAwait(false) is { } entry)
                {
                    string? target = entry.EntryType is TarEntryType.RegularFile or TarEntryType.V7RegularFile
                        ? TargetOf(entry)
                        : null;
                    if (target is not null)
                    {
                        string path = Path.Combine(folder, target);
                        // Not null: the path is below the folder.
                        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
                        await entry.ExtractToFileAsync(path, true, cancellation).ConfigureAwait(false);
                    }
                }
            }
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException)
        {
            throw new HullException($"the package's archive is damaged: {e.Message}", e);
        }
    }

    /// <summary>
    /// The path in the store of an entry of the archive; null when the store does not keep it.
    /// </summary>
    private static string? TargetOf(TarEntry entry)
    {
        string name = entry.Name.StartsWith("./", StringComparison.Ordinal) ? entry.Name[2..] : entry.Name;
        if (name.Contains("..", StringComparison.Ordinal))
        {
            return null;
        }

        if (name.StartsWith("boot/vmlinuz-", StringComparison.Ordinal))
        {
            return "vmlinuz";
        }

        if (name.StartsWith("boot/config-", StringComparison.Ordinal))
        {
            return "config";
        }

        if (name.StartsWith("boot/System.map-", StringComparison.Ordinal) && entry.Length > SmallestSystemMap)
        {
            return "System.map";
        }

        foreach (string root in (ReadOnlySpan<string>)["lib/modules/", "usr/lib/modules/"])
        {
            if (name.StartsWith(root, StringComparison.Ordinal))
            {
                return "modules/" + name[root.Length..];
            }
        }

        return name.Contains(InstallerText, StringComparison.Ordinal)
            ? Path.GetFileName(name) switch
            {
                "linux" => "vmlinuz",
                "initrd.gz" => "initrd.gz",
                _ => null,
            }
            : null;
    }
}
