using System;
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Hull.Cli.Run;

namespace Hull.Cli.Commands;

/// <summary>`hull run`: arguments to a <see cref="RunRequest"/>.</summary>
internal static class RunCommand
{
    internal static Command Create(string[] guestCommand)
    {
        Argument<string?> kernel = new("KERNEL")
        {
            Description = "The kernel: a bzImage or an ELF vmlinux. Without it: the build tree here, else Debian's cloud kernel.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        kernel.Validators.Add(RefuseOption);
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
            Description = "Virtual processors. Without it: 1.",
            HelpName = "N",
        };
        Option<EngineKind> engine = new("--engine")
        {
            Description = "What runs the guest's code: auto, soft (binary translation) or kvm.",
            HelpName = "auto|soft|kvm",
            CustomParser = ParseEngine,
        };
        Option<TimeSpan?> timeout = new("--timeout")
        {
            Description = "Stop after this time, with status 124.",
            HelpName = "SECONDS",
            CustomParser = ParseSeconds,
        };
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
        Option<string?> name = new("--name")
        {
            Description = "A name for the machine.",
            HelpName = "NAME",
        };

        Command command = new("run", "Runs a guest. With '-- COMMAND...' runs that in the guest and exits with its status.")
        {
            kernel, initrd, append, memory, vcpus, engine, timeout, deterministic, checkpoints, blockLimit, name,
        };
        command.SetAction(result => GuestRun.Execute(new RunRequest
        {
            Kernel = result.GetValue(kernel),
            Initrd = result.GetValue(initrd),
            Append = result.GetValue(append),
            MemoryBytes = result.GetValue(memory) ?? RunRequest.DefaultMemory,
            VcpuCount = result.GetValue(vcpus) ?? 1,
            Engine = result.GetValue(engine),
            Timeout = result.GetValue(timeout),
            Deterministic = result.GetValue(deterministic),
            Checkpoints = result.GetValue(checkpoints),
            BlockLimit = result.GetValue(blockLimit),
            Name = result.GetValue(name),
            Command = guestCommand,
        }));
        return command;
    }

    /// <summary>Reads "512M", "1G", "65536K" or "512" (MiB).</summary>
    /// <returns>False when it is no size, or does not fit.</returns>
    internal static bool TryParseSize(string text, out ulong bytes)
    {
        int shift = text.Length == 0 ? 0 : char.ToUpperInvariant(text[^1]) switch
        {
            'K' => 10,
            'M' => 20,
            'G' => 30,
            'T' => 40,
            _ => 0,
        };
        string digits = shift == 0 ? text : text[..^1];
        shift = shift == 0 ? 20 : shift;
        bool parsed = ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong count);
        bytes = parsed && count <= ulong.MaxValue >> shift ? count << shift : 0;
        return bytes > 0;
    }

    // The parser takes an option that it does not know for the kernel.
    private static void RefuseOption(ArgumentResult result)
    {
        if (result.Tokens.Count > 0 && result.Tokens[0].Value.StartsWith('-'))
        {
            result.AddError($"unknown option {result.Tokens[0].Value}");
        }
    }

    private static ulong? ParseSize(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (!TryParseSize(text, out ulong bytes))
        {
            result.AddError($"-m '{text}' is no size: give 512M, 1G or a number of MiB");
        }

        return bytes;
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

    private static TimeSpan? ParseSeconds(ArgumentResult result)
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
