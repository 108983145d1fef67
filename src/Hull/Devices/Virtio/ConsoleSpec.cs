using System;
using System.Collections.Generic;
using System.Text;
using System.Text.Json.Serialization;
using Hull.Host;

namespace Hull.Devices.Virtio;

/// <summary>Where the host's end of a console port is.</summary>
internal enum ConsoleEndKind
{
    /// <summary>Nobody listens.</summary>
    None,

    /// <summary>The user's terminal, or standard input and output.</summary>
    Terminal,

    /// <summary>A Unix socket on which Hull listens.</summary>
    Unix,

    /// <summary>A file that gets the output.</summary>
    File,

    /// <summary>The program that made the machine: <see cref="MachineSpec.Ports"/>.</summary>
    Program,
}

/// <summary>A port: <c>[NAME=]stdio|unix:PATH|file:PATH|none</c> or <c>NAME=program</c>.</summary>
internal sealed record ConsolePortSpec(string? Name, ConsoleEndKind Kind, string Path);

/// <summary>
/// Consoles (/dev/hvc0 and so on) and named ports (/dev/virtio-ports/NAME) between the guest and the host.
/// </summary>
public sealed record ConsoleSpec : DeviceSpec
{
    private const int LongestName = 64;

    /// <summary>
    /// The ports, with blanks between them: <c>[NAME=]stdio</c>, <c>unix:PATH</c>, <c>file:PATH</c> or <c>none</c>. One
    /// of <see cref="MachineSpec.Ports"/> is <c>NAME=program</c>. One with a name is /dev/virtio-ports/NAME in the guest, one without is a console. Without it: a console on stdio.
    /// </summary>
    public string? Ports { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public override string LinuxDriver => "virtio_console";

    /// <summary>A console of the guest's is on the user's terminal.</summary>
    [JsonIgnore]
    public bool HasTerminal => ParsePorts().Exists(static port => port is { Name: null, Kind: ConsoleEndKind.Terminal });

    /// <summary>How many ports have a name.</summary>
    [JsonIgnore]
    public int NamedPorts => ParsePorts().FindAll(static port => port.Name is not null).Count;

    /// <inheritdoc/>
    internal override VirtioDevice Create(DeviceContext context)
    {
        List<ConsolePortSpec> specs = ParsePorts();
        List<IConsoleEnd> ends = [];
        try
        {
            foreach (ConsolePortSpec spec in specs)
            {
                ends.Add(CreateEnd(spec, context));
            }

            return new ConsoleDevice(context, specs.ConvertAll(static spec => spec.Name), ends);
        }
        catch
        {
            ends.ForEach(static end => end.Dispose());
            throw;
        }
    }

    private static IConsoleEnd CreateEnd(ConsolePortSpec spec, DeviceContext context)
    {
        switch (spec.Kind)
        {
            case ConsoleEndKind.Terminal:
                return new TerminalEnd(context.Terminal);
            case ConsoleEndKind.File:
                return new FileEnd(spec.Path, context.Notice);
            case ConsoleEndKind.Unix:
                return context.IsDeterministic
                    ? throw new HullException("--deterministic: nobody outside keeps virtual time: a console port on stdio or file:PATH")
                    : new UnixEnd(spec.Path);
            case ConsoleEndKind.Program:
                return context.Ports.TryGetValue(spec.Name!, out ProgramEnd? end) ? end // no such port without a name
                    : throw new HullException($"console: no program is behind the port '{spec.Name}'");
            default:
                return new NoEnd();
        }
    }

    private List<ConsolePortSpec> ParsePorts()
    {
        List<ConsolePortSpec> ports = [];
        foreach (string word in (Ports ?? "stdio").Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            ports.Add(ParsePort(word));
        }

        return ports.Count is > 0 and <= ConsoleDevice.MaximumPorts
            ? ports
            : throw new HullException($"console: {ports.Count} ports: give 1 to {ConsoleDevice.MaximumPorts}");
    }

    private static ConsolePortSpec ParsePort(string word)
    {
        int colon = word.IndexOf(':', StringComparison.Ordinal);
        int equals = word.IndexOf('=', StringComparison.Ordinal);
        bool isNamed = equals >= 0 && (colon < 0 || equals < colon);
        string? name = isNamed ? word[..equals] : null;
        if (name is not null && (name.Length == 0 || Encoding.UTF8.GetByteCount(name) > LongestName || name.Contains('/', StringComparison.Ordinal)))
        {
            throw new HullException($"console: the port name '{name}': give 1 to {LongestName} bytes, no '/'");
        }

        string end = isNamed ? word[(equals + 1)..] : word;
        return end switch
        {
            "stdio" => new ConsolePortSpec(name, ConsoleEndKind.Terminal, ""),
            "none" => new ConsolePortSpec(name, ConsoleEndKind.None, ""),
            "program" when isNamed => new ConsolePortSpec(name, ConsoleEndKind.Program, ""),
            _ when end.Length > 5 && end.StartsWith("unix:", StringComparison.Ordinal)
                => new ConsolePortSpec(name, ConsoleEndKind.Unix, end[5..]),
            _ when end.Length > 5 && end.StartsWith("file:", StringComparison.Ordinal)
                => new ConsolePortSpec(name, ConsoleEndKind.File, end[5..]),
            _ => throw new HullException($"console: '{word}' is no port: give [NAME=]stdio, unix:PATH, file:PATH or none"),
        };
    }
}
