using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Threading;
using Hull.Cli.Guest;
using Hull.Cli.Store;
using Hull.Host;
using Hull.Storage;
using Hull.Storage.Qcow2;

namespace Hull.Cli.Debian;

/// <summary>
/// Builds a Debian disk: mmdebstrap makes the system from the host's own package sources, mke2fs copies it into the
/// image, and the system's first start, in a guest, installs the boot loader with Debian's own tools. Root is not needed
/// where mmdebstrap can use a user namespace. See docs/firmware.md.
/// </summary>
internal sealed class DebianImage : IDisposable
{
    private const ulong Sector = 512;
    private const ulong BootStart = 2048;
    private const ulong RootStart = 4096;
    private const ulong Alignment = 2048;
    private static readonly string[] HostTools = ["mmdebstrap", "e2fsprogs", "fdisk"];

    // Gives a user's namespace its users.
    private const string NamespaceTools = "uidmap";

    private static readonly string[] Packages =
    [
        "linux-image-cloud-amd64", "grub-pc", "systemd-sysv", "systemd-resolved", "libnss-resolve", "dbus", "udev", "kmod",
        "openssh-server", "ca-certificates", "iproute2", "iputils-ping", "procps", "e2fsprogs", "less", "nano",
    ];

    private readonly DebianRequest _request;
    private readonly Action<string, double> _step;
    private readonly CancellationToken _cancellation;
    private readonly DraftFolder _folder;

    private DebianImage(DebianRequest request, Action<string, double> step, CancellationToken cancellation)
    {
        _request = request;
        _step = step;
        _cancellation = cancellation;
        _folder = new DraftFolder(request.File);
    }

    private string Disk => _folder["disk.raw"];

