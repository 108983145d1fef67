using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading;
using Hull.Boot;
using Hull.Boot.Initramfs;
using Hull.Cli.Run;
using Hull.Cli.Store;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Host;

namespace Hull.Cli.Guest;

/// <summary>What a run boots: kernel, RAM disk, command line.</summary>
internal sealed record GuestImage
{
    private const string BuildTreeKernel = "arch/x86/boot/bzImage";

    /// <summary>The kernel; null when firmware starts.</summary>
    internal BootBlob? Kernel { get; init; }

    /// <summary>The firmware; null when a kernel starts.</summary>
    internal BootBlob? Firmware { get; init; }

    /// <summary>The devices: the user's, then those of the shares.</summary>
    internal required IReadOnlyList<DeviceSpec> Devices { get; init; }

    /// <summary>The RAM disk's parts.</summary>
    internal IReadOnlyList<BootBlob> Initrd { get; init; } = [];

    /// <summary>A Multiboot kernel's modules.</summary>
    internal IReadOnlyList<BootModule> Modules { get; init; } = [];

    /// <summary>The kernel's command line.</summary>
    internal string CommandLine { get; init; } = "";

    /// <summary>Keeps unpacked kernels.</summary>
    internal IBootCache? Cache { get; init; }

    /// <summary>Finds or makes the parts; fetches a kernel when there is none.</summary>
    /// <param name="request">What the user asked for.</param>
    /// <param name="settings">For Hull's own init; null boots the user's RAM disk, or none.</param>
    /// <param name="isMultiboot">True when the kernel is no Linux, so that its words are the user's alone.</param>
    /// <param name="cancellation">Ends it, with nothing left behind.</param>
    /// <exception cref="HullException">A part is missing and cannot be had.</exception>
    internal static GuestImage Prepare(
        RunRequest request, GuestSettings? settings, bool isMultiboot, CancellationToken cancellation)
    {
        XdgDirectories directories = XdgDirectories.FromEnvironment();
        Progress progress = new();
        if (request.Firmware is not null)
        {
            return new GuestImage
            {
                Firmware = BootBlob.FromFile(FirmwareChoice.FindFile(request.Firmware, directories, progress, cancellation)),
                Devices = [.. request.Devices, .. SharePlan.Make(request, null).Devices],
            };
        }

        DiskBootCache cache = new(directories);
        string kernel = FindKernel(request, directories, progress, out StoredKernel? stored, cancellation);
        KernelModules? modules = stored?.ModulesPath is string path
            ? new KernelModules(path)
            : KernelModules.FindBeside(kernel);
        SharePlan shares = SharePlan.Make(request, modules);
        DeviceSpec[] devices = [.. request.Devices, .. shares.Devices];
        bool hasPorts = settings is { Mode: GuestMode.Command } && !request.Deterministic;
        return new GuestImage
        {
            Kernel = BootBlob.FromFile(kernel),
            Devices = devices,
            Initrd = settings is not null
                ? OwnInitramfs(
                    settings with { Mounts = shares.Mounts, Root = shares.Root, HasStreamPorts = hasPorts },
                    ModulesFor(request.Xen, devices, request.Name is not null, shares, modules),
                    hasPorts && modules is not null ? modules.Resolve(StreamPorts.Drivers) : [],
                    cache,
                    progress,
                    cancellation)
                : request.Initrd is null or RunRequest.NoInitrd ? [] : [BootBlob.FromFile(request.Initrd)],
            Modules = Array.ConvertAll(request.Modules, ModuleFor),
            CommandLine = isMultiboot
                ? request.Append ?? ""
                : CommandLineFor(request.Append ?? "", request.Xen ? "hvc0" : "ttyS0", quiet: settings is not null),
            Cache = cache,
        };
    }

    /// <summary>The user's words behind those that Hull adds; a parameter that the user names is not added.</summary>
    internal static string CommandLineFor(string append, string console, bool quiet)
    {
        StringBuilder line = new();
        foreach (string word in (ReadOnlySpan<string>)["console=" + console, "panic=-1", quiet ? "quiet" : ""])
        {
            string name = word.Split('=')[0];
            if (name.Length > 0 && !Names(append, name))
            {
                line.Append(word).Append(' ');
            }
        }

        return line.Append(append).ToString().TrimEnd();
    }

