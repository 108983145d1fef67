using System;
using System.Collections.Generic;
using System.CommandLine;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text.Json;
using Hull.Cli.Store;
using Hull.Host;
using Spectre.Console;

namespace Hull.Cli.Commands;

/// <summary>How a finding is to be read.</summary>
internal enum FindingGrade
{
    /// <summary>As Hull wants it.</summary>
    Good,

    /// <summary>Hull runs, but something is slower or missing.</summary>
    Note,

    /// <summary>Hull cannot do its main job until this is mended.</summary>
    Bad,
}

/// <summary>One thing that `hull doctor` looked at.</summary>
/// <param name="Topic">What.</param>
/// <param name="Grade">How good.</param>
/// <param name="Found">What was found.</param>
/// <param name="Fix">What to do; null when there is nothing to do.</param>
internal sealed record Finding(string Topic, FindingGrade Grade, string Found, string? Fix = null);

/// <summary>What `hull doctor -o json` prints.</summary>
internal sealed record DoctorReport(bool CanRun, IReadOnlyList<Finding> Findings);

/// <summary>`hull doctor`: what this host offers, and how to mend what is missing.</summary>
internal static class DoctorCommand
{
    private static readonly (string Name, string Use, bool Needed)[] Packages =
    [
        ("busybox-static", "Hull's own initramfs", true),
        ("liblzma5", "kernels packed with xz", false),
        ("libzstd1", "kernels packed with zstd", false),
        ("liblz4-1", "kernels packed with lz4", false),
    ];

    internal static Command Create(string[] guestCommand)
    {
        _ = guestCommand;
        Option<OutputForm> form = OutputForms.CreateOption();
        Command command = new("doctor", "Looks at what this host offers, and says how to mend what is missing.") { form };
        command.SetAction(result => Show(result.GetValue(form)));
        return command;
    }

    private static int Show(OutputForm form)
    {
        List<Finding> findings = [Processor(), Vectors(), Kvm(), Memory(), .. Packages.Select(Package), Client(), Kernel()];
        DoctorReport report = new(findings.TrueForAll(finding => finding.Grade != FindingGrade.Bad), findings);
        if (form == OutputForm.Json)
        {
            Notice.Result(JsonSerializer.Serialize(report, CliJson.Default.DoctorReport));
        }
        else
        {
            ShowTable(report);
        }

        return report.CanRun ? ExitStatus.Success : 1;
    }

    private static void ShowTable(DoctorReport report)
    {
        Table table = new Table().Border(TableBorder.None).HideHeaders().AddColumns("", "", "");
        foreach (Finding finding in report.Findings)
        {
            string grade = finding.Grade switch
            {
                FindingGrade.Good => "[green]ok[/]",
                FindingGrade.Note => "[yellow]note[/]",
                _ => "[red]BAD[/]",
            };
            string fix = finding.Fix is null ? "" : $"\n[bold]fix:[/] {Markup.Escape(finding.Fix)}";
            table.AddRow(grade, Markup.Escape(finding.Topic), Markup.Escape(finding.Found) + fix);
        }

        if (!StandardStream.Output.IsTerminal)
        {
            // No terminal, no width to fold at.
            AnsiConsole.Profile.Width = 250;
        }

        AnsiConsole.Write(table);
    }

    private static Finding Processor()
    {
        string model = FirstValue("/proc/cpuinfo", "model name") ?? "unknown processor";
        HashSet<string> flags = Flags();
        string level = !flags.IsSupersetOf(["ssse3", "sse4_2", "popcnt"]) ? "x86-64-v1"
            : !flags.IsSupersetOf(["avx2", "bmi2", "fma", "abm"]) ? "x86-64-v2"
            : !flags.IsSupersetOf(["avx512vl", "avx512bw", "avx512dq"]) ? "x86-64-v3"
            : "x86-64-v4";
        string found = string.Create(CultureInfo.InvariantCulture, $"{model}, {Environment.ProcessorCount} processors, {level}");
        return level == "x86-64-v1"
            ? new Finding("cpu", FindingGrade.Bad, found, "the soft engine needs x86-64-v2 (SSE4.2, POPCNT): use a newer host")
            : new Finding("cpu", FindingGrade.Good, found);
    }

