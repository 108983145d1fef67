using System;
using System.Collections.Generic;
using Hull.Memory;
using Hull.Xen.Events;

namespace Hull.Xen.Store;

/// <summary>
/// The ring between a domain and the store: requests and replies as two streams of bytes in one page. Under the domain's lock.
/// Xen, docs/misc/xenstore-ring.txt.
/// </summary>
internal sealed class StoreRing
{
    private const uint RingSize = 1024;
    private const uint ReplyOffset = 1024;
    private const uint RequestConsumer = 2048;
    private const uint RequestProducer = 2052;
    private const uint ReplyConsumer = 2056;
    private const uint ReplyProducer = 2060;
    private const ulong Page = SpecialPages.StoreFrame * GuestMemory.PageSize;

    // A guest that does not read its replies gets no further ones; events beyond this are lost to it.
    private const int MostWaiting = 256 << 10;

    private const uint RequestsInTurn = 8;

    private readonly Domain _domain;
    private EventPort _port;
    private readonly StoreConnection _connection;
    private readonly byte[] _message = new byte[StoreHeader.Size + StoreHeader.MostPayload];
    private readonly Queue<byte> _waiting = [];
    private int _received;
    private uint _served;
    private bool _broken;

    /// <summary>Makes the ring, with a port of its own.</summary>
    internal StoreRing(Domain domain, XenStore store)
    {
        _domain = domain;
        Store = store;
        _connection = new StoreConnection(store, domain.Id, Send);
        _port = Connect();
    }

    /// <summary>The domain begins anew: an empty ring, no watches, a port again.</summary>
    internal void Restart()
    {
        _domain.Memory.TryWrite(At(0), new byte[GuestMemory.PageSize]);
        _connection.Reset();
        _waiting.Clear();
        _received = 0;
        _broken = false;
        _port = Connect();
    }

    /// <summary>The store behind it.</summary>
    internal XenStore Store { get; }

    /// <summary>Writes a node for the toolstack; the guest is told if it watches it. Any thread.</summary>
    /// <returns>False when the guest does not watch it.</returns>
    internal bool Write(string name, string value)
    {
        string path = $"{StorePath.OfDomain(_domain.Id)}/{name}";
        bool isWatched = false;
        _domain.Act(() =>
        {
            foreach (StoreWatch watch in _connection.Watches)
            {
                isWatched |= StorePath.IsWithin(path, watch.Path);
            }

            Store.Tree.Write(0, path, System.Text.Encoding.UTF8.GetBytes(value));
            Publish();
        });
        return isWatched;
    }

    /// <summary>Tells all who watch what Hull has written. Under the domain's lock.</summary>
    internal void Publish()
    {
        Store.Announce();
        if (PutReplies())
        {
            _domain.Events.Notify(_port, Serve);
        }
    }

    private EventPort Connect()
    {
        EventPort port = _domain.Events.Connect(Serve, "xenstore");
        _domain.Parameters[HvmParameters.StoreFrame] = SpecialPages.StoreFrame;
        _domain.Parameters[HvmParameters.StoreEventChannel] = (ulong)port.Number;
        return port;
    }

    private static GuestPhysical At(uint offset) => new(Page + offset);

    // Takes requests as long as their replies have room. Those can be thousands, if another vCPU writes them as fast as they are taken: the
    // others get their turn between them, and then may be here too.
    private void Serve()
    {
        bool moved = PutReplies();
        while (!_broken && _waiting.Count < MostWaiting / 2 && TryTakeByte(out byte value))
        {
            moved = true;
            _message[_received++] = value;
            if (_received >= StoreHeader.Size && TryDispatch() && ++_served % RequestsInTurn == 0 && !_domain.LetOthersIn())
            {
                break;
            }
        }

        moved |= PutReplies();
        if (moved)
        {
            _domain.Events.Notify(_port, Serve);
        }
    }

    private bool TryDispatch()
    {
        StoreHeader header = StoreHeader.Read(_message);
        if (header.Length > StoreHeader.MostPayload)
        {
            // Where the next message starts cannot be known: as xenstored, the ring is done with.
            _broken = true;
            return false;
        }

        int size = StoreHeader.Size + (int)header.Length;
        if (_received != size)
        {
            return false;
        }

        _received = 0;
        _connection.Receive(header, _message.AsSpan(StoreHeader.Size, (int)header.Length));
        return true;
    }

    private bool TryTakeByte(out byte value)
    {
        uint consumer = _domain.Memory.Read<uint>(At(RequestConsumer));
        uint available = _domain.Memory.Read<uint>(At(RequestProducer)) - consumer;
        value = _domain.Memory.Read<byte>(At(consumer % RingSize));
        if (available is 0 or > RingSize)
        {
            return false;
        }

        _domain.Memory.Write(At(RequestConsumer), consumer + 1);
        return true;
    }

    private void Send(StoreHeader header, ReadOnlyMemory<byte> payload)
    {
        if (header.Type == StoreMessageType.WatchEvent && _waiting.Count > MostWaiting)
        {
            return;
        }

        Span<byte> head = stackalloc byte[StoreHeader.Size];
        header.Write(head);
        foreach (byte value in head)
        {
            _waiting.Enqueue(value);
        }

        foreach (byte value in payload.Span)
        {
            _waiting.Enqueue(value);
        }
    }

    private bool PutReplies()
    {
        uint producer = _domain.Memory.Read<uint>(At(ReplyProducer));
        uint used = producer - _domain.Memory.Read<uint>(At(ReplyConsumer));
        bool moved = false;
        while (used < RingSize && _waiting.TryDequeue(out byte value))
        {
            _domain.Memory.Write(At(ReplyOffset + (producer++ % RingSize)), value);
            used++;
            moved = true;
        }

        if (moved)
        {
            _domain.Memory.Write(At(ReplyProducer), producer);
        }

        return moved;
    }
}
