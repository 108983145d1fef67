using System;
using System.Collections.Generic;
using Hull.Devices.Virtio;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>
/// The console ports of a command's standard streams: hundreds of times as fast as the serial ports, for guests that have the
/// driver and move enough to be worth its loading.
/// </summary>
internal static class StreamPorts
{
    /// <summary>Standard input's.</summary>
    internal const string Input = "hull.stdin";

    private const string Output = "hull.stdout";
    private const string Error = "hull.stderr";

    private static readonly ConsoleSpec Device = new() { Id = "streams", Ports = $"{Input}=program {Output}=program {Error}=program" };

    /// <summary>Drivers of the guest's.</summary>
    internal static IReadOnlyList<string> Drivers { get; } = ["virtio_pci", "virtio_console"];

    /// <summary>Puts the ports into a running machine: a guest that does not ask for them never sees them.</summary>
    internal static void TryPlug(Machine machine)
    {
        try
        {
            machine.AddDevice(Device);
        }
        catch (HullException)
        {
            // It asked twice, or there is no slot left, or it ends: it will not find them, and does without.
        }
    }

    /// <summary>What gets the guest's output.</summary>
    internal static Dictionary<string, SerialOutput> For(GuestOutput output) => new(StringComparer.Ordinal)
    {
        [Input] = static _ => { },
        [Output] = output.Output.Write,
        [Error] = output.Error.Write,
    };
}
