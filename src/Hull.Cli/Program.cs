using System;
using System.CommandLine;
using System.CommandLine.Help;
using Hull.Cli.Commands;
using Hull.Host;

namespace Hull.Cli;

internal static class Program
{
    // The table of verbs: one row each. A row is made only when its verb, or the list of all, is asked for.
    private static readonly (string Name, Func<string[], Command> Create)[] Verbs =
    [
        ("run", RunCommand.Create),
        ("ps", PsCommand.Create),
        ("stop", StopCommand.Create),
        ("device", DeviceCommand.Create),
        ("balloon", BalloonCommand.Create),
        ("image", ImageCommand.Create),
        ("xen", XenCommand.Create),
        ("version", VersionCommand.Create),
        ("doctor", DoctorCommand.Create),
    ];

    private static int Main(string[] args)
    {
        try
        {
            return Invoke(args);
        }
        catch (HullException e)
        {
            return Fail(e.Message);
        }
#pragma warning disable CA1031 // the process's root: a line, no trace
        catch (Exception e) when (Environment.GetEnvironmentVariable("HULL_DEBUG") != "1")
#pragma warning restore CA1031
        {
            return Fail($"internal error: {e.GetType().Name}: {e.Message} (HULL_DEBUG=1 shows where)");
        }
    }

    private static int Invoke(string[] args)
    {
        // What follows "--" is the guest's business: the parser must not see it.
        int end = Array.IndexOf(args, "--");
        string[] own = end < 0 ? args : args[..end];
        string[] command = end < 0 ? [] : args[(end + 1)..];
        string first = own.Length == 0 ? "--help" : own[0] == "--version" ? "version" : own[0];
        own = [first, .. own.Length > 1 ? own[1..] : []];

        (string Name, Func<string[], Command> Create) verb = Array.Find(Verbs, verb => verb.Name == first);
        if (verb.Name is null && !first.StartsWith('-'))
        {
            return Fail($"there is no verb '{first}' (see: hull --help)");
        }

        if (end >= 0 && (verb.Name is not ("run" or "xen") || command.Length == 0))
        {
            return Fail(command.Length == 0 ? "no command after --" : "only 'hull run' and 'hull xen' take a command after --");
        }

        return Invoke(verb.Name, own, command);
    }

    private static int Invoke(string? verb, string[] own, string[] guestCommand)
    {
        Command root = new("hull", "Runs virtual machines.");
        root.Options.Add(new HelpOption());
        foreach ((string name, Func<string[], Command> create) in Verbs)
        {
            if (verb is null || verb == name)
            {
                root.Subcommands.Add(create(guestCommand));
            }
        }

        ParseResult parsed = root.Parse(own);
        if (parsed.Errors.Count > 0)
        {
            string place = verb is null ? "hull" : $"hull {verb}";
            return Fail($"{parsed.Errors[0].Message.TrimEnd('.')} (see: {place} --help)");
        }

        // Errors and signals are Hull's own business: no handler that prints a stack trace, none for Ctrl-C.
        return parsed.Invoke(new InvocationConfiguration
        {
            EnableDefaultExceptionHandler = false,
            ProcessTerminationTimeout = null,
        });
    }

    private static int Fail(string message)
    {
        Notice.Write(message);
        return ExitStatus.Hull;
    }
}
