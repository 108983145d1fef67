using System.Collections.Generic;
using System.Threading;
using Hull.Host;

namespace Hull.Files.NineP;

/// <summary>What the guest has a fid for: a file, perhaps open, or an extended attribute on its way in or out.</summary>
internal sealed class P9Fid(FileNode node, uint uid)
{
    internal FileNode Node => node;

    /// <summary>Who attached: new files are theirs.</summary>
    internal uint Uid => uid;

    /// <summary>The open file's number; 0: not open.</summary>
    internal ulong Handle { get; set; }

    /// <summary>An attribute's bytes; null: this is no attribute.</summary>
    internal byte[]? Attribute { get; init; }

    /// <summary>The attribute that the bytes go to when the fid is clunked, with a zero behind it; null: they are to be read.</summary>
    internal byte[]? AttributeName { get; init; }

    /// <summary>As of setxattr(2).</summary>
    internal int AttributeFlags { get; init; }
}

/// <summary>The guest's fids; each counts as a lookup of its node. Bounded. Any thread.</summary>
internal sealed class P9Fids(FileTree tree, OpenFiles files)
{
    private const int MostFids = 1 << 20;
    private const long MostAttributeBytes = 16 << 20;

    private readonly Lock _lock = new();
    private readonly Dictionary<uint, P9Fid> _fids = [];
    private long _attributeBytes;

    internal int Count
    {
        get
        {
            lock (_lock)
            {
                return _fids.Count;
            }
        }
    }

    internal P9Fid? Find(uint number)
    {
        lock (_lock)
        {
            return _fids.GetValueOrDefault(number);
        }
    }

    /// <summary>Adds a fid; its node's lookup is the fid's from here on, or forgotten.</summary>
    internal int Add(uint number, P9Fid fid)
    {
        lock (_lock)
        {
            if (_fids.Count < MostFids && HasRoomFor(fid) && _fids.TryAdd(number, fid))
            {
                _attributeBytes += AttributeBytes(fid);
                return 0;
            }
        }

        tree.Forget(fid.Node.Id, 1);
        return Errno.Invalid;
    }

    /// <summary>Puts another in place of a fid, for the same number; the old one's node is forgotten, not what it has open.</summary>
    /// <returns>False when the old one is not there any more, or there is no room; the new one's file is closed then.</returns>
    internal bool TryReplace(uint number, P9Fid old, P9Fid fid)
    {
        bool replaced;
        lock (_lock)
        {
            replaced = _fids.GetValueOrDefault(number) == old && HasRoomFor(fid);
            if (replaced)
            {
                _attributeBytes += AttributeBytes(fid) - AttributeBytes(old);
                _fids[number] = fid;
            }
        }

        P9Fid gone = replaced ? old : fid;
        if (!replaced && fid.Handle != 0)
        {
            files.Close(fid.Handle);
        }

        tree.Forget(gone.Node.Id, 1);
        return replaced;
    }

    /// <summary>Notes what a fid has open.</summary>
    /// <returns>False when it has something open, or is not the guest's any more.</returns>
    internal bool TryOpen(uint number, P9Fid fid, ulong handle)
    {
        lock (_lock)
        {
            if (fid.Handle != 0 || fid.Attribute is not null || _fids.GetValueOrDefault(number) != fid)
            {
                return false;
            }

            fid.Handle = handle;
            return true;
        }
    }

    /// <summary>Takes a fid away, closes what it has open, and forgets its node.</summary>
    internal P9Fid? Remove(uint number)
    {
        P9Fid? fid;
        lock (_lock)
        {
            if (_fids.Remove(number, out fid))
            {
                _attributeBytes -= AttributeBytes(fid);
            }
        }

        if (fid is not null)
        {
            files.Close(fid.Handle);
            tree.Forget(fid.Node.Id, 1);
        }

        return fid;
    }

    internal void Clear()
    {
        lock (_lock)
        {
            _fids.Clear();
            _attributeBytes = 0;
        }
    }

    private static int AttributeBytes(P9Fid fid) => fid.Attribute?.Length ?? 0;

    private bool HasRoomFor(P9Fid fid) => fid.Attribute is null || _attributeBytes + fid.Attribute.Length <= MostAttributeBytes;
}
