using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Hull.Boot.Initramfs;
using Hull.Cli.Store;
using Hull.Host;

namespace Hull.Cli.Xen;

/// <summary>
/// Debian's own Xen toolstack as files for dom0: its programs, and the libraries that they need, found as the dynamic linker
/// does. Nothing of it is run on the host.
/// </summary>
internal sealed class Toolstack(PackageStore packages)
{
    /// <summary>Where Debian keeps the programs.</summary>
    internal const string Directory = "/usr/lib/xen-4.17/bin";

    private const string Utilities = "xen-utils-4.17";
    private const string StoreUtilities = "xenstore-utils";
    private const string Libraries = "libxenmisc4.17";
    private const string LibraryDirectory = "/usr/lib/x86_64-linux-gnu";
    private const string Linker = "/lib64/ld-linux-x86-64.so.2";

    // Loaded by name at run time, when a thread is cancelled.
    private const string CompilerSupport = "libgcc_s.so.1";

    private static readonly string[] Programs =
    [
        "libxl-save-helper", "lsevtchn", "test-cpu-policy", "test-paging-mempool", "test-resource", "test-tsx",
        "test-xenstore", "xen-cpuid", "xen-diag", "xen-init-dom0", "xenconsole", "xenconsoled", "xenctx", "xenpm",
        "xenstore-control", "xenstored", "xentop", "xl",
    ];

    /// <summary>Where the host's own libraries are.</summary>
    internal static readonly string[] HostDirectories =
        [LibraryDirectory, "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64"];

    private readonly List<string> _folders = [];
    private readonly HashSet<string> _libraries = new(StringComparer.Ordinal);

    /// <summary>Adds programs and libraries to an initial file system.</summary>
    /// <exception cref="HullException">A package cannot be had, or lacks what it should hold.</exception>
    internal async Task AddToAsync(InitramfsBuilder builder, CancellationToken cancellation)
    {
        string utilities = await packages.GetAsync(Utilities, cancellation).ConfigureAwait(false);
        string store = await packages.GetAsync(StoreUtilities, cancellation).ConfigureAwait(false);
        _folders.Add(await packages.GetAsync(Libraries, cancellation).ConfigureAwait(false));
        foreach (string program in Programs)
        {
            string path = Directory + "/" + program;
            await AddAsync(builder, path, utilities + path, cancellation).ConfigureAwait(false);
        }

        // One program with many names; /usr/bin is /bin in Hull's initramfs.
        await AddAsync(builder, "/bin/xenstore", store + "/usr/bin/xenstore", cancellation).ConfigureAwait(false);
        foreach (string path in System.IO.Directory.GetFileSystemEntries(store + "/usr/bin", "xenstore-*"))
        {
            builder.AddLink("/bin/" + Path.GetFileName(path), "xenstore");
        }

        await AddLibraryAsync(builder, CompilerSupport, cancellation).ConfigureAwait(false);
        builder.AddFile(Linker, Read(Linker));
    }

    /// <summary>The package that Debian's policy names a library's after: libyajl.so.2 is in libyajl2.</summary>
    internal static string PackageOf(string library)
    {
        string[] parts = library.Split(".so.");
        string name = parts[0];
        string version = parts.Length > 1 ? parts[1] : "";
        string separator = name.Length > 0 && char.IsAsciiDigit(name[^1]) ? "-" : "";
        return (name + separator + version).Replace('_', '-').ToLowerInvariant();
    }

    private async Task AddAsync(InitramfsBuilder builder, string path, string file, CancellationToken cancellation)
    {
        byte[] content = Read(file);
        builder.AddFile(path, content);
        foreach (string library in ElfDynamic.ReadNeeded(file, content))
        {
            await AddLibraryAsync(builder, library, cancellation).ConfigureAwait(false);
        }
    }

    private async Task AddLibraryAsync(InitramfsBuilder builder, string library, CancellationToken cancellation)
    {
        // The linker itself is the program's interpreter.
        if (Linker.EndsWith(library, StringComparison.Ordinal) || !_libraries.Add(library))
        {
            return;
        }

        string? file = Find(library);
        if (file is null)
        {
            _folders.Add(await packages.GetAsync(PackageOf(library), cancellation).ConfigureAwait(false));
            file = Find(library) ?? throw new HullException($"the package {PackageOf(library)} has no {library}");
        }

        await AddAsync(builder, $"{LibraryDirectory}/{library}", file, cancellation).ConfigureAwait(false);
    }

    private string? Find(string library)
    {
        foreach (string folder in _folders)
        {
            string file = $"{folder}{LibraryDirectory}/{library}";
            if (File.Exists(file))
            {
                return file;
            }
        }

        string? directory = Array.Find(HostDirectories, directory => File.Exists(Path.Combine(directory, library)));
        return directory is null ? null : Path.Combine(directory, library);
    }

    private static byte[] Read(string file)
    {
        try
        {
            return File.ReadAllBytes(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new HullException($"cannot read {file}, a part of Xen's toolstack: {e.Message}", e);
        }
    }
}
