using System.Collections.Immutable;

namespace Hull.Xen.Store;

/// <summary>What one domain may do with a node.</summary>
/// <param name="Domain">Whose permission it is; of the first in a list, the owner.</param>
/// <param name="CanRead">May read.</param>
/// <param name="CanWrite">May write.</param>
internal readonly record struct StorePermission(int Domain, bool CanRead, bool CanWrite)
{
    /// <summary>As the protocol writes it: n, r, w or b, and the domain.</summary>
    public override string ToString() =>
        string.Create(
            System.Globalization.CultureInfo.InvariantCulture,
            $"{(CanRead ? CanWrite ? 'b' : 'r' : CanWrite ? 'w' : 'n')}{Domain}");

    /// <summary>Reads that form.</summary>
    internal static bool TryParse(string text, out StorePermission permission)
    {
        bool known = text.Length > 1 && text[0] is 'n' or 'r' or 'w' or 'b';
        bool parsed = ushort.TryParse(
            known ? text[1..] : "",
            System.Globalization.NumberStyles.None,
            System.Globalization.CultureInfo.InvariantCulture,
            out ushort domain);
        permission = new StorePermission(domain, known && text[0] is 'r' or 'b', known && text[0] is 'w' or 'b');
        return parsed;
    }
}

/// <summary>A node of the store. It never changes: a change makes new nodes up to the root, so a transaction keeps a root.</summary>
internal sealed record StoreNode
{
    /// <summary>The value.</summary>
    internal ImmutableArray<byte> Value { get; init; } = [];

    /// <summary>The owner's entry first: what it grants is for all whom the others do not name.</summary>
    internal ImmutableArray<StorePermission> Permissions { get; init; } = [new StorePermission(0, false, false)];

    /// <summary>The nodes below.</summary>
    internal ImmutableSortedDictionary<string, StoreNode> Children { get; init; } =
        ImmutableSortedDictionary.Create<string, StoreNode>(System.StringComparer.Ordinal);

    /// <summary>Another object after each change of value, permissions or the names below; what is under those does not count.</summary>
    internal object Stamp { get; init; } = new();

    /// <summary>The domain that the node counts for.</summary>
    internal int Owner => Permissions[0].Domain;

    /// <summary>True when a domain may read.</summary>
    internal bool CanRead(int domain) => domain == 0 || domain == Owner || Find(domain).CanRead;

    /// <summary>True when a domain may write, which is also to make and remove nodes below.</summary>
    internal bool CanWrite(int domain) => domain == 0 || domain == Owner || Find(domain).CanWrite;

    private StorePermission Find(int domain)
    {
        for (int i = 1; i < Permissions.Length; i++)
        {
            if (Permissions[i].Domain == domain)
            {
                return Permissions[i];
            }
        }

        return Permissions[0];
    }
}
