using System;
using System.CommandLine;
using System.IO;
using Hull.Host;
using Hull.Storage;
using Hull.Storage.Qcow2;

namespace Hull.Cli.Commands;

/// <summary>`hull image`: makes, copies and looks at disk images.</summary>
internal static class ImageCommand
{
    internal static Command Create(string[] guestCommand)
    {
        _ = guestCommand;
        return new Command("image", "Makes, copies and looks at disk images, raw and qcow2.")
        {
            CreateCreate(), CreateInfo(), CreateConvert(), CreateCheck(), CreateResize(), ImageDebianCommand.Create(),
        };
    }

    /// <summary>Reads "10G", "512M", "64K", "2T" or a number of bytes.</summary>
    /// <exception cref="HullException">It is none.</exception>
    internal static ulong ReadSize(string text)
    {
        bool isBare = text.Length > 0 && char.IsAsciiDigit(text[^1]);
        if (isBare && ulong.TryParse(text, System.Globalization.NumberStyles.None, null, out ulong plain))
        {
            return plain;
        }

        return !isBare && ByteSize.TryParse(text, out ulong bytes)
            ? bytes
            : throw new HullException($"'{text}' is no size: give 10G, 512M, 64K or a number of bytes");
    }

    private static Command CreateCreate()
    {
        Argument<string> file = new("FILE") { Description = "The new image; one that is there is emptied." };
        Argument<string?> size = new("SIZE")
        {
            Description = "Its size: 10G, 512M; a bare number is bytes. Without it: that of the backing file.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        Option<string> format = FormatOption("--format", "-f", "The image's format. Without it: by its ending.");
        Option<string?> backing = new("--backing", "-b")
        {
            Description = "The image below: what is not written is read from it. Relative to the new image's folder.",
            HelpName = "FILE",
        };
        Option<string> backingFormat = FormatOption("--backing-format", "-F", "The format of the image below. Without it: by its ending.");
        NewImageOptions options = new();
        Command command = new("create", "Makes an empty image.")
        {
            file, size, format, backing, backingFormat, options.ClusterSize, options.Subclusters, options.Zstd, options.Version2,
        };
        command.SetAction(result => Run(() =>
        {
            string? text = result.GetValue(size);
            DiskTool.Create(
                result.GetRequiredValue(file), ReadFormat(result.GetValue(format)), text is null ? null : ReadSize(text),
                options.Read(result) with
                {
                    BackingFile = result.GetValue(backing),
                    BackingFormat = ReadFormat(result.GetValue(backingFormat)),
                });
            return ExitStatus.Success;
        }));
        return command;
    }

    private static Command CreateInfo()
    {
        Argument<string> file = new("FILE") { Description = "The image." };
        Option<string> format = FormatOption("--format", "-f", "Its format. Without it: by its ending.");
        Option<OutputForm> form = OutputForms.CreateOption();
        Command command = new("info", "Tells what an image is.") { file, format, form };
        command.SetAction(result => Run(() =>
        {
            DiskReport report = DiskTool.Inspect(result.GetRequiredValue(file), ReadFormat(result.GetValue(format)));
            ImageReports.Show(report, result.GetValue(form));
            return ExitStatus.Success;
        }));
        return command;
    }

    private static Command CreateConvert()
    {
        Argument<string> from = new("FROM") { Description = "The image to copy." };
        Argument<string> to = new("TO") { Description = "The new image; one that is there is emptied." };
        Option<string> fromFormat = FormatOption("--from-format", "-f", "The format of FROM. Without it: by its ending.");
        Option<string> format = FormatOption("--format", "-O", "The format of TO. Without it: by its ending.");
        Option<bool> allow = AllowBackingOption();
        Option<string?> snapshot = new("--snapshot", "-l")
        {
            Description = "Copies a snapshot inside FROM, by its name or number.",
            HelpName = "NAME",
        };
        NewImageOptions options = new();
        Command command = new("convert", "Copies a disk into a new image; zeros take no space.")
        {
            from, to, fromFormat, format, allow, snapshot, options.ClusterSize, options.Subclusters, options.Zstd, options.Version2,
        };
        command.SetAction(result => Run(() =>
        {
            DiskSource source = new(
                result.GetRequiredValue(from), ReadFormat(result.GetValue(fromFormat)), result.GetValue(allow), result.GetValue(snapshot));
            bool done = Interruption.TryRun(
                token =>
                {
                    ImageReports.WithProgress(progress => DiskTool.Convert(
                        source, result.GetRequiredValue(to), ReadFormat(result.GetValue(format)), options.Read(result), progress, token));
                    return true;
                },
                out _,
                out int stopped);
            return done ? ExitStatus.Success : stopped;
        }));
        return command;
    }

    private static Command CreateCheck()
    {
        Argument<string> file = new("FILE") { Description = "The image; nobody else may use it." };
        Option<string> format = FormatOption("--format", "-f", "Its format. Without it: by its ending.");
        Option<string> repair = new("--repair", "-r")
        {
            Description = "Mends: leaks (unused clusters) or all (wrong counts too).",
            HelpName = "leaks|all",
        };
        repair.AcceptOnlyFromAmong("leaks", "all");
        Option<OutputForm> form = OutputForms.CreateOption();
        Command command = new("check", "Looks for contradictions. Status 0: none, 2: errors, 3: only unused clusters, 63: not for this format.")
        {
            file, format, repair, form,
        };
        command.SetAction(result => Run(() =>
        {
            Qcow2Repair wanted = result.GetValue(repair) switch
            {
                "leaks" => Qcow2Repair.Leaks,
                "all" => Qcow2Repair.All,
                _ => Qcow2Repair.None,
            };
            string path = result.GetRequiredValue(file);
            Qcow2Findings? findings = DiskTool.Check(path, ReadFormat(result.GetValue(format)), wanted);
            return ImageReports.Show(path, findings, result.GetValue(form));
        }));
        return command;
    }

    private static Command CreateResize()
    {
        Argument<string> file = new("FILE") { Description = "The image." };
        Argument<string> size = new("SIZE") { Description = "The new size, as in 20G, or a change, as in +5G." };
        Option<string> format = FormatOption("--format", "-f", "Its format. Without it: by its ending.");
        Option<bool> shrink = new("--shrink") { Description = "What is behind the new end may be lost." };
        Option<bool> allow = AllowBackingOption();
        Command command = new("resize", "Gives a disk another size.") { file, size, format, shrink, allow };
        command.SetAction(result => Run(() =>
        {
            string text = result.GetRequiredValue(size);
            Func<ulong, ulong> change = text[..Math.Min(text.Length, 1)] switch
            {
                "+" when ReadSize(text[1..]) is var more => old => checked(old + more),
                "-" when ReadSize(text[1..]) is var less => old => old > less ? old - less : 0,
                _ when ReadSize(text) is var all => _ => all,
                _ => old => old,
            };
            DiskTool.Resize(
                result.GetRequiredValue(file), ReadFormat(result.GetValue(format)), change, result.GetValue(shrink), result.GetValue(allow));
            return ExitStatus.Success;
        }));
        return command;
    }

    private static Option<string> FormatOption(string name, string letter, string description)
    {
        Option<string> option = new(name, letter) { Description = description, HelpName = "raw|qcow2" };
        option.AcceptOnlyFromAmong("raw", "qcow2");
        return option;
    }

    private static Option<bool> AllowBackingOption() => new("--allow-backing")
    {
        Description = "The files may be read that the image names as those below it: only for images that you trust.",
    };

    private static DiskFormat ReadFormat(string? name) => name switch
    {
        "raw" => DiskFormat.Raw,
        "qcow2" => DiskFormat.Qcow2,
        _ => DiskFormat.ByEnding,
    };

    private static int Run(Func<int> action)
    {
        try
        {
            return action();
        }
        catch (IOException e)
        {
            throw new HullException(e.Message, e);
        }
    }

    /// <summary>How a new qcow2 image is to be: options that `create` and `convert` share.</summary>
    private sealed class NewImageOptions
    {
        internal Option<string?> ClusterSize { get; } = new("--cluster-size")
        {
            Description = "Bytes of a cluster, 512 to 2M. Without it: 64K.",
            HelpName = "SIZE",
        };

        internal Option<bool> Subclusters { get; } = new("--subclusters")
        {
            Description = "Divides each cluster in 32: small writes over a backing file copy less.",
        };

        internal Option<bool> Zstd { get; } = new("--zstd") { Description = "Clusters that are packed later are packed with zstd." };

        internal Option<bool> Version2 { get; } = new("--version-2") { Description = "For programs before 2013." };

        internal Qcow2Options Read(ParseResult result) => new()
        {
            ClusterSize = result.GetValue(ClusterSize) is { } size ? (int)Math.Min(ReadSize(size), int.MaxValue) : 0,
            ExtendedL2 = result.GetValue(Subclusters),
            Zstd = result.GetValue(Zstd),
            Version2 = result.GetValue(Version2),
        };
    }
}
