using System;
using System.Collections.Generic;
using System.Globalization;
using Hull.Memory;
using Hull.Storage;
using Hull.Xen.Events;
using Hull.Xen.Store;

namespace Hull.Xen.Block;

/// <summary>
/// A disk of a domain's: what a toolstack writes into the store for it, and the talk with the guest's driver about its rings.
/// Xen, public/io/blkif.h, "Feature and parameter negotiation".
/// </summary>
internal sealed class BlockBackend : IDisposable
{
    private const int MostQueues = 4;
    private const int MostRingPageOrder = 2;
    private const int SectorShift = 9;
    private const uint InfoReadOnly = 4;
    private const int FirstDisk = 202 << 8; // xvda, 16 numbers each
    private const string Toolstack = "n0,r";

    private readonly Domain _domain;
    private readonly IByteStore _store;
    private readonly string _front;
    private readonly string _back;
    private readonly List<BlockQueue> _queues = [];

    /// <summary>Writes the nodes of a disk, xvda for index 0. Before the guest runs.</summary>
    internal BlockBackend(Domain domain, IByteStore store, int index)
    {
        _domain = domain;
        _store = store;
        int device = FirstDisk + (index << 4);
        string own = StorePath.OfDomain(domain.Id);
        _front = Text($"{own}/device/vbd/{device}");
        _back = Text($"{StorePath.OfDomain(0)}/backend/vbd/{domain.Id}/{device}");
        string name = Text($"xvd{(char)('a' + index)}");
        foreach ((string key, string value) in (ReadOnlySpan<(string, string)>)[
            ("backend", _back), ("backend-id", "0"), ("state", "1"), ("virtual-device", Text($"{device}")), ("device-type", "disk")])
        {
            Nodes.SetOwned($"{_front}/{key}", value, Text($"n{domain.Id},r0"));
        }

        Nodes.SetOwned(_front, "", Text($"n{domain.Id},r0"));
        foreach ((string key, string value) in (ReadOnlySpan<(string, string)>)[
            ("frontend", _front), ("frontend-id", Text($"{domain.Id}")), ("online", "1"), ("removable", "0"), ("bootable", "1"),
            ("dev", name), ("type", "phy"), ("mode", store.IsReadOnly ? "r" : "w"), ("device-type", "disk"),
            ("feature-flush-cache", "1"), ("feature-discard", store.IsReadOnly ? "0" : "1"),
            ("discard-granularity", Text($"{store.BlockSize}")), ("discard-alignment", "0"),
            ("feature-max-indirect-segments", Text($"{BlockRequest.MostSegments}")),
            ("max-ring-page-order", Text($"{MostRingPageOrder}")), ("multi-queue-max-queues", Text($"{MostQueues}")), ("state", "2")])
        {
            Nodes.SetOwned($"{_back}/{key}", value, Toolstack + Text($"{domain.Id}"));
        }

        Nodes.SetOwned(_back, "", Toolstack + Text($"{domain.Id}"));
        Nodes.Tree.ClearChanges();
        Nodes.Listen(Changed);
    }

    private XenStore Nodes => _domain.Store.Store;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (BlockQueue queue in _queues)
        {
            queue.Dispose();
        }

        _store.Dispose();
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    // Under the domain's lock. The states are XenbusState: 3 initialised, 4 connected, 5 closing, 6 closed.
    private void Changed(string path)
    {
        if (path != _front + "/state")
        {
            return;
        }

        switch (Read(_front + "/state"))
        {
            case "3" or "4" when _queues.Count == 0:
                SetState(TryConnect() ? "4" : "6");
                break;
            case "5":
                SetState("5");
                break;
            case "6":
                Disconnect();
                SetState(Read(_back + "/online") == "1" ? "2" : "6");
                break;
            default:
                break;
        }
    }

    private bool TryConnect()
    {
        int count = ReadNumber(_front + "/multi-queue-num-queues") ?? 1;
        int order = ReadNumber(_front + "/ring-page-order") ?? 0;
        if (count is < 1 or > MostQueues || order is < 0 or > MostRingPageOrder)
        {
            return false;
        }

        Nodes.SetOwned(_back + "/sectors", Text($"{_store.Length >> SectorShift}"), Toolstack + Text($"{_domain.Id}"));
        Nodes.SetOwned(_back + "/info", Text($"{(_store.IsReadOnly ? InfoReadOnly : 0)}"), Toolstack + Text($"{_domain.Id}"));
        Nodes.SetOwned(_back + "/sector-size", "512", Toolstack + Text($"{_domain.Id}"));
        Nodes.SetOwned(
            _back + "/physical-sector-size", Text($"{Math.Min(_store.BlockSize, 4096)}"), Toolstack + Text($"{_domain.Id}"));
        for (int i = 0; i < count; i++)
        {
            string keys = count == 1 ? _front : Text($"{_front}/queue-{i}");
            if (!TryConnectQueue(keys, order))
            {
                Disconnect();
                return false;
            }
        }

        return true;
    }

    private bool TryConnectQueue(string keys, int order)
    {
        GuestPhysical[] pages = new GuestPhysical[1 << order];
        for (int i = 0; i < pages.Length; i++)
        {
            int? reference = ReadNumber(order == 0 ? keys + "/ring-ref" : Text($"{keys}/ring-ref{i}"));
            if (reference is null || !_domain.Grants.TryBegin((uint)reference.Value, isWrite: true, out pages[i]))
            {
                return false;
            }
        }

        int? port = ReadNumber(keys + "/event-channel");
        if (port is null || _domain.Events.Find((uint)port.Value) is not { State: PortState.Unbound, RemoteDomain: 0 } found)
        {
            return false;
        }

        _queues.Add(new BlockQueue(
            _domain, _store, new SharedRing(_domain.Memory, pages, BlockQueue.EntrySize), found));
        return true;
    }

    // Their threads may wait for the domain's lock, which the caller has: they end by themselves.
    private void Disconnect()
    {
        BlockQueue[] queues = [.. _queues];
        _queues.Clear();
        System.Threading.ThreadPool.QueueUserWorkItem(_ => Array.ForEach(queues, static queue => queue.Dispose()));
    }

    private string? Read(string path) =>
        Nodes.Tree.Find(path) is StoreNode node ? System.Text.Encoding.Latin1.GetString([.. node.Value]) : null;

    private int? ReadNumber(string path) =>
        int.TryParse(Read(path), NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : null;

    private void SetState(string state) => Nodes.Tree.Write(0, _back + "/state", System.Text.Encoding.ASCII.GetBytes(state));
}
