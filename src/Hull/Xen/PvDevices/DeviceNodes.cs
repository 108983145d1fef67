using System;
using System.Globalization;
using System.Text;
using Hull.Xen.Events;
using Hull.Xen.Store;

namespace Hull.Xen.PvDevices;

/// <summary>
/// The two folders of a device in the store, the front end's and the back end's, as a toolstack writes them. Under the domain's
/// lock. Xen, public/io/xenbus.h, and docs/misc/xenstore-paths.pandoc.
/// </summary>
internal sealed class DeviceNodes
{
    private readonly Domain _domain;

    /// <summary>Writes the nodes that devices of every kind have.</summary>
    /// <param name="domain">The guest.</param>
    /// <param name="kind">"vbd" or "vif".</param>
    /// <param name="device">The device's number among those of its kind.</param>
    internal DeviceNodes(Domain domain, string kind, int device)
    {
        _domain = domain;
        Front = Text($"{StorePath.OfDomain(domain.Id)}/device/{kind}/{device}");
        Back = BackOf(domain, kind, device);
        Store.SetOwned(Front, "", FrontOwner);
        Store.SetOwned(Back, "", BackOwner);
        WriteFront("backend", Back);
        WriteFront("backend-id", "0");
        WriteFront("state", "1");
        WriteBack("frontend", Front);
        WriteBack("frontend-id", Text($"{domain.Id}"));
        WriteBack("online", "1");
    }

    /// <summary>The front end's folder.</summary>
    internal string Front { get; }

    /// <summary>The back end's folder.</summary>
    internal string Back { get; }

    /// <summary>The store.</summary>
    internal XenStore Store => _domain.Store.Store;

    private string FrontOwner => Text($"n{_domain.Id},r0");

    private string BackOwner => Text($"n0,r{_domain.Id}");

    /// <summary>The domain has a device of a kind and number. Under its lock.</summary>
    internal static bool Exist(Domain domain, string kind, int device) =>
        domain.Store.Store.Tree.Find(BackOf(domain, kind, device)) is not null;

    /// <summary>A number or the like as text, whatever the host's language.</summary>
    internal static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    /// <summary>Writes a node of the front end's, for the toolstack.</summary>
    internal void WriteFront(string key, string value) => Store.SetOwned($"{Front}/{key}", value, FrontOwner);

    /// <summary>Writes a node of the back end's.</summary>
    internal void WriteBack(string key, string value) => Store.SetOwned($"{Back}/{key}", value, BackOwner);

    /// <summary>What the front end says under a key, "queue-0/ring-ref" for one; null when it says nothing.</summary>
    internal string? ReadFront(string key) => Read($"{Front}/{key}");

    /// <summary>The same as a number: null when the front end says nothing, -1 when it says no number.</summary>
    internal int? ReadFrontNumber(string key) => ReadFront(key) is not string text ? null
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : -1;

    /// <summary>The port that the front end has made for the back end and names under a key; null when there is none such.</summary>
    internal EventPort? FindPort(string key) => ReadFrontNumber(key) is int number
        && _domain.Events.Find((uint)number) is { State: PortState.Unbound, RemoteDomain: 0 } port ? port : null;

    /// <summary>What the back end has said under a key.</summary>
    internal string? ReadBack(string key) => Read($"{Back}/{key}");

    /// <summary>The device is gone.</summary>
    internal void Remove()
    {
        Store.Tree.Remove(0, Front);
        Store.Tree.Remove(0, Back);
    }

    private static string BackOf(Domain domain, string kind, int device) =>
        Text($"{StorePath.OfDomain(0)}/backend/{kind}/{domain.Id}/{device}");

    private string? Read(string path) =>
        Store.Tree.Find(path) is StoreNode node ? Encoding.Latin1.GetString([.. node.Value]) : null;
}
