using System.Globalization;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Hull.Boot;
using Hull.Cli.Guest;
using Hull.Cli.Store;

namespace Hull.Cli.Xen;

/// <summary>
/// Xen, Debian's generic kernel as its PV dom0, and a RAM disk with the toolstack: Hull's own initramfs with more files and a
/// script that starts Xen's daemons. In it lies a small guest, ready for `xl create`.
/// </summary>
internal sealed record Dom0Image
{
    private const string HypervisorPackage = "xen-hypervisor-4.17-amd64";
    private const string HypervisorFile = "/boot/xen-4.17-amd64.gz";

    /// <summary>Xen, as packaged.</summary>
    internal required string Hypervisor { get; init; }

    /// <summary>The kernel of dom0 and of the guest, as packaged.</summary>
    internal required string Kernel { get; init; }

    /// <summary>
    /// The kernel as dom0 gets it: unpacked by the host, which Xen would do for a third of the start. As packaged where the host cannot.
    /// </summary>
    internal required BootBlob Dom0Kernel { get; init; }

    /// <summary>The RAM disk: its first part and what follows it.</summary>
    internal required BootBlob[] Initrd { get; init; }

    /// <summary>Xen's words. It polls COM1: dom0 has a port of its own, COM3, on the same interrupt.</summary>
    internal static string HypervisorWords(string more) =>
        $"placeholder console=com1 com1=115200,8n1,0x3f8,0 loglvl=all guest_loglvl=all dom0_mem=640M,max:640M {more}".TrimEnd();

    /// <summary>The dom0 kernel's words.</summary>
    internal static string KernelWords => "console=hvc0 panic=-1";

    /// <summary>Finds or fetches the parts.</summary>
    /// <param name="settings">What dom0's init is to do.</param>
    /// <param name="cancellation">Ends a download.</param>
    /// <exception cref="Hull.Host.HullException">A part is missing and cannot be had.</exception>
    internal static async Task<Dom0Image> PrepareAsync(GuestSettings settings, CancellationToken cancellation)
    {
        XdgDirectories directories = XdgDirectories.FromEnvironment();
        GuestImage.Progress progress = new();
        CachedFiles files = new(new DiskBootCache(directories));
        PackageStore packages = new(directories, progress);
        string hypervisor = await packages.GetAsync(HypervisorPackage, cancellation).ConfigureAwait(false);
        StoredKernel kernel = await new KernelStore(directories, progress)
            .GetAsync(KernelStore.GenericPackage, cancellation).ConfigureAwait(false);
        InitramfsBase foundation = await new InitramfsStore(files, new HostPackages(progress))
            .GetBaseAsync(cancellation).ConfigureAwait(false);
        return new Dom0Image
        {
            Hypervisor = hypervisor + HypervisorFile,
            Kernel = kernel.KernelPath,
            Dom0Kernel = Unpack(kernel, files),
            Initrd = await new Dom0RamDisk(files, packages, kernel)
                .GetAsync(foundation, settings, cancellation).ConfigureAwait(false),
        };
    }

    /// <summary>As a machine boots it.</summary>
    /// <param name="more">The user's words for Xen.</param>
    internal GuestImage ToGuest(string more) => new()
    {
        Kernel = BootBlob.FromFile(Hypervisor),
        Devices = [],
        Initrd = [],
        Modules =
        [
            new BootModule(Dom0Kernel, "vmlinuz " + KernelWords),
            new BootModule(Initrd[0], "initrd") { More = Initrd[1..] },
        ],
        CommandLine = HypervisorWords(more),
        Cache = new DiskBootCache(XdgDirectories.FromEnvironment()),
    };

    private static BootBlob Unpack(StoredKernel kernel, CachedFiles files)
    {
        FileInfo packed = new(kernel.KernelPath);
        BootBlob file = BootBlob.FromFile(kernel.KernelPath);
        string key = string.Create(
            CultureInfo.InvariantCulture,
            $"dom0-{Path.GetFileName(kernel.Folder)}-{packed.Length:x}-{packed.LastWriteTimeUtc.Ticks:x}");
        const string name = "dom0's kernel";
        return files.Find(key, name) ?? files.Make(key, name, to => UnpackedKernel.TryWrite(file, to)) ?? file;
    }
}