    private static Finding Vectors()
    {
        HashSet<string> flags = Flags();
        string[] sets = ["aes", "pclmulqdq", "avx", "avx2", "fma", "bmi1", "bmi2", "abm", "avx512f"];
        string[] absent = [.. sets.Where(set => !flags.Contains(set))];
        string found = string.Join(' ', sets.Where(flags.Contains))
            + (absent.Length > 0 ? $" (not: {string.Join(' ', absent)})" : "");
        return new Finding("cpu features", flags.Contains("avx2") ? FindingGrade.Good : FindingGrade.Note, found);
    }

    // The kernel's names; natively compiled code does not know its host's features.
    private static HashSet<string> Flags() => [.. (FirstValue("/proc/cpuinfo", "flags") ?? "").Split(' ')];

    // A /dev/kvm that opens may still run guest kernels in an emulator: it is measured.
    private static Finding Kvm()
    {
        string[] flags = (FirstValue("/proc/cpuinfo", "flags") ?? "").Split(' ');
        bool hardware = flags.Contains("vmx") || flags.Contains("svm");
        switch (KvmProbe.Look())
        {
            case KvmState.Absent:
                return new Finding(
                    KvmProbe.Device, FindingGrade.Note, "not there; the soft engine does without",
                    hardware
                        ? $"sudo modprobe {(flags.Contains("svm") ? "kvm_amd" : "kvm_intel")}"
                        : "none here: the CPU shows neither VMX nor SVM (switched off in the firmware, or this is a guest)");
            case KvmState.NotPermitted:
                return new Finding(
                    KvmProbe.Device, FindingGrade.Note, "there, but not for this user; the soft engine does without",
                    KvmProbe.HowToPermit());
            case KvmState.Broken:
                return new Finding(
                    KvmProbe.Device, FindingGrade.Note,
                    $"there, but makes no virtual machine ({KvmVerdict.Find(null, out _).Reason}); the soft engine does without");
            default:
                // Measured anew: whoever asks the doctor has doubts.
                KvmVerdict verdict = KvmVerdict.Find(null, out _);
                string without = hardware ? "" : "; this CPU shows neither VMX nor SVM";
                return verdict.IsUsable
                    ? new Finding(KvmProbe.Device, FindingGrade.Good, $"--engine auto takes it: {verdict.Reason}")
                    : new Finding(
                        KvmProbe.Device, FindingGrade.Note,
                        $"--engine auto does not take it: {verdict.Reason}{without}; the soft engine does without");
        }
    }

    private static Finding Memory()
    {
        long available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes >> 20;
        string found = string.Create(CultureInfo.InvariantCulture, $"{available} MiB");
        return available >= 1024
            ? new Finding("memory", FindingGrade.Good, found)
            : new Finding("memory", FindingGrade.Note, found, "give guests less than the default: -m 256M");
    }

    private static Finding Package((string Name, string Use, bool Needed) package)
    {
        if (HostPackages.IsInstalled(package.Name))
        {
            return new Finding(package.Name, FindingGrade.Good, $"installed ({package.Use})");
        }

        FindingGrade grade = package.Needed ? FindingGrade.Bad : FindingGrade.Note;
        return new Finding(package.Name, grade, $"missing ({package.Use})", $"sudo apt-get install {package.Name}");
    }

    private static Finding Client() => HostCommand.Exists("apt-get") && HostCommand.Exists("dpkg-deb")
        ? new Finding("package client", FindingGrade.Good, "apt-get")
        : new Finding(
            "package client", FindingGrade.Note, "no apt-get: Hull cannot fetch a kernel", "name one: hull run path/to/bzImage");

    private static Finding Kernel()
    {
        StoredKernel? kernel = new KernelStore(XdgDirectories.FromEnvironment()).FindNewest();
        return kernel is null
            ? new Finding("kernel", FindingGrade.Note, "none in the store; the first 'hull run' fetches one")
            : new Finding("kernel", FindingGrade.Good, $"{kernel.Package} {kernel.Version}");
    }

    private static string? FirstValue(string path, string key)
    {
        string? line = File.ReadLines(path).FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal));
        int colon = line?.IndexOf(':', StringComparison.Ordinal) ?? -1;
        return colon < 0 ? null : line![(colon + 1)..].Trim(); // not null: it has a colon
    }
}
