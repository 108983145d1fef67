using System.Collections.Generic;

namespace Hull.Storage.Qcow2;

/// <summary>
/// The clusters of the file that hold metadata: no data may go there, whatever an L2 table says. Sorted; new ones mostly
/// come at the end. Changed only by who has the image alone.
/// </summary>
internal sealed class ClusterSet
{
    private readonly List<ulong> _clusters = [];

    internal bool Contains(ulong cluster) => _clusters.BinarySearch(cluster) >= 0;

    /// <summary>True when one of some neighbouring clusters is in the set.</summary>
    internal bool ContainsAny(ulong first, ulong count)
    {
        int at = _clusters.BinarySearch(first);
        at = at < 0 ? ~at : at;
        return at < _clusters.Count && _clusters[at] - first < count;
    }

    /// <summary>Adds a cluster.</summary>
    /// <returns>False when it was there: two tables in one place.</returns>
    internal bool Add(ulong cluster)
    {
        if (_clusters.Count == 0 || _clusters[^1] < cluster)
        {
            _clusters.Add(cluster);
            return true;
        }

        int at = _clusters.BinarySearch(cluster);
        if (at >= 0)
        {
            return false;
        }

        _clusters.Insert(~at, cluster);
        return true;
    }

    /// <summary>Adds many, in any order.</summary>
    /// <returns>False when one was there already, or is there twice.</returns>
    internal bool AddAll(IReadOnlyCollection<ulong> clusters)
    {
        _clusters.AddRange(clusters);
        _clusters.Sort();
        bool isNew = true;
        int kept = 0;
        for (int i = 0; i < _clusters.Count; i++)
        {
            if (kept > 0 && _clusters[kept - 1] == _clusters[i])
            {
                isNew = false;
                continue;
            }

            _clusters[kept++] = _clusters[i];
        }

        _clusters.RemoveRange(kept, _clusters.Count - kept);
        return isNew;
    }

    internal void Remove(ulong cluster)
    {
        int at = _clusters.BinarySearch(cluster);
        if (at >= 0)
        {
            _clusters.RemoveAt(at);
        }
    }
}
