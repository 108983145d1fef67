using System.Collections.Generic;
using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Hull.Cli.Control;
using Hull.Devices;
using Hull.Host;

namespace Hull.Cli.Commands;

/// <summary>`hull balloon`: how much memory a running guest keeps.</summary>
internal static class BalloonCommand
{
    private const double LongestWaitSeconds = 5;

    internal static Command Create(string[] guestCommand)
    {
        _ = guestCommand;
        Argument<string> name = new("NAME") { Description = "The guest; it needs --device balloon." };
        Argument<string?> size = new("SIZE")
        {
            Description = "What it is to keep: 256M, 1G. Without it: only shows what it has.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        Option<bool> statistics = new("--statistics") { Description = "Shows what the guest says of its memory: total, free, caches, swap, faults." };
        Option<OutputForm> form = OutputForms.CreateOption();
        Command command = new("balloon", "Takes memory from a running guest, or gives it back; shows what it has.")
        {
            name, size, statistics, form,
        };
        command.SetAction(result => result.GetValue(statistics)
            ? ShowStatistics(result.GetRequiredValue(name), result.GetValue(size), result.GetValue(form))
            : Run(result.GetRequiredValue(name), result.GetValue(size)));
        return command;
    }

    private static int Run(string name, string? size)
    {
        ulong bytes = 0;
        if (size is not null && !ByteSize.TryParse(size, out bytes))
        {
            throw new HullException($"'{size}' is no size: give 256M, 1G or a number of MiB");
        }

        ControlAnswer answer = ControlClient.Ask(name, new ControlRequest { Verb = "balloon", Bytes = size is null ? null : bytes });
        if (size is null)
        {
            Notice.Result(string.Create(CultureInfo.InvariantCulture, $"{answer.Bytes >> 20}M"));
        }

        return ExitStatus.Success;
    }

    private static int ShowStatistics(string name, string? size, OutputForm form)
    {
        if (size is not null)
        {
            throw new HullException("--statistics only shows: leave the size out");
        }

        GuestMemoryStatistics memory = ControlClient.Ask(name, new ControlRequest { Verb = "memory", Seconds = LongestWaitSeconds }).Memory
            ?? throw new HullException($"{name} does not say: it is of another version of Hull");
        Notice.Result(form == OutputForm.Json
            ? JsonSerializer.Serialize(memory, CliJson.Default.GuestMemoryStatistics)
            : string.Join('\n', Lines(memory)));
        return ExitStatus.Success;
    }

    private static IEnumerable<string> Lines(GuestMemoryStatistics memory)
    {
        (string Name, ulong? Value, bool IsBytes)[] rows =
        [
            ("total", memory.Total, true), ("free", memory.Free, true), ("available", memory.Available, true), ("caches", memory.Caches, true),
            ("swapped in", memory.SwappedIn, true), ("swapped out", memory.SwappedOut, true),
            ("major faults", memory.MajorFaults, false), ("minor faults", memory.MinorFaults, false),
        ];
        foreach ((string name, ulong? value, bool isBytes) in rows)
        {
            if (value is { } known)
            {
                yield return string.Create(CultureInfo.InvariantCulture, $"{name} {(isBytes ? known >> 20 : known)}{(isBytes ? "M" : "")}");
            }
        }
    }
}
