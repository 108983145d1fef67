using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace Hull.Xen.Store;

/// <summary>
/// One domain's talk with the store: its watches and transactions, a reply to each request. Requests are bytes that a guest
/// made; whatever they hold, the reply is an answer or an error's name. Limits are xenstored's.
/// </summary>
internal sealed class StoreConnection
{
    private const int MostWatches = 128;
    private const int MostTransactions = 10;
    private const int MostToken = 1024;

    private readonly XenStore _store;
    private readonly int _domain;
    private readonly Action<StoreHeader, ReadOnlyMemory<byte>> _send;
    private readonly List<StoreWatch> _watches = [];
    private readonly Dictionary<uint, StoreTransaction> _transactions = [];
    private uint _lastTransaction;

    /// <summary>Makes the connection; <paramref name="send"/> gets replies and watch events.</summary>
    internal StoreConnection(XenStore store, int domain, Action<StoreHeader, ReadOnlyMemory<byte>> send)
    {
        _store = store;
        _domain = domain;
        _send = send;
        store.Listen(Fire);
    }

    /// <summary>Watches that there are.</summary>
    internal IReadOnlyList<StoreWatch> Watches => _watches;

    /// <summary>Forgets watches and transactions.</summary>
    internal void Reset()
    {
        _watches.Clear();
        _transactions.Clear();
    }

    /// <summary>Acts on one request and sends its reply, then the events that it caused.</summary>
    internal void Receive(StoreHeader header, ReadOnlySpan<byte> payload)
    {
        byte[] reply = [];
        StoreError error = header.Length > StoreHeader.MostPayload ? StoreError.E2BIG : Do(header, payload, out reply);
        StoreMessageType type = header.Type;
        if (error != StoreError.None)
        {
            type = StoreMessageType.Error;
            reply = Encoding.ASCII.GetBytes(error + "\0");
        }

        _send(new StoreHeader(type, header.Request, header.Transaction, (uint)reply.Length), reply);
        if (error == StoreError.None && header.Type == StoreMessageType.Watch)
        {
            Send(_watches[^1], _watches[^1].Name); // a new watch fires once
        }

        _store.Announce();
    }

    private static byte[] Done => "OK\0"u8.ToArray();

    private StoreError Do(StoreHeader header, ReadOnlySpan<byte> payload, out byte[] reply)
    {
        reply = Done;
        string[] words = Words(payload);
        switch (header.Type)
        {
            case StoreMessageType.Watch:
                return AddWatch(words);
            case StoreMessageType.Unwatch:
                return RemoveWatch(words);
            case StoreMessageType.ResetWatches:
                Reset();
                return StoreError.None;
            case StoreMessageType.TransactionStart:
                return StartTransaction(header, out reply);
            case StoreMessageType.TransactionEnd:
                return EndTransaction(header, words);
            case StoreMessageType.GetDomainPath:
                return GetDomainPath(words, out reply);
            case StoreMessageType.IsDomainIntroduced:
                reply = Encoding.ASCII.GetBytes((Number(words) == _domain ? "T" : "F") + "\0");
                return Number(words) is null ? StoreError.EINVAL : StoreError.None;
            default:
                return DoOnTree(header, payload, words, out reply);
        }
    }

    private StoreError DoOnTree(StoreHeader header, ReadOnlySpan<byte> payload, string[] words, out byte[] reply)
    {
        reply = Done;
        StoreTree tree = _store.Tree;
        if (header.Transaction != 0)
        {
            if (!_transactions.TryGetValue(header.Transaction, out StoreTransaction? transaction))
            {
                return StoreError.ENOENT;
            }

            transaction.TryFollow(_store.Tree); // one in conflict goes on, and fails at its end
            tree = transaction.Tree;
        }

        if (words.Length == 0 || StorePath.Resolve(_domain, words[0]) is not string path)
        {
            return header.Type is StoreMessageType.Control ? StoreError.EACCES : StoreError.EINVAL;
        }

        switch (header.Type)
        {
            case StoreMessageType.Read:
                StoreError error = tree.Read(_domain, path, out StoreNode node);
                reply = [.. node.Value];
                return error;
            case StoreMessageType.Directory:
                error = tree.Read(_domain, path, out node);
                reply = Names(node);
                return error == StoreError.None && reply.Length > StoreHeader.MostPayload ? StoreError.E2BIG : error;
            case StoreMessageType.DirectoryPart:
                return DirectoryPart(tree, path, words, out reply);
            case StoreMessageType.GetPermissions:
                error = tree.Read(_domain, path, out node);
                reply = Encoding.ASCII.GetBytes(string.Concat(Array.ConvertAll([.. node.Permissions], static one => one + "\0")));
                return error;
            case StoreMessageType.Write:
                int end = payload.IndexOf((byte)0);
                return end < 0 ? StoreError.EINVAL : tree.Write(_domain, path, payload[(end + 1)..]);
            case StoreMessageType.MakeDirectory:
                return tree.MakeDirectory(_domain, path);
            case StoreMessageType.Remove:
                return tree.Remove(_domain, path);
            case StoreMessageType.SetPermissions:
                return SetPermissions(tree, path, words);
            default:
                return StoreError.ENOSYS;
        }
    }