    /// <summary>Builds the image.</summary>
    /// <param name="request">What it is to be.</param>
    /// <param name="step">Is told what happens, and the share of the work that is done.</param>
    /// <param name="cancellation">Ends it; nothing is left behind.</param>
    /// <exception cref="HullException">A step failed; says which and why.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    internal static void Build(DebianRequest request, Action<string, double> step, CancellationToken cancellation)
    {
        // The ending is looked at before minutes are spent.
        DiskFormat format = DiskTool.FormatOf(request.File);
        new HostPackages(new GuestImage.Progress()).EnsureAsync(
            Environment.IsPrivilegedProcess ? HostTools : [.. HostTools, NamespaceTools], cancellation).GetAwaiter().GetResult();
        try
        {
            using DebianImage image = new(request, step, cancellation);
            image.Prepare();
            image.Populate();
            image.InstallBootLoader();
            image.Finish(format);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new HullException($"cannot build {request.File}: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _folder.Dispose();

    /// <summary>The files of the host's package sources that have a release of Debian.</summary>
    internal static List<string> FindSources(string folder, string suite)
    {
        List<string> files = [];
        string parts = Path.Combine(folder, "sources.list.d");
        IEnumerable<string> all = Directory.Exists(parts) ? Directory.GetFiles(parts).Order(StringComparer.Ordinal) : [];
        foreach (string file in all.Prepend(Path.Combine(folder, "sources.list")))
        {
            if (Path.GetExtension(file) is ".list" or ".sources" && File.Exists(file)
                && File.ReadLines(file).Any(line => !line.StartsWith('#') && line.Split([' ', ':'], StringSplitOptions.RemoveEmptyEntries).Contains(suite))
                && File.ReadLines(file).Any(static line => !line.StartsWith('#') && line.Contains("/debian", StringComparison.Ordinal)))
            {
                files.Add(file);
            }
        }

        return files;
    }

    private void Prepare()
    {
        _step("partitioning the disk", 0);
        _folder.Write("setup", GuestImage.Resource("debian-setup.sh"));
        _folder.Write("populate", GuestImage.Resource("debian-populate.sh"));
        _folder.Write("keys", _request.Keys);
        _folder.Write("apt", AptSettings());
        using (FileStream disk = File.Create(Disk))
        {
            disk.SetLength((long)_request.Size);
        }

        // A partition for the boot loader, whose type sfdisk knows by its GUID only, and one for the rest.
        _folder.Write("partitions", string.Create(
            CultureInfo.InvariantCulture,
            $"label: gpt\nstart={BootStart}, size={RootStart - BootStart}, type=21686148-6449-6E6F-744E-656564454649\n" +
            $"start={RootStart}, size={RootSectors}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709\n"));
        Run("sfdisk", "sh", ["-c", "exec sfdisk -q \"$1\" <\"$2\"", "sh", Disk, _folder["partitions"]]);
    }

    // The backup of the partition table takes the last 33 sectors.
    private ulong RootSectors => ((_request.Size / Sector) - RootStart - Alignment) / Alignment * Alignment;

    private void Populate()
    {
        Dictionary<string, string> environment = new()
        {
            ["HULL_OFFSET"] = (RootStart * Sector).ToString(CultureInfo.InvariantCulture),
            ["HULL_SIZE"] = (RootSectors / 2).ToString(CultureInfo.InvariantCulture),
            ["HULL_OUT"] = _folder.Name,
            ["HULL_HOSTNAME"] = _request.HostName,
        };
        List<string> arguments =
        [
            Environment.IsPrivilegedProcess ? "--mode=root" : "--mode=unshare",
            "--verbose", "--variant=minbase", "--format=null",
            "--include=" + string.Join(',', Packages.Concat(_request.Include)),
            "--customize-hook=cd \"$HULL_OUT\" && exec sh populate \"$1\"",
            _request.Suite, "/dev/null",
        ];
        arguments.AddRange(FindSources("/etc/apt", _request.Suite));

        // Root's mmdebstrap mounts /proc and more in the new system, on the host: in a namespace of its own they go with it, however it ends.
        // As a group of processes, since mmdebstrap alone does not listen while its children work.
        arguments.InsertRange(0, Environment.IsPrivilegedProcess ? ["unshare", "--mount", "--", "mmdebstrap"] : ["mmdebstrap"]);
        BootstrapProgress progress = new(_step);
        _folder.Open();
        CommandResult result = HostCommand.FollowAsync("setsid", arguments, environment, progress.Follow, _cancellation)
            .GetAwaiter().GetResult();
        _folder.Close();
        if (result.ExitCode != 0 || !File.Exists(_folder["vmlinuz"]))
        {
            throw new HullException($"mmdebstrap cannot make the system: {progress.Error ?? result.Reason}");
        }
    }

    private void InstallBootLoader()
    {
        _step("installing the boot loader, in a guest", 0.9);
        string hull = Environment.ProcessPath ?? throw new HullException("cannot find Hull's own program: is /proc mounted?");
        CommandResult result = HostCommand.RunAsync(
            hull,
            [
                "run", _folder["vmlinuz"], "--initrd", _folder["initrd"],
                "--disk", Disk, "--net", "none", "--timeout", "600",
                "--append", "root=/dev/vda2 rw quiet init=/hull-setup",
            ],
            null,
            _cancellation).GetAwaiter().GetResult();
        if (result.ExitCode != 0 || !result.Output.Contains("hull-setup: done", StringComparison.Ordinal))
        {
            throw new HullException(
                $"the guest could not install the boot loader (status {result.ExitCode}): {result.Reason}\n{result.Output}");
        }
    }

    private void Finish(DiskFormat format)
    {
        _cancellation.ThrowIfCancellationRequested();
        _step("writing the image", 0.95);
        if (format == DiskFormat.Raw && _folder.IsBeside)
        {
            File.Move(Disk, _request.File, overwrite: true);
            return;
        }

        // Beside the image, so that it is there whole or not at all.
        string draft = _request.File + ".draft";
        DiskTool.Convert(new DiskSource(Disk, DiskFormat.Raw), draft, format, new Qcow2Options(), null);
        File.Move(draft, _request.File, overwrite: true);
    }

    // What the host's package client needs to reach its sources, the guest's needs too: a proxy, leave for old dates.
    private static string AptSettings()
    {
        CommandResult dump = HostCommand.RunAsync("apt-config", ["dump"], null, CancellationToken.None).GetAwaiter().GetResult();
        IEnumerable<string> lines = dump.Output.Split('\n').Where(static line =>
            (line.StartsWith("Acquire::http", StringComparison.Ordinal) || line.StartsWith("Acquire::Check-", StringComparison.Ordinal))
            && !line.EndsWith(" \"\";", StringComparison.Ordinal));
        return string.Concat(lines.Select(static line => line + "\n"));
    }

    private void Run(string what, string program, IReadOnlyList<string> arguments)
    {
        CommandResult result = HostCommand.RunAsync(program, arguments, null, _cancellation).GetAwaiter().GetResult();
        if (result.ExitCode != 0)
        {
            throw new HullException($"{what} failed: {result.Reason}");
        }
    }
}
