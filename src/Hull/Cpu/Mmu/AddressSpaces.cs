using System;

namespace Hull.Cpu.Mmu;

/// <summary>
/// What a vCPU keeps of the address spaces (PCIDs) that are not current: the key of the user's jump cache and the generation
/// of the victim TLB. What was filled under them is good again when the space comes back. Forgetting is always allowed.
/// SDM vol. 3A, "Process-Context Identifiers (PCIDs)".
/// </summary>
internal sealed class AddressSpaces
{
    // Linux uses six PCIDs on a processor.
    private const int Room = 8;
    private readonly Space[] _spaces = new Space[Room];
    private int _next;

    /// <summary>A space is left.</summary>
    internal void Keep(int pcid, ulong jumpKey, ulong generation)
    {
        int at = Find(pcid);
        if (at < 0)
        {
            at = _next;
            _next = (_next + 1) % Room;
        }

        _spaces[at] = new Space(true, pcid, jumpKey, generation);
    }

    /// <summary>A space becomes current: says what was kept of it, and forgets it.</summary>
    internal bool TryTake(int pcid, out ulong jumpKey, out ulong generation)
    {
        int at = Find(pcid);
        Space space = at < 0 ? default : _spaces[at];
        jumpKey = space.JumpKey;
        generation = space.Generation;
        Forget(pcid);
        return at >= 0;
    }

    /// <summary>Forgets a space.</summary>
    internal void Forget(int pcid)
    {
        int at = Find(pcid);
        if (at >= 0)
        {
            _spaces[at] = default;
        }
    }

    /// <summary>Forgets all spaces.</summary>
    internal void ForgetAll() => Array.Clear(_spaces);

    private int Find(int pcid)
    {
        for (int at = 0; at < Room; at++)
        {
            if (_spaces[at].Used && _spaces[at].Pcid == pcid)
            {
                return at;
            }
        }

        return -1;
    }

    private readonly record struct Space(bool Used, int Pcid, ulong JumpKey, ulong Generation);
}
