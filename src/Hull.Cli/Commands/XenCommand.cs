using System;
using System.CommandLine;
using System.IO;
using Hull.Boot;
using Hull.Cli.Guest;
using Hull.Cli.Run;
using Hull.Cli.Xen;
using Hull.Host;

namespace Hull.Cli.Commands;

/// <summary>`hull xen`: Xen's own hypervisor, with Debian's dom0 and toolstack, as a guest.</summary>
internal static class XenCommand
{
    private const ulong Memory = 1UL << 30;

    internal static Command Create(string[] guestCommand) => new("xen", "Real Xen with Debian's dom0 and toolstack; and guests that find Xen (hull run --xen --name).")
    {
        CreateDemo(guestCommand), CreateImage(guestCommand),
        XenGuestCommands.CreateView("ports", "Shows the event channels of a running guest.", XenGuestCommands.PortsText),
        XenGuestCommands.CreateView("grants", "Shows the pages that a running guest grants.", XenGuestCommands.GrantsText),
        XenGuestCommands.CreateView("store", "Shows the store as a running guest has it.", XenGuestCommands.StoreText),
        XenGuestCommands.CreateSuspend(), XenGuestCommands.CreateResume(),
    };

    private static Command CreateDemo(string[] guestCommand)
    {
        Option<int?> vcpus = new("--cpus", "-c")
        {
            Description = $"Processors that Xen finds, 1 to {MachineSpec.MaximumVcpus}. Without it: 1.",
            HelpName = "N",
        };
        Option<ulong?> memory = new("--memory", "-m")
        {
            Description = "The machine's memory: 1G, 1536M. dom0 has 640M of it. Without it: 1G.",
            HelpName = "SIZE",
            CustomParser = RunCommand.ParseSize,
        };
        Option<TimeSpan?> timeout = new("--timeout")
        {
            Description = "Stop after this time, with status 124.",
            HelpName = "SECONDS",
            CustomParser = RunCommand.ParseSeconds,
        };
        Option<string?> log = new("--log")
        {
            Description = "Writes what Xen and dom0's kernel say to a file.",
            HelpName = "FILE",
        };
        Option<string?> append = new("--append")
        {
            Description = "Words to add to Xen's command line.",
            HelpName = "WORDS",
        };
        Option<bool> stat = new("--stat") { Description = "At the end, prints what the engine counted, on standard error." };
        Command command = new(
            "demo",
            "Boots Debian's Xen 4.17 and a dom0 with xl, and gives a shell there. With '-- COMMAND...' runs that in dom0 and "
            + "exits with its status. What is missing is fetched with the host's package client.")
        {
            vcpus, memory, timeout, log, append, stat,
        };
        command.SetAction(result => Run(result.GetValue(append) ?? "", new RunRequest
        {
            VcpuCount = result.GetValue(vcpus) ?? 1,
            MemoryBytes = result.GetValue(memory) ?? Memory,
            Timeout = result.GetValue(timeout),
            Log = result.GetValue(log),
            Stat = result.GetValue(stat),
            Name = "dom0",
            Command = guestCommand.Length > 0 ? guestCommand : ["sh", "-l"],
        }));
        return command;
    }

    private static Command CreateImage(string[] guestCommand)
    {
        Argument<string> folder = new("FOLDER") { Description = "Where the files go; it is made." };
        Command command = new(
            "image",
            "Writes what the demonstration boots (xen.gz, vmlinuz and the same kernel unpacked, initrd, and their words) to a folder, for another machine.")
        {
            folder,
        };
        command.SetAction(result => Write(result.GetValue(folder)!, guestCommand)); // the parser insists on it
        return command;
    }

    private static int Run(string more, RunRequest request)
    {
        GuestSettings settings = GuestRun.SettingsFor(request)!; // null only for another RAM disk
        return Interruption.TryRun(
            token => Dom0Image.PrepareAsync(settings, token).GetAwaiter().GetResult(), out Dom0Image? image, out int status)
            ? GuestRun.Execute(request, settings, image.ToGuest(more))
            : status;
    }

    private static int Write(string folder, string[] guestCommand)
    {
        GuestSettings settings = new()
        {
            Mode = GuestMode.Command,
            HostName = "dom0",
            Command = guestCommand.Length > 0 ? guestCommand : ["sh", "-l"],
        };
        if (!Interruption.TryRun(
            token => Dom0Image.PrepareAsync(settings, token).GetAwaiter().GetResult(), out Dom0Image? image, out int status))
        {
            return status;
        }

        try
        {
            Directory.CreateDirectory(folder);
            File.Copy(image.Hypervisor, Path.Combine(folder, "xen.gz"), overwrite: true);
            File.Copy(image.Kernel, Path.Combine(folder, "vmlinuz"), overwrite: true);
            using (FileStream kernel = File.Create(Path.Combine(folder, "vmlinux")))
            {
                image.Dom0Kernel.CopyTo(kernel);
            }

            using (FileStream initrd = File.Create(Path.Combine(folder, "initrd")))
            {
                foreach (BootBlob part in image.Initrd)
                {
                    initrd.Position = (initrd.Position + 3) & ~3L;
                    part.CopyTo(initrd);
                }
            }

            File.WriteAllText(Path.Combine(folder, "words"), Dom0Image.HypervisorWords("") + "\n" + Dom0Image.KernelWords + "\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new HullException($"cannot write {folder}: {e.Message}", e);
        }

        return ExitStatus.Success;
    }
}