    private StoreError SetPermissions(StoreTree tree, string path, string[] words)
    {
        List<StorePermission> permissions = [];
        foreach (string word in words.AsSpan(1))
        {
            if (!StorePermission.TryParse(word, out StorePermission permission))
            {
                return StoreError.EINVAL;
            }

            permissions.Add(permission);
        }

        return tree.SetPermissions(_domain, path, [.. permissions]);
    }

    // A directory in pieces: a number that changes with it, then names from an offset on, then one more zero at the end.
    private StoreError DirectoryPart(StoreTree tree, string path, string[] words, out byte[] reply)
    {
        reply = [];
        if (words.Length < 2 || !uint.TryParse(words[1], NumberStyles.None, CultureInfo.InvariantCulture, out uint offset))
        {
            return StoreError.EINVAL;
        }

        StoreError error = tree.Read(_domain, path, out StoreNode node);
        byte[] names = Names(node);
        byte[] number = Encoding.ASCII.GetBytes(_store.Generation.ToString(CultureInfo.InvariantCulture) + "\0");
        int start = (int)Math.Min(offset, (uint)names.Length);
        int room = StoreHeader.MostPayload - number.Length - 1;
        int stop = names.Length;
        if (names.Length - start > room)
        {
            stop = Array.LastIndexOf(names, (byte)0, start + room - 1) + 1;
        }

        reply = stop == names.Length ? [.. number, .. names[start..], 0] : [.. number, .. names[start..stop]];
        return error;
    }

    private StoreError AddWatch(string[] words)
    {
        if (words.Length < 2 || words[1].Length > MostToken)
        {
            return StoreError.EINVAL;
        }

        string? path = words[0].StartsWith('@') ? words[0] : StorePath.Resolve(_domain, words[0]);
        if (path is null)
        {
            return StoreError.EINVAL;
        }

        if (_watches.Exists(watch => watch.Path == path && watch.Token == words[1]))
        {
            return StoreError.EEXIST;
        }

        if (_watches.Count >= MostWatches)
        {
            return StoreError.E2BIG;
        }

        _watches.Add(new StoreWatch(path, words[0], words[1]));
        return StoreError.None;
    }

    private StoreError RemoveWatch(string[] words)
    {
        if (words.Length < 2)
        {
            return StoreError.EINVAL;
        }

        string? path = words[0].StartsWith('@') ? words[0] : StorePath.Resolve(_domain, words[0]);
        return _watches.RemoveAll(watch => watch.Path == path && watch.Token == words[1]) > 0
            ? StoreError.None
            : StoreError.ENOENT;
    }

    private StoreError StartTransaction(StoreHeader header, out byte[] reply)
    {
        reply = [];
        if (header.Transaction != 0)
        {
            return StoreError.EBUSY;
        }

        if (_transactions.Count >= MostTransactions)
        {
            return StoreError.ENOSPC;
        }

        do
        {
            _lastTransaction = _lastTransaction == uint.MaxValue ? 1 : _lastTransaction + 1;
        }
        while (_transactions.ContainsKey(_lastTransaction));
        _transactions[_lastTransaction] = new StoreTransaction(_store.Tree);
        reply = Encoding.ASCII.GetBytes(_lastTransaction.ToString(CultureInfo.InvariantCulture) + "\0");
        return StoreError.None;
    }

    private StoreError EndTransaction(StoreHeader header, string[] words)
    {
        if (words.Length == 0 || words[0] is not ("T" or "F"))
        {
            return StoreError.EINVAL;
        }

        if (!_transactions.Remove(header.Transaction, out StoreTransaction? transaction))
        {
            return StoreError.ENOENT;
        }

        return words[0] == "F" ? StoreError.None : _store.Commit(transaction, _domain);
    }

    private static StoreError GetDomainPath(string[] words, out byte[] reply)
    {
        int? domain = Number(words);
        reply = Encoding.ASCII.GetBytes(StorePath.OfDomain(domain ?? 0) + "\0");
        return domain is null ? StoreError.EINVAL : StoreError.None;
    }

    private static int? Number(string[] words) =>
        words.Length > 0 && ushort.TryParse(words[0], NumberStyles.None, CultureInfo.InvariantCulture, out ushort number)
            ? number
            : null;

    private static string[] Words(ReadOnlySpan<byte> payload)
    {
        string text = Encoding.Latin1.GetString(payload);
        return text.EndsWith('\0') ? text[..^1].Split('\0') : text.Split('\0');
    }

    private static byte[] Names(StoreNode node) =>
        Encoding.ASCII.GetBytes(node.Children.IsEmpty ? "" : string.Join('\0', node.Children.Keys) + "\0");

    private void Fire(string path)
    {
        foreach (StoreWatch watch in _watches.ToArray())
        {
            if (StorePath.IsWithin(path, watch.Path))
            {
                Send(watch, watch.Relative(path));
            }
            else if (StorePath.IsWithin(watch.Path, path))
            {
                Send(watch, watch.Name); // it was removed with what is above it
            }
        }
    }

    private void Send(StoreWatch watch, string path)
    {
        byte[] bytes = Encoding.Latin1.GetBytes($"{path}\0{watch.Token}\0");
        _send(new StoreHeader(StoreMessageType.WatchEvent, 0, 0, (uint)bytes.Length), bytes);
    }
}

/// <summary>A watch: the whole path, as the watcher named it, and its own word for it.</summary>
internal sealed record StoreWatch(string Path, string Name, string Token)
{
    /// <summary>A path below it as the watcher would name it.</summary>
    internal string Relative(string path) => Name + path[Path.Length..];
}
