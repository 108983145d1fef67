using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Hull.Host;

namespace Hull.Cli.Store;

/// <summary>
/// Kernels that Hull has fetched, in $XDG_DATA_HOME/hull/kernels/PACKAGE_VERSION. A directory gets its name
/// only when it is complete, so a failure or Ctrl-C leaves nothing that looks like a kernel.
/// </summary>
internal sealed class KernelStore
{
    /// <summary>Debian's kernel for virtual machines; what boots when nothing else is named.</summary>
    internal const string DefaultPackage = "linux-image-cloud-amd64";

    /// <summary>Debian's kernel for all machines.</summary>
    internal const string GenericPackage = "linux-image-amd64";

    /// <summary>Debian's installer: a kernel with its RAM disk.</summary>
    internal const string InstallerPackage = "debian-installer-12-netboot-amd64";

    private const string ImagePrefix = "linux-image-";

    private readonly string _root;
    private readonly IProgress<string>? _progress;
    private readonly HostPackages _packages;

    /// <summary>Makes the store; nothing is read or written yet.</summary>
    /// <param name="directories">Where the store is.</param>
    /// <param name="progress">Gets one line for each step that takes long.</param>
    internal KernelStore(XdgDirectories directories, IProgress<string>? progress = null)
    {
        _root = Path.Combine(directories.Data, "kernels");
        _progress = progress;
        _packages = new HostPackages(progress);
    }

    /// <summary>All kernels, newest version first.</summary>
    internal List<StoredKernel> List()
    {
        List<StoredKernel> kernels = [];
        if (Directory.Exists(_root))
        {
            foreach (string folder in Directory.GetDirectories(_root))
            {
                if (!Path.GetFileName(folder).StartsWith('.') && StoredKernel.TryRead(folder) is { } kernel)
                {
                    kernels.Add(kernel);
                }
            }
        }

        DebianVersion order = new();
        kernels.Sort((x, y) => order.Compare(y.Version, x.Version));
        return kernels;
    }

    /// <summary>The newest kernel that a package gave, without network; null when there is none.</summary>
    internal StoredKernel? FindNewest(string package = DefaultPackage) =>
        List().Find(kernel => kernel.Requested == package || kernel.Package == package);

    /// <summary>The newest kernel of a package from the store, else fetched.</summary>
    /// <exception cref="HullException">None in the store, and none to be had; says what to do.</exception>
    internal async Task<StoredKernel> GetAsync(string package, CancellationToken cancellation) =>
        FindNewest(package) ?? await FetchAsync(package, cancellation).ConfigureAwait(false);

    /// <summary>Fetches the current kernel of a package through the host's package client.</summary>
    /// <exception cref="HullException">
    /// No package client, no such package, no network, or no room.
    /// </exception>
    internal async Task<StoredKernel> FetchAsync(string package, CancellationToken cancellation)
    {
        if (!HostCommand.Exists("apt-get") || !HostCommand.Exists("dpkg-deb"))
        {
            throw new HullException(
                "no kernel in Hull's store, and this host has no apt-get to fetch Debian's: " +
                "name a kernel (hull run path/to/bzImage)");
        }

        CheckName(package);
        string image = await ResolveAsync(package, cancellation).ConfigureAwait(false);
        try
        {
            using StoreDraft draft = new(_root);
            return await FetchIntoAsync(package, image, draft, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new HullException($"cannot write Hull's kernel store {_root}: {e.Message}", e);
        }
    }

    private async Task<StoredKernel> FetchIntoAsync(
        string requested,
        string image,
        StoreDraft draft,
        CancellationToken cancellation)
    {
        string file = await _packages.DownloadAsync(image, draft.Folder, cancellation).ConfigureAwait(false);

        // NAME_VERSION_ARCHITECTURE.deb, with the colon of an epoch as %3a.
        string[] parts = Path.GetFileNameWithoutExtension(file).Split('_');
        string version = parts.Length > 1 ? Uri.UnescapeDataString(parts[1]) : "0";
        StoredKernel kernel = new(
            image,
            version,
            requested,
            Path.Combine(_root, $"{image}_{version.Replace(':', '%')}"));
        if (StoredKernel.TryRead(kernel.Folder) is { } present)
        {
            return present;
        }

        _progress?.Report($"unpacking {image} {version}");
        await KernelUnpacker.UnpackAsync(file, draft.Content, cancellation).ConfigureAwait(false);
        kernel.WriteOrigin(draft.Content);
        cancellation.ThrowIfCancellationRequested();
        try
        {
            Directory.Move(draft.Content, kernel.Folder);
        }
        catch (IOException) when (StoredKernel.TryRead(kernel.Folder) is not null)
        {
            // Another Hull was faster; its directory is as good.
        }

        return kernel;
    }

    private async Task<string> ResolveAsync(string package, CancellationToken cancellation)
    {
        string? image = await _packages.FindDependencyAsync(package, ImagePrefix, cancellation).ConfigureAwait(false);
        return image ?? package;
    }

    private static void CheckName(string package)
    {
        foreach (char one in package)
        {
            if (!char.IsAsciiLetterOrDigit(one) && one is not ('-' or '+' or '.'))
            {
                throw new HullException($"'{package}' is no package name");
            }
        }
    }
}
