using System;
using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Hull.Cli.Control;
using Hull.Host;
using Hull.Xen;

namespace Hull.Cli.Commands;

/// <summary>The verbs of `hull xen` for a guest of `hull run --xen --name NAME`: what Xen keeps for it, sleep and waking.</summary>
internal static class XenGuestCommands
{
    private const int DefaultSeconds = 10;

    /// <summary>A verb that shows something.</summary>
    internal static Command CreateView(string verb, string description, Func<XenView, string> text)
    {
        Argument<string> name = NameArgument();
        Option<OutputForm> form = OutputForms.CreateOption();
        Command command = new(verb, description) { name, form };
        command.SetAction(result =>
        {
            XenView view = ControlClient.Ask(result.GetRequiredValue(name), new ControlRequest { Verb = "xen" }).Xen
                ?? throw new HullException("the guest's Hull is of another version");
            Notice.Result(result.GetValue(form) == OutputForm.Json
                ? JsonSerializer.Serialize(Only(verb, view), CliJson.Default.XenView)
                : text(view));
            return ExitStatus.Success;
        });
        return command;
    }

    /// <summary>`hull xen suspend`.</summary>
    internal static Command CreateSuspend()
    {
        Argument<string> name = NameArgument();
        Option<int> time = new("--time", "-t")
        {
            Description = $"Seconds to wait for the guest. Without it: {DefaultSeconds}.",
            HelpName = "SECONDS",
            DefaultValueFactory = _ => DefaultSeconds,
        };
        Command command = new("suspend", "Asks a running guest to sleep, as `xl save` does, and waits for it.") { name, time };
        command.SetAction(result =>
        {
            ControlClient.Ask(
                result.GetRequiredValue(name), new ControlRequest { Verb = "suspend", Seconds = result.GetValue(time) });
            return ExitStatus.Success;
        });
        return command;
    }

    /// <summary>`hull xen resume`.</summary>
    internal static Command CreateResume()
    {
        Argument<string> name = NameArgument();
        Command command = new("resume", "Lets a guest that sleeps go on, in a new domain, as `xl restore` does.") { name };
        command.SetAction(result =>
        {
            ControlClient.Ask(result.GetRequiredValue(name), new ControlRequest { Verb = "resume" });
            return ExitStatus.Success;
        });
        return command;
    }

    /// <summary>Event channels as a table.</summary>
    internal static string PortsText(XenView view)
    {
        StringBuilder text = new($"{"PORT",4} {"STATE",-12} {"VCPU",4} {"PENDING",7} {"MASKED",6} USE ({view.EventForm})");
        foreach (XenPort port in view.Ports)
        {
            text.Append(
                CultureInfo.InvariantCulture,
                $"\n{port.Port,4} {port.State,-12} {port.Vcpu,4} {YesNo(port.IsPending),7} {YesNo(port.IsMasked),6} {port.Use}");
        }

        return text.ToString();
    }

    /// <summary>Grants as a table.</summary>
    internal static string GrantsText(XenView view)
    {
        StringBuilder text = new($"{"REF",6} {"FRAME",10} {"DOMAIN",6} {"MAY",-5} NOW");
        foreach (XenGrant grant in view.Grants)
        {
            string may = grant.IsReadOnly ? "read" : "write";
            text.Append(
                CultureInfo.InvariantCulture,
                $"\n{grant.Reference,6} {"0x" + grant.Frame.ToString("x", CultureInfo.InvariantCulture),10} {grant.Domain,6} {may,-5} {grant.Use}");
        }

        return text.ToString();
    }

    /// <summary>The store as `xenstore-ls -f -p` shows it.</summary>
    internal static string StoreText(XenView view)
    {
        StringBuilder text = new();
        foreach (XenNode node in view.Nodes)
        {
            text.Append(CultureInfo.InvariantCulture, $"{(text.Length == 0 ? "" : "\n")}{node.Path} = \"{node.Value}\"   ({node.Permissions})");
        }

        return text.ToString();
    }

    private static XenView Only(string verb, XenView view) => verb switch
    {
        "ports" => view with { Grants = [], Nodes = [] },
        "grants" => view with { Ports = [], Nodes = [] },
        _ => view with { Ports = [], Grants = [] },
    };

    private static string YesNo(bool value) => value ? "yes" : "-";

    private static Argument<string> NameArgument() => new("NAME") { Description = "The guest (hull run --xen --name NAME)." };
}
