using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace Hull.Xen.Store;

/// <summary>
/// The store: a tree of names and values by which domains and back ends find each other. Xen, docs/misc/xenstore.txt.
/// Calls take turns under the domain's lock.
/// </summary>
internal sealed class XenStore
{
    private readonly StoreTree _tree = new(new StoreNode());

    // Replaced, never changed: one who is told may stop to listen.
    private Action<string>[] _listeners = [];

    /// <summary>Makes the store of one guest, with the nodes that a toolstack writes before it starts.</summary>
    internal XenStore(int domain, DomainOptions options)
    {
        string own = StorePath.OfDomain(domain);
        SetOwned(own, "", $"n0,r{domain}");
        SetOwned(own + "/domid", domain.ToString(CultureInfo.InvariantCulture), $"n0,r{domain}");
        SetOwned(own + "/name", options.Name, $"n0,r{domain}");
        string kib = (options.Memory.Size >> 10).ToString(CultureInfo.InvariantCulture);
        SetOwned(own + "/memory/static-max", kib, $"n0,r{domain}");
        SetOwned(own + "/memory/target", kib, $"n0,r{domain}");
        for (int i = 0; i < options.VcpuCount; i++)
        {
            SetOwned(
                string.Create(CultureInfo.InvariantCulture, $"{own}/cpu/{i}/availability"), "online", $"n0,r{domain}");
        }

        SetOwned(own + "/control/platform-feature-multiprocessor-suspend", "1", $"n0,r{domain}");
        SetOwned(own + "/control/platform-feature-xs_reset_watches", "1", $"n0,r{domain}");
        foreach (string name in (ReadOnlySpan<string>)
            ["control/shutdown", "control/feature-poweroff", "control/feature-reboot", "control/feature-suspend",
                "control/sysrq", "device/suspend/event-channel", "data", "drivers", "feature", "attr", "error"])
        {
            SetOwned($"{own}/{name}", "", $"n{domain}");
        }

        _tree.ClearChanges();
    }

    /// <summary>The nodes.</summary>
    internal StoreTree Tree => _tree;

    /// <summary>Counts changes.</summary>
    internal ulong Generation { get; private set; }

    /// <summary>Adds one who is told of each path that changed.</summary>
    internal void Listen(Action<string> changed) => _listeners = [.. _listeners, changed];

    /// <summary>One of them is told no more.</summary>
    internal void Unlisten(Action<string> changed) => _listeners = Array.FindAll(_listeners, one => one != changed);

    /// <summary>Tells of what was changed since the last call.</summary>
    internal void Announce()
    {
        // A back end that is told may write in its turn.
        while (_tree.Changes.Count > 0)
        {
            Generation++;
            string[] changes = [.. _tree.Changes];
            _tree.ClearChanges();
            foreach (string change in changes)
            {
                foreach (Action<string> listener in _listeners)
                {
                    listener(change);
                }
            }
        }
    }

    /// <summary>Puts a transaction's changes in.</summary>
    /// <returns>EAGAIN when a node that it has looked at was changed by another; EQUOTA when its domain would have too many.</returns>
    internal StoreError Commit(StoreTransaction transaction, int domain)
    {
        if (!transaction.TryFollow(_tree))
        {
            return StoreError.EAGAIN;
        }

        if (transaction.Tree.Changes.Count > 0)
        {
            if (transaction.Tree.IsOverQuota(domain))
            {
                return StoreError.EQUOTA;
            }

            _tree.Adopt(transaction.Tree);
            Announce();
        }

        return StoreError.None;
    }

    /// <summary>Writes a node for the toolstack, with permissions as "n0,r1".</summary>
    internal void SetOwned(string path, string value, string permissions)
    {
        _tree.Write(0, path, Encoding.UTF8.GetBytes(value));
        List<StorePermission> list = [];
        foreach (string text in permissions.Split(','))
        {
            if (StorePermission.TryParse(text, out StorePermission permission))
            {
                list.Add(permission);
            }
        }

        _tree.SetPermissions(0, path, [.. list]);
    }
}
