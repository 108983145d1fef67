using System;
using System.IO;

namespace Hull.Cli.Store;

/// <summary>A kernel in the store: one directory, complete or not there.</summary>
/// <param name="Package">The package that it came from.</param>
/// <param name="Version">That package's version.</param>
/// <param name="Requested">The name that was asked for; a metapackage perhaps.</param>
/// <param name="Folder">The directory.</param>
internal sealed record StoredKernel(string Package, string Version, string Requested, string Folder)
{
    private const string OriginName = "origin";

    /// <summary>The bzImage.</summary>
    internal string KernelPath => Path.Combine(Folder, "vmlinuz");

    /// <summary>The initial RAM disk that came with the kernel; null when there is none.</summary>
    internal string? InitrdPath => Existing("initrd.gz");

    /// <summary>The build configuration; null when there is none.</summary>
    internal string? ConfigPath => Existing("config");

    /// <summary>The symbols; null when there are none (Debian's are in another package).</summary>
    internal string? SystemMapPath => Existing("System.map");

    /// <summary>The directory lib/modules/RELEASE of the kernel; null when there is none.</summary>
    internal string? ModulesPath
    {
        get
        {
            string root = Path.Combine(Folder, "modules");
            string[] releases = Directory.Exists(root) ? Directory.GetDirectories(root) : [];
            return releases.Length == 1 ? releases[0] : null;
        }
    }

    /// <summary>Reads a directory of the store; null when it holds no complete kernel.</summary>
    internal static StoredKernel? TryRead(string folder)
    {
        try
        {
            string[] lines = File.ReadAllLines(Path.Combine(folder, OriginName));
            return lines.Length >= 3 && File.Exists(Path.Combine(folder, "vmlinuz"))
                ? new StoredKernel(lines[0], lines[1], lines[2], folder)
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>
    /// Writes where the kernel came from; the last step before the directory gets its name.
    /// </summary>
    internal void WriteOrigin(string folder) =>
        File.WriteAllText(Path.Combine(folder, OriginName), $"{Package}\n{Version}\n{Requested}\n");

    private string? Existing(string name)
    {
        string path = Path.Combine(Folder, name);
        return File.Exists(path) ? path : null;
    }
}
