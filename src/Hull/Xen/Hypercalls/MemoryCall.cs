using Hull.Memory;

namespace Hull.Xen.Hypercalls;

/// <summary>memory_op: what is where in a domain's memory. Xen, public/memory.h.</summary>
internal static class MemoryCall
{
    private const ushort Self = 0x7FF0;
    private const uint SpaceSharedInfo = 0;
    private const uint SpaceGrantTable = 1;

    // The bits above are where an interrupted call goes on.
    private const uint OperationMask = 0x3F;

    internal static long Do(in Hypercall call) => (call.Word(0) & OperationMask) switch
    {
        3 or 4 => (long)(call.Domain.Memory.Size / GuestMemory.PageSize),
        7 => AddToPhysmap(call),
        14 => (long)((call.Domain.Memory.HighSize > 0
            ? GuestMemory.HighBase + call.Domain.Memory.HighSize
            : call.Domain.Memory.LowSize) / GuestMemory.PageSize) - 1,
        15 => RemoveFromPhysmap(call),
        26 => XenError.NotSupported,
        _ => XenError.NoSystemCall,
    };

    private static long AddToPhysmap(in Hypercall call)
    {
        if (!call.TryLoad(1, out AddRequest request))
        {
            return XenError.Fault;
        }

        if (request.Domain != Self && request.Domain != call.Domain.Id)
        {
            return XenError.NoSuchDomain;
        }

        return request.Space switch
        {
            SpaceSharedInfo => request.Index == 0 ? call.Domain.SharedInfo.MoveTo(request.Frame) : XenError.Invalid,
            SpaceGrantTable => call.Domain.Grants.PlaceFrame(request.Index, request.Frame),
            _ => XenError.NoSystemCall,
        };
    }

    // QUIRK: a frame that the guest gives back stays where it is. The guest may not use it, and what it holds is its own.
    private static long RemoveFromPhysmap(in Hypercall call)
    {
        if (!call.TryLoad(1, out RemoveRequest request))
        {
            return XenError.Fault;
        }

        if (request.Domain != Self && request.Domain != call.Domain.Id)
        {
            return XenError.NoSuchDomain;
        }

        return request.Frame <= ulong.MaxValue / GuestMemory.PageSize
            && call.Domain.Memory.Contains(new GuestPhysical(request.Frame * GuestMemory.PageSize), GuestMemory.PageSize)
            ? 0
            : XenError.NoEntry;
    }

    // struct xen_add_to_physmap; the space has 32 bits, the domain and the size 16 each.
    private struct AddRequest
    {
        internal ushort Domain;
        internal ushort Size;
        internal uint Space;
        internal ulong Index;
        internal ulong Frame;
    }

    // struct xen_remove_from_physmap.
    private struct RemoveRequest
    {
        internal ulong DomainAndPad;
        internal ulong Frame;

        internal readonly ushort Domain => (ushort)DomainAndPad;
    }
}
