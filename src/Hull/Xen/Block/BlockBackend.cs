using System;
using System.Collections.Generic;
using Hull.Devices;
using Hull.Storage;
using Hull.Xen.Events;
using Hull.Xen.PvDevices;

namespace Hull.Xen.Block;

/// <summary>
/// A disk of a domain's: what a toolstack writes into the store for it, and the talk with the guest's driver about its rings.
/// Xen, public/io/blkif.h, "Feature and parameter negotiation".
/// </summary>
internal sealed class BlockBackend : IPvBackend, IOtherDevice
{
    private const int MostQueues = 4;
    private const int MostRingPageOrder = 2;
    private const int SectorShift = 9;
    private const uint InfoReadOnly = 4;
    // Disks that have 16 numbers each in one row; those behind them have 256 each in another. Xen, docs/man/xen-vbd-interface.7.
    private const int FirstDisk = 202 << 8;
    private const int ShortDisks = 16;
    private const int ExtendedDisks = 1 << 28;
    private const int Letters = 26;

    private readonly Domain _domain;
    private readonly IByteStore _store;
    private readonly bool _offersPersistent;
    private readonly DeviceNodes _nodes;
    private readonly BackendHandshake _handshake;
    private readonly List<(BlockQueue Queue, GrantedPages Pages)> _queues = [];

    /// <summary>Writes the nodes of a disk, xvda for index 0. Under the domain's lock.</summary>
    /// <param name="domain">The guest.</param>
    /// <param name="store">What the disk holds.</param>
    /// <param name="index">Its place.</param>
    /// <param name="offersPersistent">Persistent grants are offered.</param>
    internal BlockBackend(Domain domain, IByteStore store, int index, bool offersPersistent = false)
    {
        _domain = domain;
        _store = store;
        _offersPersistent = offersPersistent;
        int device = NumberOf(index);
        _nodes = new DeviceNodes(domain, "vbd", device);
        _nodes.WriteFront("virtual-device", DeviceNodes.Text($"{device}"));
        _nodes.WriteFront("device-type", "disk");
        foreach ((string key, string value) in (ReadOnlySpan<(string, string)>)[
            ("removable", "0"), ("bootable", "1"), ("dev", NameOf(index)), ("type", "phy"),
            ("mode", store.IsReadOnly ? "r" : "w"), ("device-type", "disk"),
            ("feature-flush-cache", "1"), ("feature-discard", store.IsReadOnly ? "0" : "1"),
            ("discard-granularity", DeviceNodes.Text($"{store.BlockSize}")), ("discard-alignment", "0"),
            ("feature-max-indirect-segments", DeviceNodes.Text($"{BlockRequest.MostSegments}")),
            ("feature-persistent", offersPersistent ? "1" : "0"),
            ("max-ring-page-order", DeviceNodes.Text($"{MostRingPageOrder}")),
            ("multi-queue-max-queues", DeviceNodes.Text($"{MostQueues}"))])
        {
            _nodes.WriteBack(key, value);
        }

        _handshake = new BackendHandshake(domain, _nodes, this);
    }

    /// <summary>What a guest calls a disk: xvda, then xvdb, after xvdz comes xvdaa.</summary>
    internal static string NameOf(int index) => index < Letters
        ? $"xvd{(char)('a' + index)}"
        : $"{NameOf((index / Letters) - 1)}{(char)('a' + (index % Letters))}";

    /// <summary>The number that stands for it in the store.</summary>
    internal static int NumberOf(int index) =>
        index < ShortDisks ? FirstDisk + (index << 4) : ExtendedDisks + (index << 8);

    /// <inheritdoc/>
    public void Leave(Action gone) => _handshake.Leave(gone);

    /// <inheritdoc/>
    public void Dispose()
    {
        _handshake.Dispose();
        _queues.ForEach(static held => held.Queue.Dispose());

        _store.Dispose();
    }

    /// <inheritdoc/>
    public bool TryConnect()
    {
        int count = _nodes.ReadFrontNumber("multi-queue-num-queues") ?? 1;
        int order = _nodes.ReadFrontNumber("ring-page-order") ?? 0;
        if (count is < 1 or > MostQueues || order is < 0 or > MostRingPageOrder)
        {
            return false;
        }

        _nodes.WriteBack("sectors", DeviceNodes.Text($"{_store.Length >> SectorShift}"));
        _nodes.WriteBack("info", DeviceNodes.Text($"{(_store.IsReadOnly ? InfoReadOnly : 0)}"));
        _nodes.WriteBack("sector-size", "512");
        _nodes.WriteBack("physical-sector-size", DeviceNodes.Text($"{Math.Min(_store.BlockSize, 4096)}"));
        for (int i = 0; i < count; i++)
        {
            if (!TryConnectQueue(count == 1 ? "" : DeviceNodes.Text($"queue-{i}/"), order))
            {
                return false;
            }
        }

        return true;
    }

    /// <inheritdoc/>
    public Action Disconnect()
    {
        (BlockQueue Queue, GrantedPages Pages)[] queues = [.. _queues];
        _queues.Clear();
        return () => Array.ForEach(queues, static held =>
        {
            held.Queue.Dispose();
            held.Pages.Dispose();
        });
    }

    private bool TryConnectQueue(string keys, int order)
    {
        uint[] references = new uint[1 << order];
        for (int i = 0; i < references.Length; i++)
        {
            int? reference = _nodes.ReadFrontNumber(order == 0 ? keys + "ring-ref" : DeviceNodes.Text($"{keys}ring-ref{i}"));
            references[i] = (uint?)reference ?? uint.MaxValue; // granted by nobody
        }

        if (_nodes.FindPort(keys + "event-channel") is not EventPort port
            || GrantedPages.TryHold(_domain.Grants, references) is not GrantedPages pages)
        {
            return false;
        }

        bool isShort = _nodes.ReadFront("protocol") == "x86_32-abi";
        SharedRing ring = new(_domain.Memory, pages.Pages, isShort ? BlockQueue.ShortEntrySize : BlockQueue.EntrySize);
        bool arePersistent = _offersPersistent && _nodes.ReadFrontNumber("feature-persistent") == 1;
        BlockGrants grants = new(_domain.Grants, arePersistent, TimeProvider.System);
        _queues.Add((new BlockQueue(_domain, _store, ring, port, isShort, grants), pages));
        return true;
    }
}
