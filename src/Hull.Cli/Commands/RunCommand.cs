using System;
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Hull.Cli.Guest;
using Hull.Cli.Run;
using Hull.Devices;
using Hull.Engine;
using Hull.Host;

namespace Hull.Cli.Commands;

/// <summary>`hull run`: arguments to a <see cref="RunRequest"/>.</summary>
internal static class RunCommand
{
    internal static Command Create(string[] guestCommand)
    {
        Argument<string?> kernel = new("KERNEL")
        {
            Description = "The kernel: a bzImage, a Multiboot kernel or an ELF vmlinux. Without it: the build tree here, else Debian's cloud kernel.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        kernel.Validators.Add(RefuseOption);
        Option<string?> firmware = new("--firmware")
        {
            Description = "Firmware that boots from the disks: bios (SeaBIOS), uefi, or the file of a ROM. "
                + "Without it: bios, for a run with a disk and neither a kernel nor a command.",
            HelpName = "bios|uefi|FILE",
        };
        Option<string?> initrd = new("--initrd")
        {
            Description = "The initial RAM disk, or 'none'. Without it: Hull's own, with busybox.",
            HelpName = "FILE",
        };
        Option<string?> append = new("--append")
        {
            Description = "Words to add to the kernel's command line.",
            HelpName = "WORDS",
        };
        Option<ulong?> memory = new("--memory", "-m")
        {
            Description = "Guest memory: 512M, 1G; a bare number is MiB. Without it: 512M.",
            HelpName = "SIZE",
            CustomParser = ParseSize,
        };
        Option<int?> vcpus = new("--cpus", "-c")
        {
            Description = $"Virtual processors, 1 to {MachineSpec.MaximumVcpus}. Without it: 1.",
            HelpName = "N",
        };
        Option<EngineKind> engine = new("--engine")
        {
            Description = "What runs the guest's code: soft (binary translation), kvm, or auto: kvm where it is measured to be good.",
            HelpName = "auto|soft|kvm",
            CustomParser = ParseEngine,
        };
        Option<CpuModel?> cpu = new("--cpu")
        {
            Description = "The CPU that the guest sees: host-safe, x86-64-v1, -v2 or -v3, then +FEATURE or -FEATURE with "
                + "names as in /proc/cpuinfo, as in 'v3,-avx2,+sha_ni'. Without it: host-safe.",
            HelpName = "MODEL[,+FEATURE|-FEATURE]...",
            CustomParser = ParseCpu,
        };
        Option<TimeSpan?> timeout = new("--timeout")
        {
            Description = "Stop after this time, with status 124.",
            HelpName = "SECONDS",
            CustomParser = ParseSeconds,
        };
        Option<string[]> modules = new("--module")
        {
            Description = "A module for a Multiboot kernel: a file, and the words that the kernel is told. May be repeated.",
            HelpName = "'FILE [WORDS]'",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = false,
        };
        Option<DeviceSpec[]> disks = new("--disk")
        {
            Description = "A disk: an image or block device, then format=raw or qcow2, readonly, backing, serial=S, queues=N, persistent-grants (with --xen). May be repeated.",
            HelpName = "FILE[,NAME=VALUE]...",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = false,
            CustomParser = result => ParseAll(result, DeviceText.ParseDisk),
        };
        Option<DeviceSpec[]> pmems = new("--pmem")
        {
            Description = "A file as persistent memory, /dev/pmem0: the guest has its pages themselves. With readonly it is shared, "
                + "and what the guest writes is gone at the end. May be repeated.",
            HelpName = "FILE[,readonly]",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = false,
            CustomParser = result => ParseAll(result, DeviceText.ParsePmem),
        };
        Option<ShareRequest[]> shares = new("--share")
        {
            Description = "A folder of the host's, in the guest below /mnt, or where it is with --root host. May be repeated.",
            HelpName = "DIR[:TAG][:ro]",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = false,
            CustomParser = result => ParseAll(result, ShareRequest.Parse),
        };
        Option<string?> root = new("--root")
        {
            Description = "The guest's root is a view of the host's, or of a folder; what the guest writes is gone at the end.",
            HelpName = "host|DIR",
        };
        Option<DeviceSpec[]> devices = new("--device")
        {
            Description = $"A device: {string.Join(", ", DeviceText.Kinds)}. May be repeated.",
            HelpName = "KIND[,NAME=VALUE]...",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = false,
            CustomParser = result => ParseAll(result, DeviceText.Parse),
        };
        Option<string[]> nets = new("--net")
        {
            Description = "A network card: on the user's own network (user), on a tap device, or none. Then mac=M, mtu=N, queues=N. "
                + "May be repeated. Without it: user, for a console and for --publish.",
            HelpName = "user|none|tap=NAME",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = false,
        };
        Option<string[]> publish = new("--publish", "-p")
        {
            Description = "A port of the host that leads to one of the guest's. May be repeated.",
            HelpName = "[ADDRESS:]HOST:GUEST[/udp]",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = false,
        };
        Option<string?> pcap = new("--pcap")
        {
            Description = "Writes the first network card's frames to a file, for Wireshark and tcpdump.",
            HelpName = "FILE",
        };
        Option<ushort?> exitPort = new("--exit-port")
        {
            Description = "A guest's write of V to this port (or the next three) ends Hull with status 2V+1 (modulo 256).",
            HelpName = "PORT",
            CustomParser = ParsePort,
        };
        Option<bool> testDevice = new("--testdev")
        {
            Description = "Adds the ports and memory of QEMU's pc-testdev, for test kernels.",
        };
        Option<bool> stat = new("--stat")
        {
            Description = "At the end, prints what the engine counted, on standard error (with -o json as one line).",
        };
        Option<OutputForm> form = OutputForms.CreateOption();
        Option<bool> deterministic = new("--deterministic")
        {
            Description = "Virtual time, driven by the guest's instructions: every run is the same. One vCPU.",
        };
        Option<string?> checkpoints = new("--checkpoints")
        {
            Description = "With --deterministic: hashes of the state go to a file: FILE[,from=NS][,every=NS][,until=NS][,ram=no].",
            HelpName = "FILE",
        };
        Option<int?> blockLimit = new("--block-limit")
        {
            Description = "Guest instructions in a translated block at the most; 1 for comparisons with single steps.",
            HelpName = "N",
        };
        Option<bool> xen = new("--xen")
        {
            Description = "The guest finds Xen 4.17: it boots by PVH, with Xen's console, events, clock and store.",
        };
        Option<string?> trace = new("--trace")
        {
            Description = "With --xen: a line for each hypercall, with its arguments and result, on standard error or in a file.",
            HelpName = "hypercalls[,file=FILE]",
        };
        Option<string?> name = new("--name")
        {
            Description = "A name for the machine.",
            HelpName = "NAME",
        };

        Command command = new("run", "Runs a guest. With '-- COMMAND...' runs that in the guest and exits with its status.")
        {
            kernel, firmware, initrd, append, memory, vcpus, engine, cpu, timeout, deterministic, checkpoints, blockLimit, xen, trace, name,
            disks, pmems, devices, nets, publish, pcap, shares, root, modules, exitPort, testDevice, stat, form,
        };
        command.SetAction(result => GuestRun.Execute(new RunRequest
        {
            Kernel = result.GetValue(kernel),
            Firmware = result.GetValue(firmware),
            Initrd = result.GetValue(initrd),
            Append = result.GetValue(append),
            MemoryBytes = result.GetValue(memory) ?? RunRequest.DefaultMemory,
            VcpuCount = result.GetValue(vcpus) ?? 1,
            Engine = result.GetValue(engine),
            Cpu = result.GetValue(cpu) ?? CpuModel.HostSafe,
            Timeout = result.GetValue(timeout),
            Deterministic = result.GetValue(deterministic),
            Checkpoints = result.GetValue(checkpoints),
            BlockLimit = result.GetValue(blockLimit),
            Xen = result.GetValue(xen),
            Trace = result.GetValue(trace),
            Name = result.GetValue(name),
            Devices = [.. result.GetValue(disks) ?? [], .. result.GetValue(pmems) ?? [], .. result.GetValue(devices) ?? []],
            Nets = result.GetValue(nets) ?? [],
            Publish = result.GetValue(publish) ?? [],
            Pcap = result.GetValue(pcap),
            Shares = result.GetValue(shares) ?? [],
            Root = result.GetValue(root),
            Modules = result.GetValue(modules) ?? [],
            ExitPort = result.GetValue(exitPort),
            TestDevice = result.GetValue(testDevice),
            Stat = result.GetValue(stat) || Environment.GetEnvironmentVariable("HULL_STAT") == "1",
            StatForm = result.GetValue(form),
            Command = guestCommand,
        }));
        return command;
    }

    // The parser takes an option that it does not know for the kernel.
    private static void RefuseOption(ArgumentResult result)
    {
        if (result.Tokens.Count > 0 && result.Tokens[0].Value.StartsWith('-'))
        {
            result.AddError($"unknown option {result.Tokens[0].Value}");
        }
    }

    internal static ulong? ParseSize(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (!ByteSize.TryParse(text, out ulong bytes))
        {
            result.AddError($"-m '{text}' is no size: give 512M, 1G or a number of MiB");
        }

        return bytes;
    }

    /// <summary>Reads "0xf4" or "244".</summary>
    internal static bool TryParsePort(string text, out ushort port) =>
        text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ushort.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out port)
            : ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port);

    private static ushort? ParsePort(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (!TryParsePort(text, out ushort port))
        {
            result.AddError($"--exit-port '{text}' is no port: give a number up to 0xffff (0xf4)");
        }

        return port;
    }

    private static T[]? ParseAll<T>(ArgumentResult result, Func<string, T> parse)
    {
        try
        {
            return Array.ConvertAll([.. result.Tokens], token => parse(token.Value));
        }
        catch (HullException e)
        {
            result.AddError(e.Message);
            return null;
        }
    }

    private static EngineKind ParseEngine(ArgumentResult result)
    {
        switch (result.Tokens[0].Value)
        {
            case "auto":
                return EngineKind.Auto;
            case "soft":
                return EngineKind.Soft;
            case "kvm":
                return EngineKind.Kvm;
            default:
                result.AddError($"--engine '{result.Tokens[0].Value}': give auto, soft or kvm");
                return EngineKind.Auto;
        }
    }

    private static CpuModel? ParseCpu(ArgumentResult result)
    {
        try
        {
            return CpuModel.Parse(result.Tokens[0].Value);
        }
        catch (HullException e)
        {
            result.AddError(e.Message);
            return null;
        }
    }

    internal static TimeSpan? ParseSeconds(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double seconds)
            && seconds is > 0 and < 1e7)
        {
            return TimeSpan.FromSeconds(seconds);
        }

        result.AddError($"--timeout '{text}': give a number of seconds above 0");
        return null;
    }
}
