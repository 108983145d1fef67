using Hull.Memory;

namespace Hull.Xen.Events;

/// <summary>
/// Queues of events: a word for each port in pages that the guest gives, linked into a queue for each vCPU and priority, whose
/// head is in the vCPU's control block. Xen, "Event Channel FIFO ABI"; public/event_channel.h.
/// </summary>
internal sealed class FifoEvents(Domain domain) : IEventForm
{
    /// <summary>Priorities, 0 the highest.</summary>
    internal const int Priorities = 16;

    /// <summary>The priority of a port that was given none.</summary>
    internal const byte DefaultPriority = 7;

    private const uint Pending = 1u << 31;
    private const uint Masked = 1 << 30;
    private const uint Linked = 1 << 29;
    private const uint Busy = 1 << 28;
    private const uint LinkMask = (1 << 17) - 1;
    private const int WordsInPage = GuestMemory.PageSize / sizeof(uint);
    private const int PageLimit = (1 << 17) / WordsInPage;
    private const int HeadOffset = 8;

    // A guest that keeps changing a word that is locked against it is left with a lost event.
    private const int LinkTries = 4;

    private readonly GuestPhysical[] _pages = new GuestPhysical[PageLimit];
    private readonly GuestPhysical?[] _controlBlocks = new GuestPhysical?[domain.Vcpus.Count];
    private readonly int[] _tails = new int[domain.Vcpus.Count * Priorities];
    private int _pageCount;

    /// <summary>EVTCHNOP_init_control: a vCPU's control block.</summary>
    /// <returns>0, or an error.</returns>
    internal long SetControlBlock(int vcpu, ulong frame, uint offset)
    {
        const int blockSize = HeadOffset + (Priorities * sizeof(uint));
        if (_controlBlocks[vcpu] is not null || offset > GuestMemory.PageSize - blockSize || offset % 8 != 0
            || !domain.Reservation.Has(frame))
        {
            return XenError.Invalid;
        }

        GuestPhysical at = new((frame * GuestMemory.PageSize) + offset);
        if (!domain.Memory.Contains(at, blockSize))
        {
            return XenError.Invalid;
        }

        _controlBlocks[vcpu] = at;
        return 0;
    }

    /// <summary>EVTCHNOP_expand_array: one more page of words, and the events that waited for it.</summary>
    /// <returns>0, or an error.</returns>
    internal long AddPage(ulong frame)
    {
        if (_pageCount == PageLimit)
        {
            return XenError.NoSpace;
        }

        GuestPhysical at = new(frame * GuestMemory.PageSize);
        if (!domain.Reservation.Has(frame))
        {
            return XenError.Invalid;
        }

        _pages[_pageCount++] = at;
        foreach (EventPort port in domain.Events.Ports)
        {
            if (port is { State: not PortState.Free, IsPendingWithoutWord: true } && WordOf(port.Number) is not null)
            {
                port.IsPendingWithoutWord = false;
                SetPending(port);
            }
        }

        return 0;
    }

    /// <inheritdoc/>
    public void SetPending(EventPort port)
    {
        if (WordOf(port.Number) is not GuestPhysical word)
        {
            port.IsPendingWithoutWord = true;
            return;
        }

        GuestBits.TestAndSet(domain.Memory, word, Pending);
        uint value = domain.Memory.Read<uint>(word);
        if ((value & (Masked | Linked)) == 0 && _controlBlocks[port.Vcpu] is GuestPhysical block
            && !GuestBits.TestAndSet(domain.Memory, word, Linked))
        {
            Link(port, block);
        }
    }

    /// <inheritdoc/>
    public void Unmask(EventPort port)
    {
        if (WordOf(port.Number) is GuestPhysical word)
        {
            GuestBits.TestAndClear(domain.Memory, word, Masked);
            if ((domain.Memory.Read<uint>(word) & Pending) != 0)
            {
                SetPending(port);
            }
        }
    }

    /// <inheritdoc/>
    public void Clear(EventPort port)
    {
        port.IsPendingWithoutWord = false;
        if (WordOf(port.Number) is GuestPhysical word)
        {
            // A link stays: the guest takes it out when it comes to it.
            GuestBits.TestAndClear(domain.Memory, word, Pending);
        }
    }

    /// <inheritdoc/>
    public bool IsPending(EventPort port) => IsSet(port, Pending, port.IsPendingWithoutWord);

    /// <inheritdoc/>
    public bool IsMasked(EventPort port) => IsSet(port, Masked, true);

    private bool IsSet(EventPort port, uint bit, bool otherwise) =>
        WordOf(port.Number) is GuestPhysical at ? (domain.Memory.Read<uint>(at) & bit) != 0 : otherwise;

    private GuestPhysical? WordOf(int port) => port / WordsInPage < _pageCount
        ? new GuestPhysical(_pages[port / WordsInPage].Value + ((uint)(port % WordsInPage) * sizeof(uint)))
        : null;

    // Behind the queue's tail if the tail is still in the queue, else as its new head.
    private void Link(EventPort port, GuestPhysical block)
    {
        ref int last = ref _tails[(port.LastQueue.Vcpu * Priorities) + port.LastQueue.Priority];
        if (last == port.Number)
        {
            last = 0; // its word is about to be used for another link
        }

        port.LastQueue = (port.Vcpu, port.Priority);
        ref int tail = ref _tails[(port.Vcpu * Priorities) + port.Priority];
        bool linked = tail != 0 && WordOf(tail) is GuestPhysical word && TrySetLink(word, (uint)port.Number);
        if (!linked)
        {
            domain.Memory.Write(
                new GuestPhysical(block.Value + HeadOffset + ((uint)port.Priority * sizeof(uint))), (uint)port.Number);
        }

        tail = port.Number;
        if (!linked && !GuestBits.TestAndSet(domain.Memory, block, 1u << port.Priority))
        {
            domain.Vcpus[port.Vcpu].MarkPending();
        }
    }

    // False when the guest has taken the word out of the queue meanwhile.
    private bool TrySetLink(GuestPhysical word, uint link)
    {
        if (TryChangeLink(word, link) is bool done)
        {
            return done;
        }

        // The guest changes the word at the same time; BUSY makes it wait with its mask.
        GuestBits.TestAndSet(domain.Memory, word, Busy);
        bool? result = null;
        for (int i = 0; i < LinkTries && result is null; i++)
        {
            result = TryChangeLink(word, link);
        }

        if (result is not true)
        {
            GuestBits.TestAndClear(domain.Memory, word, Busy);
        }

        return result ?? true;
    }

    // Null: the word was changed meanwhile.
    private bool? TryChangeLink(GuestPhysical word, uint link)
    {
        uint before = domain.Memory.Read<uint>(word);
        if ((before & Linked) == 0)
        {
            return false;
        }

        uint after = (before & ~(Busy | LinkMask)) | link;
        return domain.Memory.CompareExchange(word, after, before) == before ? true : null;
    }
}
