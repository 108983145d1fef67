using System.CommandLine;
using System.Globalization;
using System.IO;
using System.Text;
using System.Text.Json;
using Hull.Cli.Control;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Host;

namespace Hull.Cli.Commands;

/// <summary>`hull device`: devices of a running guest.</summary>
internal static class DeviceCommand
{
    private const int DefaultSeconds = 10;

    internal static Command Create(string[] guestCommand)
    {
        _ = guestCommand;
        return new Command("device", "Adds, removes and lists the devices of a running guest.")
        {
            CreateAdd(), CreateRemove(), CreateList(),
        };
    }

    private static Command CreateAdd()
    {
        Argument<string> name = NameArgument();
        Argument<string> device = new("DEVICE")
        {
            Description = $"As with --device: {string.Join(", ", DeviceText.Kinds)}, then NAME=VALUE; id=ID gives it a name.",
        };
        Command command = new("add", "Adds a device; prints its name.") { name, device };
        command.SetAction(result =>
        {
            DeviceSpec spec = Rooted(DeviceText.Parse(result.GetRequiredValue(device)));
            ControlAnswer answer = ControlClient.Ask(
                result.GetRequiredValue(name), new ControlRequest { Verb = "add", Device = DeviceText.ToJson(spec) });
            Notice.Result(answer.Id ?? "");
            return ExitStatus.Success;
        });
        return command;
    }

    private static Command CreateRemove()
    {
        Argument<string> name = NameArgument();
        Argument<string> id = new("ID") { Description = "The device's name (hull device list)." };
        Option<int> time = new("--time", "-t")
        {
            Description = $"Seconds to wait for the guest. Without it: {DefaultSeconds}.",
            HelpName = "SECONDS",
            DefaultValueFactory = _ => DefaultSeconds,
        };
        Command command = new("remove", "Asks the guest to let go of a device, and takes it out.") { name, id, time };
        command.SetAction(result =>
        {
            ControlClient.Ask(
                result.GetRequiredValue(name),
                new ControlRequest { Verb = "remove", Id = result.GetRequiredValue(id), Seconds = result.GetValue(time) });
            return ExitStatus.Success;
        });
        return command;
    }

    private static Command CreateList()
    {
        Argument<string> name = NameArgument();
        Option<OutputForm> form = OutputForms.CreateOption();
        Command command = new("list", "Lists the devices that the user gave the guest.") { name, form };
        command.SetAction(result =>
        {
            DeviceReport[] devices = ControlClient.Ask(result.GetRequiredValue(name), new ControlRequest { Verb = "devices" }).Devices ?? [];
            Notice.Result(result.GetValue(form) == OutputForm.Json
                ? JsonSerializer.Serialize(devices, CliJson.Default.DeviceReportArray)
                : ToText(devices));
            return ExitStatus.Success;
        });
        return command;
    }

    private static Argument<string> NameArgument() => new("NAME") { Description = "The guest." };

    // The guest's process may be in another folder.
    private static DeviceSpec Rooted(DeviceSpec spec) => spec switch
    {
        DiskSpec disk => disk with { File = Path.GetFullPath(disk.File) },
        FsSpec share => share with { Path = Path.GetFullPath(share.Path) },
        P9Spec share => share with { Path = Path.GetFullPath(share.Path) },
        VsockSpec vsock => vsock with { Path = Path.GetFullPath(vsock.Path) },
        NetSpec { Pcap: string file } net => net with { Pcap = Path.GetFullPath(file) },
        ConsoleSpec { HasTerminal: true } => throw new HullException("the guest's terminal is where it was started: give the console port unix:PATH or file:PATH"),
        _ => spec,
    };

    private static string ToText(DeviceReport[] devices)
    {
        StringBuilder text = new($"{"ID",-16} {"KIND",-10} SLOT");
        foreach (DeviceReport device in devices)
        {
            string slot = device.Slot is int pci ? pci.ToString("x2", CultureInfo.InvariantCulture) : "-";
            text.Append(CultureInfo.InvariantCulture, $"\n{device.Id,-16} {device.Kind,-10} {slot}");
        }

        return text.ToString();
    }
}
