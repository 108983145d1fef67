using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Hull.Host;

namespace Hull.Cli.Store;

/// <summary>
/// The host's package client: tells what is installed, installs what Hull needs, and fetches packages without
/// installing them. Where packages come from is the host's own configuration.
/// </summary>
internal sealed class HostPackages(IProgress<string>? progress = null)
{
    private static readonly string[] WaitForLock = ["-o", "DPkg::Lock::Timeout=120", "-q"];

    /// <summary>
    /// True when dpkg has the package installed. Looks for its check sums, which go when it is removed (the list
    /// of files may stay); starts no program.
    /// </summary>
    internal static bool IsInstalled(string package) =>
        File.Exists($"/var/lib/dpkg/info/{package}.md5sums") ||
        File.Exists($"/var/lib/dpkg/info/{package}:amd64.md5sums");

    /// <summary>
    /// Makes sure that packages are there, and installs what is missing when Hull runs as root.
    /// </summary>
    /// <exception cref="HullException">
    /// Not root, no apt-get, or the installation failed; says what to run.
    /// </exception>
    internal async Task EnsureAsync(IReadOnlyList<string> packages, CancellationToken cancellation)
    {
        List<string> missing = [];
        foreach (string package in packages)
        {
            if (!IsInstalled(package))
            {
                missing.Add(package);
            }
        }

        if (missing.Count == 0)
        {
            return;
        }

        string names = string.Join(' ', missing);
        if (!HostCommand.Exists("apt-get"))
        {
            throw new HullException($"this host lacks {names} and has no apt-get: install them with its own client");
        }

        if (!Environment.IsPrivilegedProcess)
        {
            throw new HullException($"this host lacks {names}: run: sudo apt-get install {names}");
        }

        progress?.Report($"installing {names}");
        string[] arguments = ["install", "-y", "--no-install-recommends", .. WaitForLock, .. missing];
        CommandResult result = await HostCommand.RunAsync("apt-get", arguments, null, cancellation).ConfigureAwait(false);
        if (result.ExitCode != 0)
        {
            // Lists that are empty or old are the common reason; they are worth one more try.
            await UpdateAsync(cancellation).ConfigureAwait(false);
            result = await HostCommand.RunAsync("apt-get", arguments, null, cancellation).ConfigureAwait(false);
        }

        if (result.ExitCode != 0)
        {
            throw new HullException($"apt-get cannot install {names}: {result.Reason}");
        }
    }

    /// <summary>
    /// The first dependency whose name starts with a prefix; null when the package has none such.
    /// </summary>
    /// <exception cref="HullException">The package client does not know the package.</exception>
    internal async Task<string?> FindDependencyAsync(string package, string prefix, CancellationToken cancellation)
    {
        string[] arguments = ["depends", "--", package];
        CommandResult result = await HostCommand.RunAsync("apt-cache", arguments, null, cancellation).ConfigureAwait(false);
        if (result.ExitCode != 0 || result.Output.Length == 0)
        {
            await UpdateForAsync(package, result, cancellation).ConfigureAwait(false);
            result = await HostCommand.RunAsync("apt-cache", arguments, null, cancellation).ConfigureAwait(false);
        }

        if (result.ExitCode != 0 || result.Output.Length == 0)
        {
            throw new HullException($"the package client knows no package {package}: {result.Reason}");
        }

        foreach (string line in result.Output.Split('\n'))
        {
            const string mark = "Depends: ";
            string text = line.Trim().TrimStart('|');
            if (text.StartsWith(mark + prefix, StringComparison.Ordinal))
            {
                return text[mark.Length..].Trim();
            }
        }

        return null;
    }

    /// <summary>
    /// Downloads a package file into a directory, without installing it; root is not needed.
    /// </summary>
    /// <returns>The path of the file.</returns>
    /// <exception cref="HullException">It cannot be downloaded.</exception>
    internal async Task<string> DownloadAsync(string package, string directory, CancellationToken cancellation)
    {
        progress?.Report($"downloading {package}");
        string[] arguments = ["download", "-q", "--", package];
        CommandResult result = await HostCommand.RunAsync("apt-get", arguments, directory, cancellation)
            .ConfigureAwait(false);
        if (result.ExitCode != 0)
        {
            await UpdateForAsync(package, result, cancellation).ConfigureAwait(false);
            result = await HostCommand.RunAsync("apt-get", arguments, directory, cancellation).ConfigureAwait(false);
        }

        string[] files = Directory.GetFiles(directory, "*.deb");
        return result.ExitCode == 0 && files.Length == 1
            ? files[0]
            : throw new HullException($"cannot download package {package}: {result.Reason}");
    }

    // Lists that are empty or old, or no network: the client's own words tell, and only root can renew the lists.
    private async Task UpdateForAsync(string package, CommandResult failure, CancellationToken cancellation)
    {
        if (!Environment.IsPrivilegedProcess)
        {
            throw new HullException(
                $"the package client cannot give {package}: {failure.Reason}; " +
                "if its lists are old, run: sudo apt-get update, then try again");
        }

        await UpdateAsync(cancellation).ConfigureAwait(false);
    }

    private async Task UpdateAsync(CancellationToken cancellation)
    {
        progress?.Report("updating package lists");
        CommandResult result = await HostCommand.RunAsync("apt-get", ["update", "-q"], null, cancellation)
            .ConfigureAwait(false);
        if (result.ExitCode != 0)
        {
            throw new HullException($"apt-get update failed: {result.Reason}");
        }
    }
}
