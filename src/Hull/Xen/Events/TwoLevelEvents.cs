using Hull.Memory;

namespace Hull.Xen.Events;

/// <summary>
/// The older form: a pending and a mask bit for each port in shared_info, and in vcpu_info a selector with a bit for each word
/// of them, which has 64 or a 32-bit guest's 32. Xen, public/xen.h, "Event channel endpoints".
/// </summary>
internal sealed class TwoLevelEvents(Domain domain) : IEventForm
{
    /// <inheritdoc/>
    public void SetPending(EventPort port)
    {
        if (domain.SharedInfo.PendingWord(port.Number) is not GuestPhysical pending)
        {
            port.IsPendingWithoutWord = true;
            return;
        }

        if (!GuestBits.TestAndSet(domain.Memory, pending, Bit(port)) && !IsMasked(port))
        {
            Select(port);
        }
    }

    /// <inheritdoc/>
    public void Unmask(EventPort port)
    {
        if (domain.SharedInfo.MaskWord(port.Number) is GuestPhysical mask
            && GuestBits.TestAndClear(domain.Memory, mask, Bit(port)) && IsPending(port))
        {
            Select(port);
        }
    }

    /// <inheritdoc/>
    public void Clear(EventPort port)
    {
        port.IsPendingWithoutWord = false;
        if (domain.SharedInfo.PendingWord(port.Number) is GuestPhysical pending)
        {
            GuestBits.TestAndClear(domain.Memory, pending, Bit(port));
        }
    }

    /// <inheritdoc/>
    public bool IsPending(EventPort port) => IsSet(domain.SharedInfo.PendingWord(port.Number), port, port.IsPendingWithoutWord);

    /// <inheritdoc/>
    public bool IsMasked(EventPort port) => IsSet(domain.SharedInfo.MaskWord(port.Number), port, false);

    private static uint Bit(EventPort port) => 1u << (port.Number % 32);

    private bool IsSet(GuestPhysical? word, EventPort port, bool otherwise) =>
        word is GuestPhysical at ? (domain.Memory.Read<uint>(at) & Bit(port)) != 0 : otherwise;

    // The selector first, then the flag that makes the guest look at it.
    private void Select(EventPort port)
    {
        DomainVcpu vcpu = domain.Vcpus[port.Vcpu];
        if (vcpu.Info is not GuestPhysical info)
        {
            return;
        }

        // The selector is the word behind the first, and has a bit for each word of ports.
        int wordBytes = domain.SharedInfo.WordBytes;
        int word = port.Number / (8 * wordBytes);
        GuestPhysical selector = new(info.Value + (uint)wordBytes + (uint)(word / 32 * 4));
        if (!GuestBits.TestAndSet(domain.Memory, selector, 1u << (word % 32)))
        {
            vcpu.MarkPending();
        }
    }
}
