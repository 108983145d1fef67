using System;
using System.Buffers.Binary;
using Hull.Memory;
using Hull.Net;
using Hull.Xen.Events;
using Hull.Xen.PvDevices;

namespace Hull.Xen.Network;

/// <summary>
/// Frames for the guest over one ring: each is copied into pages that the guest has put there. For one thread. Xen,
/// public/io/netif.h, "Guest receive".
/// </summary>
internal sealed class ReceiveQueue
{
    private const int RequestBytes = 8;

    private readonly Domain _domain;
    private readonly SharedRing _ring;
    private readonly EventPort _eventPort;
    private readonly EventReceiver _receiver;

    /// <summary>Makes the queue.</summary>
    /// <param name="domain">The guest.</param>
    /// <param name="ring">The ring.</param>
    /// <param name="eventPort">The event channel's end.</param>
    /// <param name="receiver">What the port is connected to.</param>
    internal ReceiveQueue(Domain domain, SharedRing ring, EventPort eventPort, EventReceiver receiver)
    {
        _domain = domain;
        _ring = ring;
        _eventPort = eventPort;
        _receiver = receiver;
    }

    /// <summary>Bytes of a slot.</summary>
    internal static int SlotBytes => RequestBytes;

    /// <summary>Gives the guest a frame, all of it or nothing.</summary>
    /// <returns>False when there is no room; the guest notifies when there is.</returns>
    internal bool TryDeliver(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        bool isCut = offload.Kind != Segmentation.None;
        int pages = (frame.Length + GuestMemory.PageSize - 1) / GuestMemory.PageSize;
        if (_ring.IsBroken)
        {
            return true; // nobody will ever take it
        }

        if (!_ring.Holds(pages + (isCut ? 1 : 0)))
        {
            return _ring.IsBroken;
        }

        ReceiveFlags flags = offload.NeedsChecksum ? ReceiveFlags.ChecksumBlank | ReceiveFlags.DataValidated
            : offload.ChecksumIsGood ? ReceiveFlags.DataValidated : ReceiveFlags.None;
        flags |= isCut ? ReceiveFlags.ExtraInfo : ReceiveFlags.None;
        for (int i = 0; i < pages; i++)
        {
            ReadOnlySpan<byte> piece = frame[(i * GuestMemory.PageSize)..];
            piece = piece[..Math.Min(piece.Length, GuestMemory.PageSize)];
            PutPiece(piece, flags | (i + 1 < pages ? ReceiveFlags.MoreData : ReceiveFlags.None));
            if (i == 0 && isCut)
            {
                PutSegmentation(offload);
            }

            flags = ReceiveFlags.None;
        }

        return true;
    }

    /// <summary>Shows the guest what was delivered. Takes the domain's lock.</summary>
    internal void Publish()
    {
        if (_ring.Publish())
        {
            _domain.Act(() => _domain.Events.Notify(_eventPort, _receiver));
        }
    }

    private void PutPiece(ReadOnlySpan<byte> piece, ReceiveFlags flags)
    {
        Span<byte> request = stackalloc byte[RequestBytes];
        _ring.TryTake(request);
        uint reference = BinaryPrimitives.ReadUInt32LittleEndian(request[4..]);
        short status = NetifStatus.Error;
        if (_domain.Grants.TryFind(reference, isWrite: true, out GuestPhysical page))
        {
            status = _domain.Memory.TryWrite(page, piece) ? (short)piece.Length : NetifStatus.Error;
        }

        // Identifier, offset, flags, and the bytes or what went wrong.
        Span<byte> response = stackalloc byte[RequestBytes];
        request[..2].CopyTo(response);
        BinaryPrimitives.WriteUInt16LittleEndian(response[2..], 0);
        BinaryPrimitives.WriteUInt16LittleEndian(response[4..], (ushort)flags);
        BinaryPrimitives.WriteInt16LittleEndian(response[6..], status);
        _ring.Stage(response);
    }

    // It takes a slot, whose page stays unused.
    private void PutSegmentation(in FrameOffload offload)
    {
        Span<byte> slot = stackalloc byte[RequestBytes];
        _ring.TryTake(slot);
        byte type = offload.Kind == Segmentation.Tcp4 ? ExtraInfo.Tcp4 : ExtraInfo.Tcp6;
        new ExtraInfo(ExtraInfo.TypeGso, HasMore: false, offload.SegmentBytes, type).Write(slot);
        _ring.Stage(slot);
    }
}
