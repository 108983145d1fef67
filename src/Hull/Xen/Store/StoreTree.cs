using System;
using System.Collections.Generic;
using System.Collections.Immutable;

namespace Hull.Xen.Store;

/// <summary>Why the store refuses. The protocol sends the number's name.</summary>
internal enum StoreError
{
    None,
    EINVAL,
    EACCES,
    ENOENT,
    ENOSPC,
    ENOSYS,
    EAGAIN,
    EBUSY,
    EEXIST,
    E2BIG,
    EISCONN,
    EQUOTA,
}

/// <summary>
/// The nodes as one sees them, the store itself or a transaction: a root, and which paths were changed. A transaction's notes what it
/// depends on.
/// </summary>
internal sealed class StoreTree(StoreNode root, StoreAccesses? accesses = null)
{
    private const int MostValue = 2048;
    private const int MostPermissions = 5;
    private const int MostNodes = 1000;

    private readonly List<string> _changes = [];

    /// <summary>The root.</summary>
    internal StoreNode Root { get; private set; } = root;

    /// <summary>Paths that were written, made or removed, in order.</summary>
    internal IReadOnlyList<string> Changes => _changes;

    /// <summary>Forgets the changes.</summary>
    internal void ClearChanges() => _changes.Clear();

    /// <summary>Takes over the nodes of a transaction that has followed this tree, and its changes.</summary>
    internal void Adopt(StoreTree transaction)
    {
        Root = transaction.Root;
        _changes.AddRange(transaction._changes);
    }

    /// <summary>Puts this tree's changes on another root; nothing that they depend on is different there.</summary>
    internal void Rebase(StoreNode onto, IReadOnlyCollection<string> removed)
    {
        StoreTree merged = new(onto);
        foreach (string path in removed)
        {
            if (merged.Find(path) is not null)
            {
                merged.Root = Replace(merged.Root, StorePath.Split(path), 0, null);
            }
        }

        foreach (string path in _changes)
        {
            if (Find(path) is not null)
            {
                merged.Root = Graft(merged.Root, Root, StorePath.Split(path), 0);
            }
        }

        Root = merged.Root;
    }

    /// <summary>Whether a domain has more nodes than it may.</summary>
    internal bool IsOverQuota(int domain) => domain != 0 && Count(Root, domain) > MostNodes;

    /// <summary>Finds a node to read.</summary>
    internal StoreError Read(int domain, string path, out StoreNode node)
    {
        StoreNode? found = Find(path);
        node = found ?? Root;
        return !TryNote(path) ? StoreError.ENOSPC
            : found is null ? (Nearest(path).CanRead(domain) ? StoreError.ENOENT : StoreError.EACCES)
            : found.CanRead(domain) ? StoreError.None : StoreError.EACCES;
    }

    /// <summary>Writes a value; the node and those above it are made if they are not there.</summary>
    internal StoreError Write(int domain, string path, ReadOnlySpan<byte> value)
    {
        if (value.Length > MostValue)
        {
            return StoreError.ENOSPC;
        }

        byte[] copy = value.ToArray();
        return Change(domain, path, node => node with { Value = [.. copy] });
    }

    /// <summary>Makes an empty node; one that is there stays as it is.</summary>
    internal StoreError MakeDirectory(int domain, string path) => Find(path) is { } present
        ? !TryNote(path) ? StoreError.ENOSPC : present.CanWrite(domain) ? StoreError.None : StoreError.EACCES
        : Change(domain, path, static node => node);

    /// <summary>Removes a node and all below it.</summary>
    internal StoreError Remove(int domain, string path)
    {
        string[] parts = StorePath.Split(path);
        if (parts.Length == 0)
        {
            return StoreError.EINVAL;
        }

        StoreNode? parent = Find(path[..path.LastIndexOf('/')]);
        if (!TryNote(path) || !TryNote(path[..path.LastIndexOf('/')]))
        {
            return StoreError.ENOSPC;
        }

        if (parent is null)
        {
            return StoreError.ENOENT;
        }

        if (!parent.Children.TryGetValue(parts[^1], out StoreNode? node))
        {
            return parent.CanWrite(domain) ? StoreError.None : StoreError.EACCES; // it is gone, as asked
        }

        if (!node.CanWrite(domain))
        {
            return StoreError.EACCES;
        }

        if (!TryNoteBelow(path, node))
        {
            return StoreError.ENOSPC;
        }

        Root = Replace(Root, parts, 0, null);
        AddChange(path, isRemoval: true);
        return StoreError.None;
    }

