using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Hull.Host;

namespace Hull.Cli.Store;

/// <summary>
/// Packages of the host's distribution, unpacked and not installed, in $XDG_DATA_HOME/hull/packages/PACKAGE_VERSION.
/// </summary>
internal sealed class PackageStore(XdgDirectories directories, IProgress<string>? progress = null)
{
    private readonly string _root = Path.Combine(directories.Data, "packages");
    private readonly HostPackages _packages = new(progress);

    /// <summary>The folder of the newest version in the store, else of the one that the package client gives.</summary>
    /// <exception cref="HullException">It is not in the store and cannot be had; says what to do.</exception>
    internal async Task<string> GetAsync(string package, CancellationToken cancellation)
    {
        if (FindNewest(package) is string present)
        {
            return present;
        }

        if (!HostCommand.Exists("apt-get") || !HostCommand.Exists("dpkg-deb"))
        {
            throw new HullException($"{package} is not in Hull's store, and this host has no apt-get to fetch it from Debian");
        }

        try
        {
            using StoreDraft draft = new(_root);
            return await FetchAsync(package, draft, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new HullException($"cannot write Hull's package store {_root}: {e.Message}", e);
        }
    }

    /// <summary>The folders of all packages in the store, in the order of their names.</summary>
    internal string[] List()
    {
        string[] folders = Directory.Exists(_root) ? Directory.GetDirectories(_root) : [];
        folders = Array.FindAll(folders, static folder => Path.GetFileName(folder)[0] != '.');
        Array.Sort(folders, StringComparer.Ordinal);
        return folders;
    }

    private string? FindNewest(string package)
    {
        if (!Directory.Exists(_root))
        {
            return null;
        }

        // No package's name has an underscore.
        List<string> folders = [.. Directory.GetDirectories(_root, package + "_*")];
        DebianVersion order = new();
        folders.Sort((x, y) => order.Compare(VersionOf(y), VersionOf(x)));
        return folders.Count == 0 ? null : folders[0];
    }

    private async Task<string> FetchAsync(string package, StoreDraft draft, CancellationToken cancellation)
    {
        string file = await _packages.DownloadAsync(package, draft.Folder, cancellation).ConfigureAwait(false);
        CommandResult result = await HostCommand.RunAsync("dpkg-deb", ["-x", file, draft.Content], null, cancellation)
            .ConfigureAwait(false);
        if (result.ExitCode != 0)
        {
            throw new HullException($"cannot unpack {Path.GetFileName(file)}: {result.Reason}");
        }

        // NAME_VERSION_ARCHITECTURE.deb, with the colon of an epoch as %3a.
        string[] parts = Path.GetFileNameWithoutExtension(file).Split('_');
        string version = parts.Length > 1 ? Uri.UnescapeDataString(parts[1]).Replace(':', '%') : "0";
        string folder = Path.Combine(_root, $"{package}_{version}");
        cancellation.ThrowIfCancellationRequested();
        try
        {
            Directory.Move(draft.Content, folder);
        }
        catch (IOException) when (Directory.Exists(folder))
        {
            // Another Hull was faster; its folder is as good.
        }

        return folder;
    }

    private static string VersionOf(string folder) => Path.GetFileName(folder).Split('_')[^1].Replace('%', ':');
}
