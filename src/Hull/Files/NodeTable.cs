using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Host;

namespace Hull.Files;

/// <summary>The files that the guest knows, by its number and by what they are on the host. Any thread.</summary>
internal sealed class NodeTable
{
    internal const ulong RootId = 1;

    // A node is some 250 bytes here, and an inode of about 1 KiB there.
    private const int MostNodes = 1 << 21;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, FileNode> _byId = [];
    private readonly Dictionary<NodeKey, FileNode> _byKey = [];
    private ulong _lastId = RootId;

    internal NodeTable(in FileStatus root)
    {
        Root = new FileNode(RootId, NodeKey.Of(root), null, []);
        Clear();
    }

    /// <summary>The shared folder itself. It is never forgotten.</summary>
    internal FileNode Root { get; }

    /// <summary>The nodes there are.</summary>
    internal int Count
    {
        get
        {
            lock (_lock)
            {
                return _byId.Count;
            }
        }
    }

    /// <summary>The node of a number; null when there is none.</summary>
    internal FileNode? Find(ulong id)
    {
        lock (_lock)
        {
            return _byId.GetValueOrDefault(id);
        }
    }

    /// <summary>The node of a file, if the guest knows it. Not counted.</summary>
    internal FileNode? Find(NodeKey key)
    {
        lock (_lock)
        {
            return _byKey.GetValueOrDefault(key);
        }
    }

    /// <summary>A file was found in a folder: its node, new or not, which the guest now knows once more.</summary>
    /// <returns>Null when there are too many.</returns>
    internal FileNode? Add(NodeKey key, FileNode parent, ReadOnlySpan<byte> name, bool isHollow)
    {
        lock (_lock)
        {
            if (!_byKey.TryGetValue(key, out FileNode? node))
            {
                if (_byId.Count >= MostNodes)
                {
                    return null;
                }

                node = new FileNode(++_lastId, key, parent, name.ToArray()) { IsHollow = isHollow };
                _byId.Add(node.Id, node);
                _byKey.Add(key, node);
            }
            else if (node != Root && (node.Place.Parent != parent || !name.SequenceEqual(node.Place.Name)))
            {
                node.Place = new NodePlace(parent, name.ToArray());
            }

            node.Lookups++;
            return node;
        }
    }

    /// <summary>Counts a lookup of a node that is there.</summary>
    internal void AddLookup(FileNode node)
    {
        lock (_lock)
        {
            node.Lookups++;
        }
    }

    /// <summary>The guest forgets some lookups of a node.</summary>
    /// <returns>The node, when it knows it no more; else null.</returns>
    internal FileNode? Forget(ulong id, ulong lookups)
    {
        lock (_lock)
        {
            if (id == RootId || !_byId.TryGetValue(id, out FileNode? node))
            {
                return null;
            }

            node.Lookups -= Math.Min(lookups, node.Lookups);
            if (node.Lookups != 0)
            {
                return null;
            }

            _byId.Remove(id);
            _byKey.Remove(node.Key);
            return node;
        }
    }

    /// <summary>The shared folder is another one now. What the guest knows below is found there by its name, or stale.</summary>
    internal void MoveRoot(NodeKey key)
    {
        lock (_lock)
        {
            _byKey.Remove(Root.Key);
            Root.Key = key;
            _byKey[key] = Root;
        }
    }

    /// <summary>Forgets all but the root.</summary>
    internal void Clear()
    {
        lock (_lock)
        {
            _byId.Clear();
            _byKey.Clear();
            Root.Lookups = 1;
            _byId.Add(RootId, Root);
            _byKey.Add(Root.Key, Root);
        }
    }
}