    /// <summary>Sets who may do what.</summary>
    internal StoreError SetPermissions(int domain, string path, ImmutableArray<StorePermission> permissions)
    {
        if (permissions.Length is 0 or > MostPermissions)
        {
            return permissions.Length == 0 ? StoreError.EINVAL : StoreError.ENOSPC;
        }

        if (Find(path) is not StoreNode node)
        {
            return TryNote(path) ? StoreError.ENOENT : StoreError.ENOSPC;
        }

        // The owner of a node is the one whom it counts for, so it cannot be given away.
        return domain != 0 && (node.Owner != domain || permissions[0].Domain != domain)
            ? StoreError.EACCES
            : Change(domain, path, found => found with { Permissions = permissions });
    }

    /// <summary>The node of a path; null when there is none.</summary>
    internal StoreNode? Find(string path)
    {
        StoreNode? node = Root;
        foreach (string part in StorePath.Split(path))
        {
            if (!node.Children.TryGetValue(part, out node))
            {
                return null;
            }
        }

        return node;
    }

    private StoreError Change(int domain, string path, Func<StoreNode, StoreNode> change)
    {
        StoreNode? present = Find(path);
        StoreNode judge = present ?? Nearest(path);
        if (!TryNote(path))
        {
            return StoreError.ENOSPC;
        }

        if (!judge.CanWrite(domain))
        {
            return StoreError.EACCES;
        }

        if (present is null && domain != 0 && Count(Root, domain) >= MostNodes)
        {
            return StoreError.EQUOTA;
        }

        // A new node has the permissions of the one above it, and its maker for an owner.
        StoreNode fresh = new()
        {
            Permissions = domain == 0
                ? judge.Permissions
                : judge.Permissions.SetItem(0, judge.Permissions[0] with { Domain = domain }),
        };
        string[] parts = StorePath.Split(path);
        Root = Replace(Root, parts, 0, change(present ?? fresh) with { Stamp = new object() }, fresh);
        AddChange(path, isRemoval: false);
        return StoreError.None;
    }

    private void AddChange(string path, bool isRemoval)
    {
        if (accesses is null || accesses.Change(path, isRemoval))
        {
            _changes.Add(path);
        }
    }

    // Who looks for a node that is not there has looked at those above it, up to one that is.
    private bool TryNote(string path)
    {
        for (string at = path == "/" ? "" : path; accesses is not null; at = at[..at.LastIndexOf('/')])
        {
            StoreNode? node = Find(at);
            if (!accesses.TryNote(at, node))
            {
                return false;
            }

            if (node is not null)
            {
                break;
            }
        }

        return true;
    }

    private bool TryNoteBelow(string path, StoreNode node)
    {
        if (accesses is null)
        {
            return true;
        }

        foreach ((string name, StoreNode child) in node.Children)
        {
            if (!accesses.TryNote($"{path}/{name}", child) || !TryNoteBelow($"{path}/{name}", child))
            {
                return false;
            }
        }

        return true;
    }

    // The last node on the way to a path that is there.
    private StoreNode Nearest(string path)
    {
        StoreNode node = Root;
        foreach (string part in StorePath.Split(path))
        {
            if (!node.Children.TryGetValue(part, out StoreNode? next))
            {
                break;
            }

            node = next;
        }

        return node;
    }

    private static StoreNode Replace(StoreNode node, string[] parts, int at, StoreNode? leaf, StoreNode? fresh = null)
    {
        if (at == parts.Length)
        {
            return leaf ?? node;
        }

        if (at == parts.Length - 1 && leaf is null)
        {
            return node with { Children = node.Children.Remove(parts[at]), Stamp = new object() };
        }

        bool isNew = !node.Children.TryGetValue(parts[at], out StoreNode? found);
        return node with
        {
            Children = node.Children.SetItem(parts[at], Replace(found ?? fresh ?? new StoreNode(), parts, at + 1, leaf, fresh)),
            Stamp = isNew ? new object() : node.Stamp,
        };
    }

    // A node's own content from another tree, with the nodes above it where they are missing.
    private static StoreNode Graft(StoreNode node, StoreNode source, string[] parts, int at)
    {
        if (at == parts.Length)
        {
            return node with { Value = source.Value, Permissions = source.Permissions, Stamp = new object() };
        }

        StoreNode below = source.Children[parts[at]];
        bool isNew = !node.Children.TryGetValue(parts[at], out StoreNode? found);
        found ??= new StoreNode { Value = below.Value, Permissions = below.Permissions };
        return node with
        {
            Children = node.Children.SetItem(parts[at], Graft(found, below, parts, at + 1)),
            Stamp = isNew ? new object() : node.Stamp,
        };
    }

    private static int Count(StoreNode node, int domain)
    {
        int count = node.Owner == domain ? 1 : 0;
        foreach (StoreNode child in node.Children.Values)
        {
            count += Count(child, domain);
        }

        return count;
    }
}
