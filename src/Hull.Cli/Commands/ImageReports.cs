using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Hull.Host;
using Hull.Storage;
using Hull.Storage.Qcow2;
using Spectre.Console;

namespace Hull.Cli.Commands;

/// <summary>What `hull image check -o json` prints.</summary>
internal sealed record CheckReport(
    string File, int Corruptions, int Leaks, int CorruptionsFixed, int LeaksFixed, long AllocatedClusters, long CompressedClusters,
    IReadOnlyList<string> Messages);

/// <summary>What `hull image` prints.</summary>
internal static class ImageReports
{
    private const int Corrupt = 2;
    private const int Leaked = 3;
    private const int NotForThisFormat = 63;

    /// <summary>Prints what an image is.</summary>
    internal static void Show(DiskReport report, OutputForm form)
    {
        if (form == OutputForm.Json)
        {
            Notice.Result(JsonSerializer.Serialize(report, CliJson.Default.DiskReport));
            return;
        }

        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"file {report.File}\nformat {(report.Format == DiskFormat.Raw ? "raw" : "qcow2")}\n");
        text.Append(CultureInfo.InvariantCulture, $"size {Readable(report.Size)}\non disk {Readable(report.Taken)}");
        if (report.Qcow2 is { } qcow2)
        {
            Append(text, qcow2);
        }

        Notice.Result(text.ToString());
    }

    /// <summary>Prints what a check found.</summary>
    /// <returns>The status, as qemu-img has it.</returns>
    internal static int Show(string path, Qcow2Findings? findings, OutputForm form)
    {
        if (findings is null)
        {
            Notice.Write($"{path} is a raw image: there is nothing to check");
            return NotForThisFormat;
        }

        if (form == OutputForm.Json)
        {
            CheckReport report = new(
                path, findings.Corruptions, findings.Leaks, findings.CorruptionsFixed, findings.LeaksFixed,
                findings.AllocatedClusters, findings.CompressedClusters, findings.Messages);
            Notice.Result(JsonSerializer.Serialize(report, CliJson.Default.CheckReport));
        }
        else
        {
            ShowFindings(findings);
        }

        return findings.Corruptions > 0 ? Corrupt : findings.Leaks > 0 ? Leaked : ExitStatus.Success;
    }

    /// <summary>Runs something that takes its time, with a bar on a terminal.</summary>
    internal static void WithProgress(Action<IProgress<double>?> action)
    {
        if (!StandardStream.Error.IsTerminal)
        {
            action(null);
            return;
        }

        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        console.Progress().AutoClear(true).Start(context =>
        {
            ProgressTask task = context.AddTask("converting", maxValue: 1);
            action(new Share(task));
        });
    }

    /// <summary>Runs something of several steps: a bar on a terminal, else a line a step.</summary>
    internal static void WithSteps(Action<Action<string, double>> action)
    {
        if (!StandardStream.Error.IsTerminal)
        {
            string last = "";
            action((title, _) =>
            {
                if (title != last)
                {
                    last = title;
                    Notice.Write(title);
                }
            });
            return;
        }

        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        console.Progress().AutoClear(true).Start(context =>
        {
            ProgressTask task = context.AddTask("starting", maxValue: 1);
            action((title, share) =>
            {
                task.Description = title.EscapeMarkup();
                task.Value = share;
            });
        });
    }

    private static void Append(StringBuilder text, Qcow2Report report)
    {
        text.Append(CultureInfo.InvariantCulture, $"\nversion {report.Version}, clusters of {report.ClusterSize} bytes");
        text.Append(CultureInfo.InvariantCulture, $"{(report.ExtendedL2 ? " in 32 subclusters" : "")}, ");
        text.Append(CultureInfo.InvariantCulture, $"{report.Compression}, reference counts of {report.RefcountBits} bits");
        if (report.BackingFile is not null)
        {
            text.Append(CultureInfo.InvariantCulture, $"\nstands on {Shown(report.BackingFile)} ({Shown(report.BackingFormat ?? "format not said")})");
        }

        text.Append(report.Dirty ? "\nnot closed: its counts are behind" : "").Append(report.Corrupt ? "\nMARKED AS DAMAGED" : "");
        foreach (SnapshotReport one in report.Snapshots)
        {
            text.Append(CultureInfo.InvariantCulture, $"\nsnapshot {Shown(one.Id)} '{Shown(one.Name)}', {Readable(one.Size)}, {one.Taken:yyyy-MM-dd HH:mm:ss} UTC");
        }

        foreach (BitmapReport one in report.Bitmaps)
        {
            text.Append(CultureInfo.InvariantCulture, $"\nbitmap '{Shown(one.Name)}'{(one.Records ? ", recording" : "")}{(one.Inconsistent ? ", not up to date" : "")}");
        }
    }

    private static void ShowFindings(Qcow2Findings findings)
    {
        StringBuilder text = new();
        foreach (string message in findings.Messages)
        {
            text.Append(message).Append('\n');
        }

        text.Append(findings.Corruptions + findings.Leaks == 0
            ? "no errors"
            : string.Create(CultureInfo.InvariantCulture, $"{findings.Corruptions} errors, {findings.Leaks} unused clusters"));
        if (findings.CorruptionsFixed + findings.LeaksFixed > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"; mended: {findings.CorruptionsFixed} errors, {findings.LeaksFixed} unused clusters");
        }

        text.Append(CultureInfo.InvariantCulture, $"\n{findings.AllocatedClusters} clusters in use, {findings.CompressedClusters} of them packed");
        Notice.Result(text.ToString());
    }

    private static string Readable(ulong bytes)
    {
        string[] units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        double value = bytes;
        int unit = 0;
        while (value >= 1024 && unit < units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return unit == 0
            ? string.Create(CultureInfo.InvariantCulture, $"{bytes} bytes")
            : string.Create(CultureInfo.InvariantCulture, $"{value:0.##} {units[unit]} ({bytes} bytes)");
    }

    // An image's own words, without what a terminal would obey.
    private static string Shown(string text) => string.Concat(Array.ConvertAll(text.ToCharArray(), c => char.IsControl(c) ? '?' : c));

    private sealed class Share(ProgressTask task) : IProgress<double>
    {
        public void Report(double value) => task.Value = value;
    }
}
