using System;
using System.Globalization;
using System.IO;
using System.Security.Cryptography;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Hull.Boot;
using Hull.Boot.Initramfs;
using Hull.Cli.Guest;
using Hull.Cli.Store;

namespace Hull.Cli.Xen;

/// <summary>
/// The RAM disk of dom0 in two parts: what is the same in every run (Hull's base, the toolstack, the small guest, drivers), kept in
/// the cache, and what the run is to do.
/// </summary>
internal sealed class Dom0RamDisk(CachedFiles files, PackageStore packages, StoredKernel kernel)
{
    // Raise it when what is built changes.
    private const int Layout = 2;
    private const string Name = "dom0's RAM disk";

    private static readonly string[] Drivers =
        ["xen_privcmd", "xenfs", "xen_evtchn", "xen_gntdev", "xen_gntalloc", "loop", "xen_blkback"];

    private static readonly string[] GuestDrivers = ["xen_blkfront"];

    // Part of Hull that goes into what is kept.
    private static readonly string[] Resources = ["domu.sh", "domu.cfg", "block.sh"];

    /// <summary>Both parts.</summary>
    /// <param name="foundation">Hull's base.</param>
    /// <param name="settings">What dom0's init is to do.</param>
    /// <param name="cancellation">Ends a download.</param>
    /// <exception cref="Hull.Host.HullException">A part is missing and cannot be had.</exception>
    internal async Task<BootBlob[]> GetAsync(InitramfsBase foundation, GuestSettings settings, CancellationToken cancellation)
    {
        BootBlob shared = await files.GetAsync(Key(foundation), Name, () => BuildAsync(foundation.Archive, cancellation))
            .ConfigureAwait(false);
        InitramfsBuilder own = GuestImage.AddOwnFiles(new InitramfsBuilder(), settings)
            .AddText("/init", GuestImage.Resource("init.sh"))
            .AddText("/hull/prepare", GuestImage.Resource("dom0.sh"));
        return [shared, BootBlob.FromBytes("Hull's init", own.Build())];
    }

    // Hull's base; packages in the store, by their versions; the kernel; the host's own libraries, of which the toolstack takes
    // what no package has.
    private string Key(InitramfsBase foundation)
    {
        StringBuilder inputs = new(foundation.Key);
        inputs.Append('\n');
        foreach (string folder in packages.List())
        {
            Add(inputs, folder, Directory.GetLastWriteTimeUtc(folder));
        }

        foreach (string folder in Toolstack.HostDirectories)
        {
            Add(inputs, folder, Directory.GetLastWriteTimeUtc(folder)); // changes with every file that comes or goes
        }

        Add(inputs, kernel.KernelPath, File.GetLastWriteTimeUtc(kernel.KernelPath));
        foreach (string resource in Resources)
        {
            inputs.Append(GuestImage.Resource(resource));
        }

        byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes(inputs.ToString()));
        return $"dom0-{Layout}-{Convert.ToHexStringLower(hash.AsSpan(0, 8))}";
    }

    private static void Add(StringBuilder inputs, string path, DateTime changed) =>
        inputs.Append(path).Append('\n').Append(changed.Ticks.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private async Task<byte[]> BuildAsync(BootBlob foundation, CancellationToken cancellation)
    {
        byte[] start = ReadAll(foundation);
        InitramfsBuilder builder = new();
        await new Toolstack(packages).AddToAsync(builder, cancellation).ConfigureAwait(false);

        // A kernel of the store has its modules beside it.
        KernelModules modules = new(kernel.ModulesPath ?? kernel.Folder);
        InitramfsBuilder guest = GuestImage.AddModules(new InitramfsBuilder(), modules.Resolve(GuestDrivers))
            .AddText("/init", GuestImage.Resource("domu.sh"));
        byte[] domU = [.. start, .. guest.Build()];
        GuestImage.AddModules(builder, modules.Resolve(Drivers))
            .AddText("/etc/xen/scripts/block", GuestImage.Resource("block.sh"))
            .AddText("/etc/xen/domu.cfg", GuestImage.Resource("domu.cfg"))
            .AddText("/etc/xen/xl.conf", "autoballoon=\"off\"\n")
            .AddFile("/boot/domu.cpio", domU)
            .AddFile("/boot/vmlinuz", await File.ReadAllBytesAsync(kernel.KernelPath, cancellation).ConfigureAwait(false));
        return [.. start, .. builder.Build()];
    }

    private static byte[] ReadAll(BootBlob blob)
    {
        using MemoryStream content = new();
        blob.CopyTo(content);
        return content.ToArray();
    }
}
