using System.Collections.Generic;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Hull.Boot;
using Hull.Boot.Initramfs;
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

    private static readonly string[] Drivers = ["xen_privcmd", "xenfs", "xen_evtchn", "xen_gntdev", "xen_gntalloc"];

    /// <summary>Xen, as packaged.</summary>
    internal required string Hypervisor { get; init; }

    /// <summary>The kernel of dom0 and of the guest.</summary>
    internal required string Kernel { get; init; }

    /// <summary>The RAM disk.</summary>
    internal required byte[] Initrd { get; init; }

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
        PackageStore packages = new(directories, progress);
        string hypervisor = await packages.GetAsync(HypervisorPackage, cancellation).ConfigureAwait(false);
        StoredKernel kernel = await new KernelStore(directories, progress)
            .GetAsync(KernelStore.GenericPackage, cancellation).ConfigureAwait(false);
        InitramfsBuilder stack = new();
        await new Toolstack(packages).AddToAsync(stack, cancellation).ConfigureAwait(false);

        // A kernel of the store has its modules beside it.
        IReadOnlyList<string> modules = new KernelModules(kernel.ModulesPath ?? kernel.Folder).Resolve(Drivers);
        InitramfsStore initramfs = new(new DiskBootCache(directories), new HostPackages(progress));
        byte[] foundation = await initramfs.GetBaseAsync(cancellation).ConfigureAwait(false);
        byte[] domU = [.. foundation, .. new InitramfsBuilder().AddText("/init", GuestImage.Resource("domu.sh")).Build()];
        byte[] bzImage = await File.ReadAllBytesAsync(kernel.KernelPath, cancellation).ConfigureAwait(false);
        InitramfsBuilder own = GuestImage.AddOwnFiles(new InitramfsBuilder(), settings, modules)
            .AddText("/init", GuestImage.Resource("init.sh"))
            .AddText("/hull/prepare", GuestImage.Resource("dom0.sh"))
            .AddText("/etc/xen/domu.cfg", GuestImage.Resource("domu.cfg"))
            .AddText("/etc/xen/xl.conf", "autoballoon=\"off\"\n")
            .AddFile("/boot/domu.cpio", domU)
            .AddFile("/boot/vmlinuz", bzImage);
        return new Dom0Image
        {
            Hypervisor = hypervisor + HypervisorFile,
            Kernel = kernel.KernelPath,
            Initrd = [.. foundation, .. stack.Build(), .. own.Build()],
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
            new BootModule(BootBlob.FromFile(Kernel), "vmlinuz " + KernelWords),
            new BootModule(BootBlob.FromBytes("dom0's RAM disk", Initrd), "initrd"),
        ],
        CommandLine = HypervisorWords(more),
        Cache = new DiskBootCache(XdgDirectories.FromEnvironment()),
    };
}
