using System;
using System.CommandLine;
using System.Threading;
using Hull.Cli.Control;
using Hull.Host;

namespace Hull.Cli.Commands;

/// <summary>`hull stop`: presses the power button, and pulls the plug when the guest does not power off.</summary>
internal static class StopCommand
{
    private const int DefaultSeconds = 30;
    private const int LookMs = 50;

    internal static Command Create(string[] guestCommand)
    {
        _ = guestCommand;
        Argument<string> name = new("NAME") { Description = "The guest." };
        Option<int> time = new("--time", "-t")
        {
            Description = $"Seconds until the plug is pulled. Without it: {DefaultSeconds}.",
            HelpName = "SECONDS",
            DefaultValueFactory = _ => DefaultSeconds,
        };
        Command command = new("stop", "Asks a guest to power off, and ends it when it does not.") { name, time };
        command.SetAction(result => Stop(result.GetRequiredValue(name), result.GetValue(time)));
        return command;
    }

    private static int Stop(string name, int seconds)
    {
        if (seconds < 0)
        {
            throw new HullException($"--time {seconds}: give a number of seconds from 0 on");
        }

        ControlClient.Ask(name, new ControlRequest { Verb = "stop", Seconds = seconds });

        // The plug's own time, and some for what is to be written.
        DateTime end = DateTime.UtcNow + TimeSpan.FromSeconds(seconds + DefaultSeconds);
        while (ControlClient.IsRunning(name))
        {
            if (DateTime.UtcNow > end)
            {
                throw new HullException($"the guest {name} does not end: look at its process (hull ps)");
            }

            Thread.Sleep(LookMs);
        }

        return ExitStatus.Success;
    }
}
