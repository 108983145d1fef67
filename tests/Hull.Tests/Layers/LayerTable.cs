using System.Collections.Generic;

namespace Hull.Tests.Layers;

/// <summary>Who may mention whom among the modules (folders) of the library. ARCHITECTURE.md shows the same table.</summary>
internal static class LayerTable
{
    /// <summary>Modules that everybody may mention.</summary>
    internal static readonly IReadOnlySet<string> OpenToAll = new HashSet<string> { "Host" };

    /// <summary>The root namespace, the facade: may mention everything.</summary>
    internal const string Root = "";

    /// <summary>Module to the modules that it may mention besides itself and those open to all.</summary>
    internal static readonly IReadOnlyDictionary<string, string[]> Allowed = new Dictionary<string, string[]>
    {
        ["Host"] = [],
        ["Snapshots"] = [],
        ["Timeline"] = ["Snapshots"],
        ["Memory"] = ["Snapshots"],
        ["Bus"] = ["Memory", "Snapshots"],
        ["Platform"] = ["Memory"],
        ["Engine"] = ["Bus", "Memory", "Platform", "Snapshots", "Timeline"],
        ["Cpu"] = ["Engine", "Bus", "Memory", "Platform", "Snapshots", "Timeline"],
        ["Kvm"] = ["Engine", "Bus", "Memory", "Platform", "Snapshots", "Timeline"],
        ["Storage"] = ["Snapshots"],
        ["Net"] = ["Snapshots"],
        ["Files"] = ["Snapshots"],
        ["Devices"] = ["Bus", "Memory", "Platform", "Snapshots", "Timeline", "Storage", "Net", "Files"],
        ["Boot"] = ["Memory", "Engine", "Platform"],
        ["Xen"] = ["Engine", "Bus", "Memory", "Platform", "Snapshots", "Timeline", "Storage", "Net", "Devices"],
        ["Gdb"] = ["Engine", "Memory", "Snapshots", "Timeline"],
        ["Observe"] = ["Engine", "Memory", "Snapshots", "Timeline"],
    };

    /// <summary>What the command line and the server may mention of the library: the facade and public types.</summary>
    internal static bool MayMention(string from, string to) =>
        from == to || from == Root || OpenToAll.Contains(to)
        || (Allowed.TryGetValue(from, out string[]? allowed) && System.Array.IndexOf(allowed, to) >= 0);

    /// <summary>The module of a namespace: "Hull.Cpu.State" is in "Cpu", "Hull" in the root.</summary>
    /// <returns>Null for a namespace outside the library.</returns>
    internal static string? ModuleOf(string ns)
    {
        if (ns == "Hull")
        {
            return Root;
        }

        if (!ns.StartsWith("Hull.", System.StringComparison.Ordinal))
        {
            return null;
        }

        string rest = ns["Hull.".Length..];
        int dot = rest.IndexOf('.', System.StringComparison.Ordinal);
        return dot < 0 ? rest : rest[..dot];
    }
}
