using System.Collections.Generic;

namespace Hull.Xen.Store;

/// <summary>
/// What a transaction has looked at and changed: each node it depends on, as it found it at first, and what it removed. It is in
/// conflict when one of those nodes is another now. Limits are xenstored's ("transaction-nodes").
/// </summary>
internal sealed class StoreAccesses
{
    private const int MostNodes = 1024;

    private readonly Dictionary<string, object?> _stamps = [];
    private readonly HashSet<string> _changed = [];
    private readonly HashSet<string> _removed = [];

    /// <summary>Paths that were removed at some time, even if they are there again.</summary>
    internal IReadOnlyCollection<string> Removed => _removed;

    /// <summary>The transaction depends on a node, or on there being none.</summary>
    /// <returns>False when it depends on too many.</returns>
    internal bool TryNote(string path, StoreNode? node) => _stamps.ContainsKey(path)
        || (_stamps.Count < MostNodes && _stamps.TryAdd(path, node?.Stamp));

    /// <summary>A node was changed.</summary>
    /// <returns>True for the first time.</returns>
    internal bool Change(string path, bool isRemoval)
    {
        if (isRemoval)
        {
            _removed.Add(path);
        }

        return _changed.Add(path);
    }

    /// <summary>Looks whether nodes that the transaction depends on are others now.</summary>
    internal bool Conflicts(StoreTree now)
    {
        foreach ((string path, object? stamp) in _stamps)
        {
            if (!ReferenceEquals(now.Find(path)?.Stamp, stamp))
            {
                return true;
            }
        }

        return false;
    }
}
