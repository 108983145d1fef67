using System.Collections.Generic;
using System.Threading;
using Hull.Host;

namespace Hull.Files;

/// <summary>
/// Keeps the O_PATH descriptors of nodes used of late, as many as the host's limit allows; a node without one is opened
/// again by its place. Second chance: a node that was used since stays. Any thread.
/// </summary>
internal sealed class DescriptorCache(int most)
{
    // How far a full cache is searched for one that may go; behind that the oldest goes, whatever it is.
    private const int SearchLimit = 64;

    private readonly Lock _lock = new();
    private readonly Queue<FileNode> _queue = [];

    /// <summary>Uses a node's descriptor, if it is kept.</summary>
    internal bool TryUse(FileNode node, out HostDescriptor? descriptor)
    {
        lock (_lock)
        {
            node.IsRecent = true;
            descriptor = node.Descriptor;
            return descriptor is not null && descriptor.TryAdd();
        }
    }

    /// <summary>Keeps a node's descriptor for others, unless there is one.</summary>
    internal void Keep(FileNode node, HostDescriptor descriptor)
    {
        lock (_lock)
        {
            if (node.Descriptor is null && !node.IsForgotten && descriptor.TryAdd())
            {
                node.Descriptor = descriptor;
                _queue.Enqueue(node);
                Trim();
            }
        }
    }

    /// <summary>The node lost its name: its descriptor stays as long as can be.</summary>
    internal void KeepNameless(FileNode node)
    {
        lock (_lock)
        {
            node.IsNameless = true;
        }
    }

    /// <summary>The guest knows the node no more.</summary>
    internal void Drop(FileNode node)
    {
        lock (_lock)
        {
            node.IsForgotten = true;
            Evict(node);
        }
    }

    /// <summary>Closes all, as far as nobody uses them.</summary>
    internal void Clear()
    {
        lock (_lock)
        {
            while (_queue.TryDequeue(out FileNode? node))
            {
                Evict(node);
            }
        }
    }

    private void Trim()
    {
        for (int tries = 0; _queue.Count > most; tries++)
        {
            FileNode node = _queue.Dequeue();
            if (node.Descriptor is not null && tries < SearchLimit && (node.IsRecent || node.IsNameless))
            {
                node.IsRecent = false;
                _queue.Enqueue(node);
            }
            else
            {
                Evict(node);
            }
        }
    }

    private static void Evict(FileNode node)
    {
        node.Descriptor?.Release();
        node.Descriptor = null;
    }
}
