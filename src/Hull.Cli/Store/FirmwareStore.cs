using System;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Hull.Host;

namespace Hull.Cli.Store;

/// <summary>
/// Firmware images: the host's, where its package is installed, else from Hull's store in $XDG_DATA_HOME/hull/firmware,
/// fetched there from the package through the host's client. A folder gets its name only when it is complete.
/// </summary>
internal sealed class FirmwareStore(XdgDirectories directories, IProgress<string>? progress = null)
{
    private readonly string _root = Path.Combine(directories.Data, "firmware");

    /// <summary>SeaBIOS, from Debian's package seabios.</summary>
    /// <exception cref="HullException">It is not here, and cannot be had; says what to do.</exception>
    internal string FindBios(CancellationToken cancellation) =>
        Find("seabios", "usr/share/seabios/bios-256k.bin", cancellation);

    /// <summary>GRUB as the kernel of a Xen guest, from Debian's package grub-xen-host: it reads the boot menu on a disk.</summary>
    /// <exception cref="HullException">It is not here, and cannot be had; says what to do.</exception>
    internal string FindXenGrub(CancellationToken cancellation) =>
        Find("grub-xen-host", "usr/lib/grub-xen/grub-i386-xen_pvh.bin", cancellation);

    /// <summary>A file of a package.</summary>
    /// <exception cref="HullException">It is not here, and cannot be had; says what to do.</exception>
    private string Find(string package, string file, CancellationToken cancellation)
    {
        string installed = "/" + file;
        if (File.Exists(installed))
        {
            return installed;
        }

        string stored = Path.Combine(_root, package, file);
        if (!File.Exists(stored))
        {
            FetchAsync(package, file, cancellation).GetAwaiter().GetResult();
        }

        return stored;
    }

    private async Task FetchAsync(string package, string file, CancellationToken cancellation)
    {
        if (!HostCommand.Exists("apt-get") || !HostCommand.Exists("dpkg-deb"))
        {
            throw new HullException($"this host has no firmware /{file} and no apt-get to fetch it: name one (--firmware FILE)");
        }

        try
        {
            using StoreDraft draft = new(_root);
            string archive = await new HostPackages(progress).DownloadAsync(package, draft.Folder, cancellation)
                .ConfigureAwait(false);
            CommandResult result = await HostCommand.RunAsync("dpkg-deb", ["-x", archive, draft.Content], null, cancellation)
                .ConfigureAwait(false);
            if (result.ExitCode != 0 || !File.Exists(Path.Combine(draft.Content, file)))
            {
                throw new HullException($"the package {package} holds no {file}: {result.Reason}");
            }

            Move(draft.Content, Path.Combine(_root, package), file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new HullException($"cannot write Hull's firmware store {_root}: {e.Message}", e);
        }
    }

    private static void Move(string content, string folder, string file)
    {
        try
        {
            Directory.Move(content, folder);
        }
        catch (IOException) when (File.Exists(Path.Combine(folder, file)))
        {
            // Another Hull was faster; its folder is as good.
        }
    }
}
