using Hull.Memory;

namespace Hull.Xen.Events;

/// <summary>Bits in guest memory that guest and Xen both change: each change is one step.</summary>
internal static class GuestBits
{
    /// <summary>Sets bits of an aligned word.</summary>
    /// <returns>True when they were all set before.</returns>
    internal static bool TestAndSet(GuestMemory memory, GuestPhysical at, uint bits)
    {
        while (true)
        {
            uint before = memory.Read<uint>(at);
            if ((before & bits) == bits)
            {
                return true;
            }

            if (memory.CompareExchange(at, before | bits, before) == before)
            {
                return false;
            }
        }
    }

    /// <summary>Clears bits of an aligned word.</summary>
    /// <returns>True when one of them was set before.</returns>
    internal static bool TestAndClear(GuestMemory memory, GuestPhysical at, uint bits)
    {
        while (true)
        {
            uint before = memory.Read<uint>(at);
            if ((before & bits) == 0)
            {
                return false;
            }

            if (memory.CompareExchange(at, before & ~bits, before) == before)
            {
                return true;
            }
        }
    }
}
