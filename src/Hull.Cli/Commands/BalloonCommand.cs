using System.CommandLine;
using System.Globalization;
using Hull.Cli.Control;
using Hull.Host;

namespace Hull.Cli.Commands;

/// <summary>`hull balloon`: how much memory a running guest keeps.</summary>
internal static class BalloonCommand
{
    internal static Command Create(string[] guestCommand)
    {
        _ = guestCommand;
        Argument<string> name = new("NAME") { Description = "The guest; it needs --device balloon." };
        Argument<string?> size = new("SIZE")
        {
            Description = "What it is to keep: 256M, 1G. Without it: only shows what it has.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        Command command = new("balloon", "Takes memory from a running guest, or gives it back; shows what it has.") { name, size };
        command.SetAction(result => Run(result.GetRequiredValue(name), result.GetValue(size)));
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
}
