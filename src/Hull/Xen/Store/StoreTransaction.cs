namespace Hull.Xen.Store;

/// <summary>
/// Changes that are seen by nobody else before they are all there. As in xenstored the transaction sees what others change as long as
/// that does not touch what it has looked at itself; if it does, the transaction fails at its end, and only then.
/// </summary>
internal sealed class StoreTransaction
{
    private readonly StoreAccesses _accesses = new();
    private StoreNode _base;
    private bool _isDoomed;

    /// <summary>Begins with the store as it is.</summary>
    internal StoreTransaction(StoreTree store)
    {
        _base = store.Root;
        Tree = new StoreTree(store.Root, _accesses);
    }

    /// <summary>The nodes as the transaction sees them.</summary>
    internal StoreTree Tree { get; }

    /// <summary>Takes in what others have changed since the last call.</summary>
    /// <returns>False when that is in conflict with what the transaction has looked at: it stays as it was.</returns>
    internal bool TryFollow(StoreTree store)
    {
        if (!_isDoomed && !ReferenceEquals(store.Root, _base))
        {
            _isDoomed = _accesses.Conflicts(store);
            if (!_isDoomed)
            {
                _base = store.Root;
                Tree.Rebase(store.Root, _accesses.Removed);
            }
        }

        return !_isDoomed;
    }
}
