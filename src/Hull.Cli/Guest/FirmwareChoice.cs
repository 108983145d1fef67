using System;
using System.IO;
using System.Threading;
using Hull.Cli.Run;
using Hull.Cli.Store;
using Hull.Devices.Virtio;
using Hull.Host;
using Hull.Storage;

namespace Hull.Cli.Guest;

/// <summary>Whether a run starts with firmware, and with which.</summary>
internal static class FirmwareChoice
{
    /// <summary>SeaBIOS.</summary>
    internal const string Bios = "bios";

    private const string Uefi = "uefi";

    /// <summary>
    /// The request with its firmware: the user's, or SeaBIOS (with --xen GRUB, which is the guest's kernel there) for a run that has a disk, and neither a kernel nor anything
    /// that only Hull's own kernel and initramfs give.
    /// </summary>
    /// <exception cref="HullException">The request has what firmware does not take, or a disk that does not boot.</exception>
    internal static RunRequest AddTo(RunRequest request, CancellationToken cancellation)
    {
        bool hasDisk = Array.Exists(request.Devices, static device => device is DiskSpec);
        bool wantsKernel = request.Kernel is not null || request.Initrd is not null || request.Root is not null
            || request.Append is not null || request.Command.Length > 0 || request.Modules.Length > 0;
        if (request.Firmware is null)
        {
            if (!hasDisk || wantsKernel)
            {
                return request;
            }

            if (request.Xen)
            {
                FirmwareStore store = new(XdgDirectories.FromEnvironment(), new GuestImage.Progress());
                return request with { Kernel = store.FindXenGrub(cancellation), Initrd = RunRequest.NoInitrd };
            }

            request = request with { Firmware = Bios };
        }
        else if (wantsKernel)
        {
            throw new HullException(
                "--firmware boots what is on a disk: leave out KERNEL, --initrd, --append, --module, --root and '-- COMMAND'");
        }

        if (request.Firmware == Uefi)
        {
            throw new HullException("--firmware uefi is not built yet: --firmware bios, or name a ROM file");
        }

        if (request.Firmware == Bios && hasDisk)
        {
            CheckBoots(request);
        }

        return request;
    }

    /// <summary>The ROM's file.</summary>
    /// <exception cref="HullException">It cannot be had.</exception>
    internal static string FindFile(
        string firmware, XdgDirectories directories, IProgress<string> progress, CancellationToken cancellation) =>
        firmware == Bios ? new FirmwareStore(directories, progress).FindBios(cancellation)
        : File.Exists(firmware) ? firmware
        : throw new HullException($"--firmware {firmware}: give bios, uefi or the file of a ROM");

    private static void CheckBoots(RunRequest request)
    {
        DiskSpec? first = null;
        foreach (Devices.DeviceSpec device in request.Devices)
        {
            if (device is DiskSpec disk)
            {
                if (BootRecord.Exists(disk.File, disk.Format, disk.Backing))
                {
                    return;
                }

                first ??= disk;
            }
        }

        throw new HullException(
            $"{first!.File} has no boot sector, so a BIOS cannot start from it: for a shell in Hull's own guest with this disk " +
            "as /dev/vda give '-- sh', for a bootable Debian disk: hull image debian FILE");
    }
}
