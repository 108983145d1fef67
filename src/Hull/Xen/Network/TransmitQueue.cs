using System;
using System.Buffers.Binary;
using Hull.Devices.Virtio;
using Hull.Memory;
using Hull.Net;
using Hull.Xen.Events;
using Hull.Xen.PvDevices;

namespace Hull.Xen.Network;

/// <summary>
/// Frames that the guest sends over one ring: in pieces of pages that it grants, copied on a thread of the queue's own and
/// answered before they go out. Xen, public/io/netif.h, "Packets are transmitted".
/// </summary>
internal sealed class TransmitQueue : IDisposable
{
    // XEN_NETIF_NR_SLOTS_MIN and netback's own bound: a packet in more slots ends the talk.
    private const int MostSlots = 18;
    private const int FatalSlots = 20;
    private const int MostExtras = 4;

    private readonly Domain _domain;
    private readonly SharedRing _ring;
    private readonly EventPort _eventPort;
    private readonly EventReceiver _receiver;
    private readonly IEthernetPort _port;
    private readonly Action<byte> _sent;
    private readonly QueuePump _pump;
    private readonly FrameFinisher _finisher = new();
    private readonly TransmitRequest[] _slots = new TransmitRequest[FatalSlots];
    private readonly byte[] _frame = new byte[ushort.MaxValue];
    private int _slotCount;
    private int _extraCount;
    private ExtraInfo _segmentation;

    /// <summary>Makes the queue and connects it to the port that the guest made for it. Under the domain's lock.</summary>
    /// <param name="domain">The guest.</param>
    /// <param name="port">Where the frames go.</param>
    /// <param name="ring">The ring.</param>
    /// <param name="eventPort">The event channel's end.</param>
    /// <param name="receiver">What else the guest's event is for; null: nothing.</param>
    /// <param name="sent">Is told the flow of each frame (<see cref="EthernetFrame.GetFlow"/>).</param>
    internal TransmitQueue(
        Domain domain, IEthernetPort port, SharedRing ring, EventPort eventPort, Action? receiver, Action<byte> sent)
    {
        _domain = domain;
        _port = port;
        _ring = ring;
        _eventPort = eventPort;
        _sent = sent;
        _pump = new QueuePump("hull-vif-tx", 1, Step);
        _receiver = receiver is null ? _pump.Notify : () =>
        {
            receiver();
            _pump.Notify();
        };
        EventChannels.Join(eventPort, _receiver, receiver is null ? "vif tx" : "vif");
        _pump.Notify(); // requests may be there already
    }

    /// <summary>What the guest's event is told to.</summary>
    internal EventReceiver Receiver => _receiver;

    /// <inheritdoc/>
    public void Dispose() => _pump.Dispose();

    /// <summary>Waits until nothing is under way.</summary>
    internal void Drain() => _pump.Drain();

    // One packet. What the ring's other side breaks off or makes too long ends the talk, as netback does it.
    private bool Step()
    {
        if (!TryTakePacket())
        {
            _port.Flush();
            return false;
        }

        int length = TryCopy();
        bool good = length >= EthernetFrame.HeaderBytes;
        Answer(good ? NetifStatus.Okay : NetifStatus.Error);
        if (good)
        {
            Send(_frame.AsSpan(0, length));
        }

        return true;
    }

    private bool TryTakePacket()
    {
        Span<byte> slot = stackalloc byte[TransmitRequest.Bytes];
        _slotCount = 0;
        _extraCount = 0;
        _segmentation = default;
        if (!_ring.TryTake(slot))
        {
            return false;
        }

        TransmitRequest request = TransmitRequest.Read(slot);
        _slots[_slotCount++] = request;
        bool hasExtra = (request.Flags & TransmitFlags.ExtraInfo) != 0;
        while (hasExtra)
        {
            if (_extraCount == MostExtras || !_ring.TryTake(slot))
            {
                return Fail();
            }

            ExtraInfo extra = ExtraInfo.Read(slot);
            _segmentation = extra.Type == ExtraInfo.TypeGso ? extra : _segmentation;
            hasExtra = extra.HasMore;
            _extraCount++;
        }

        while ((request.Flags & TransmitFlags.MoreData) != 0)
        {
            if (_slotCount == FatalSlots || !_ring.TryTake(slot))
            {
                return Fail();
            }

            request = TransmitRequest.Read(slot);
            _slots[_slotCount++] = request;
        }

        return true;
    }

    private bool Fail()
    {
        _ring.Break();
        return false;
    }

    // The first slot's size is the whole frame's, so what it holds itself is what the others leave.
    private int TryCopy()
    {
        int length = _slots[0].Size;
        int first = length;
        for (int i = 1; i < _slotCount; i++)
        {
            first -= _slots[i].Size;
        }

        if (first <= 0 || _slotCount > MostSlots)
        {
            return 0;
        }

        int done = 0;
        for (int i = 0; i < _slotCount; i++)
        {
            ref readonly TransmitRequest slot = ref _slots[i];
            int size = i == 0 ? first : slot.Size;
            if (slot.Offset + size > GuestMemory.PageSize
                || !_domain.Grants.TryFind(slot.Reference, isWrite: false, out GuestPhysical page))
            {
                return 0;
            }

            bool copied = _domain.Memory.TryRead(new GuestPhysical(page.Value + slot.Offset), _frame.AsSpan(done, size));
            if (!copied)
            {
                return 0;
            }

            done += size;
        }

        return length;
    }

    private void Answer(short status)
    {
        Span<byte> response = stackalloc byte[4];
        for (int i = 0; i < _slotCount; i++)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(response, _slots[i].Id);
            BinaryPrimitives.WriteInt16LittleEndian(response[2..], status);
            _ring.Stage(response);
            for (int j = 0; i == 0 && j < _extraCount; j++)
            {
                BinaryPrimitives.WriteInt16LittleEndian(response[2..], NetifStatus.Null);
                _ring.Stage(response);
            }
        }

        if (_ring.Publish())
        {
            _domain.Act(() => _domain.Events.Notify(_eventPort, _receiver));
        }
    }

    private void Send(Span<byte> frame)
    {
        FrameOffload offload = default;
        bool isCut = _segmentation.Type == ExtraInfo.TypeGso;
        if ((_slots[0].Flags & TransmitFlags.ChecksumBlank) != 0)
        {
            if (!ChecksumPlace.TryFind(frame, out ushort start, out ushort offset))
            {
                return;
            }

            offload = offload with { NeedsChecksum = true, ChecksumStart = start, ChecksumOffset = offset };
        }

        if (isCut)
        {
            if (!offload.NeedsChecksum || _segmentation is not { SegmentBytes: > 0, SegmentationType: ExtraInfo.Tcp4 or ExtraInfo.Tcp6 })
            {
                return;
            }

            offload = offload with
            {
                Kind = _segmentation.SegmentationType == ExtraInfo.Tcp4 ? Segmentation.Tcp4 : Segmentation.Tcp6,
                SegmentBytes = _segmentation.SegmentBytes,
            };
        }

        _sent(EthernetFrame.GetFlow(frame));
        _finisher.Finish(frame, offload, _port.Takes, _port.LargestFrame, _port);
    }
}