    /// <summary>A module from "FILE WORDS": the kernel is told all of it.</summary>
    internal static BootModule ModuleFor(string text)
    {
        int end = text.IndexOf(' ', StringComparison.Ordinal);
        return new BootModule(BootBlob.FromFile(end < 0 ? text : text[..end]), text);
    }

    private static bool Names(string append, string name)
    {
        foreach (string word in append.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (word == name || word.StartsWith(name + "=", StringComparison.Ordinal))
            {
                return true;
            }
        }

        return false;
    }

    private static string FindKernel(
        RunRequest request, XdgDirectories directories, Progress progress, out StoredKernel? stored, CancellationToken cancellation)
    {
        stored = null;
        if (request.Kernel is not null)
        {
            return request.Kernel;
        }

        if (File.Exists(BuildTreeKernel))
        {
            return BuildTreeKernel;
        }

        KernelStore store = new(directories, progress);
        stored = store.FindNewest()
            ?? store.GetAsync(KernelStore.DefaultPackage, cancellation).GetAwaiter().GetResult();
        return stored.KernelPath;
    }

    // Debian's kernels have their drivers as modules; one without modules is taken to have them built in.
    private static IReadOnlyList<string> ModulesFor(
        bool isXen, DeviceSpec[] devices, bool mayGetMore, SharePlan shares, KernelModules? modules)
    {
        if ((devices.Length == 0 && !mayGetMore) || modules is null)
        {
            return [];
        }

        // A guest with a name may get disks and cards while it runs.
        List<string> drivers = ["virtio_pci"];
        if (mayGetMore)
        {
            drivers.AddRange(isXen ? ["xen_blkfront", "xen_netfront"] : ["virtio_blk", "virtio_net"]);
        }

        foreach (DeviceSpec device in devices)
        {
            drivers.AddRange(isXen ? XenDriverOf(device) : device.LinuxDriver.Split(' '));
            if (device.Mmio)
            {
                drivers.Add("virtio_mmio");
            }
        }

        drivers.AddRange(shares.Drivers);
        return modules.Resolve(drivers);
    }

    private static string[] XenDriverOf(DeviceSpec device) => device switch
    {
        DiskSpec => ["xen_blkfront"],
        NetSpec => ["xen_netfront"],
        _ => device.LinuxDriver.Split(' '),
    };

    private static BootBlob[] OwnInitramfs(
        GuestSettings settings,
        IReadOnlyList<string> modules,
        IReadOnlyList<string> streamModules,
        DiskBootCache cache,
        Progress progress,
        CancellationToken cancellation)
    {
        InitramfsBase foundation = new InitramfsStore(new CachedFiles(cache), new HostPackages(progress))
            .GetBaseAsync(cancellation).GetAwaiter().GetResult();
        BootBlob own = InitramfsStore.WithInit(Resource("init.sh"), builder =>
        {
            AddModules(AddOwnFiles(builder, settings), modules);
            AddModules(builder, [.. streamModules.Except(modules)], "streams");
        });
        return [foundation.Archive, own];
    }

    /// <summary>Adds what Hull's init reads besides the base.</summary>
    internal static InitramfsBuilder AddOwnFiles(InitramfsBuilder builder, GuestSettings settings)
    {
        builder.AddText("/hull/linuxrc", Resource("linuxrc.sh"))
            .AddText("/hull/settings", settings.ToShell())
            .AddText("/etc/fstab", Resource("fstab"));
        if (settings.HasNetwork)
        {
            builder.AddText("/hull/dhcp", Resource("dhcp.sh")).AddText("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
        }

        return builder;
    }

    /// <summary>Adds the modules that Hull's init loads: at once, or when a command's streams want them.</summary>
    internal static InitramfsBuilder AddModules(InitramfsBuilder builder, IReadOnlyList<string> modules, string folder = "modules")
    {
        for (int i = 0; i < modules.Count; i++)
        {
            // Numbered: init loads them in the order of their names.
            builder.AddFile($"/hull/{folder}/{i:d3}-{Path.GetFileName(modules[i])}", File.ReadAllBytes(modules[i]));
        }

        return builder;
    }

    /// <summary>A script or file of settings that is part of Hull.</summary>
    internal static string Resource(string name)
    {
        using Stream stream = typeof(GuestImage).Assembly.GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"no resource {name}");
        using StreamReader reader = new(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }

    /// <summary>What takes long, as a notice each.</summary>
    internal sealed class Progress : IProgress<string>
    {
        public void Report(string value) => Notice.Write(value);
    }
}
