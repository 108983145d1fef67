using System;
using System.Collections.Generic;
using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Hull.Cli.Control;
using Hull.Host;

namespace Hull.Cli.Commands;

/// <summary>`hull ps`: the guests that run and have a name.</summary>
internal static class PsCommand
{
    internal static Command Create(string[] guestCommand)
    {
        _ = guestCommand;
        Option<OutputForm> form = OutputForms.CreateOption();
        Command command = new("ps", "Lists the running guests that have a name (hull run --name).") { form };
        command.SetAction(result => Show(result.GetValue(form)));
        return command;
    }

    private static int Show(OutputForm form)
    {
        List<GuestReport> guests = [];
        foreach (string name in GuestFolder.Names())
        {
            if (TryFind(name) is { } guest)
            {
                guests.Add(guest);
            }
        }

        Notice.Result(form == OutputForm.Json ? JsonSerializer.Serialize([.. guests], CliJson.Default.GuestReportArray) : ToText(guests));
        return ExitStatus.Success;
    }

    // One that ends just now is not there.
    private static GuestReport? TryFind(string name)
    {
        try
        {
            return ControlClient.TryAsk(name, new ControlRequest { Verb = "status" })?.Guest;
        }
        catch (HullException)
        {
            return null;
        }
    }

    private static string ToText(List<GuestReport> guests)
    {
        StringBuilder text = new($"{"NAME",-20} {"PID",8} {"UP",10} {"MEMORY",8} {"CPUS",5} ENGINE");
        foreach (GuestReport guest in guests)
        {
            string up = TimeSpan.FromSeconds((long)guest.Seconds).ToString(null, CultureInfo.InvariantCulture);
            string memory = string.Create(CultureInfo.InvariantCulture, $"{guest.MemoryBytes >> 20}M");
            text.Append(CultureInfo.InvariantCulture, $"\n{guest.Name,-20} {guest.Pid,8} {up,10} {memory,8} {guest.Vcpus,5} {guest.Engine}");
        }

        return text.ToString();
    }
}
