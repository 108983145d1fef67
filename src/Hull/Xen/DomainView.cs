using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;
using Hull.Xen.Events;
using Hull.Xen.Grants;
using Hull.Xen.Store;

namespace Hull.Xen;

/// <summary>An event channel's port in use.</summary>
/// <param name="Port">Its number.</param>
/// <param name="State">unbound, interdomain, virq, ipi or backend.</param>
/// <param name="Vcpu">The vCPU that is told.</param>
/// <param name="Use">What it is for, as far as Hull knows.</param>
/// <param name="IsPending">An event waits.</param>
/// <param name="IsMasked">The guest does not want to be told.</param>
public sealed record XenPort(int Port, string State, int Vcpu, string Use, bool IsPending, bool IsMasked);

/// <summary>A page that the guest lets others use.</summary>
/// <param name="Reference">The entry's number.</param>
/// <param name="Frame">The page's number.</param>
/// <param name="Domain">The domain that may use it.</param>
/// <param name="IsReadOnly">It may only be read.</param>
/// <param name="Use">What is done with it now: nothing (""), "read" or "write".</param>
public sealed record XenGrant(uint Reference, ulong Frame, int Domain, bool IsReadOnly, string Use);

/// <summary>A node of the store.</summary>
/// <param name="Path">Its name from the root.</param>
/// <param name="Value">Its value; what is no plain text is written as \xx.</param>
/// <param name="Permissions">As the protocol writes them: n0,r1.</param>
public sealed record XenNode(string Path, string Value, string Permissions);

/// <summary>What Xen keeps for a guest, at one moment.</summary>
/// <param name="EventForm">fifo or 2-level.</param>
/// <param name="Ports">Its event channels.</param>
/// <param name="Grants">Its grants.</param>
/// <param name="Nodes">The whole store.</param>
public sealed record XenView(
    string EventForm, IReadOnlyList<XenPort> Ports, IReadOnlyList<XenGrant> Grants, IReadOnlyList<XenNode> Nodes);

/// <summary>Reads a domain for its user's eyes.</summary>
internal static class DomainView
{
    /// <summary>Reads it. Under the domain's lock.</summary>
    internal static XenView Read(Domain domain)
    {
        List<XenNode> nodes = [];
        AddNodes(nodes, "", domain.Store.Store.Tree.Root);
        return new XenView(domain.Events.Fifo is null ? "2-level" : "fifo", Ports(domain), GrantTable.Read(domain.Grants), nodes);
    }

    private static List<XenPort> Ports(Domain domain)
    {
        List<XenPort> ports = [];
        foreach (EventPort port in domain.Events.Ports)
        {
            if (port.State != PortState.Free)
            {
                string use = port.State == PortState.Virq ? port.Line.ToString(CultureInfo.InvariantCulture) : port.Use;
                ports.Add(new XenPort(
                    port.Number, port.State.ToString().ToLowerInvariant(), port.Vcpu, use,
                    domain.Events.IsPending(port), domain.Events.IsMasked(port)));
            }
        }

        return ports;
    }

    private static void AddNodes(List<XenNode> nodes, string path, StoreNode node)
    {
        nodes.Add(new XenNode(path.Length == 0 ? "/" : path, Text([.. node.Value]), string.Join(',', node.Permissions)));
        foreach ((string name, StoreNode child) in node.Children)
        {
            AddNodes(nodes, $"{path}/{name}", child);
        }
    }

    private static string Text(ReadOnlySpan<byte> value)
    {
        StringBuilder text = new();
        foreach (byte letter in value)
        {
            if (letter is >= 0x20 and < 0x7F and not (byte)'\\')
            {
                text.Append((char)letter);
            }
            else
            {
                text.Append(CultureInfo.InvariantCulture, $"\\{letter:x2}");
            }
        }

        return text.ToString();
    }
}
