using Hull.Memory;
using Hull.Xen.Grants;

namespace Hull.Xen.Hypercalls;

/// <summary>An element of a list of grant_table_op, as the guest has it in its memory.</summary>
internal interface IGrantElement
{
    /// <summary>Does what it asks for, and notes in it what became of that.</summary>
    void Do(in Hypercall call);
}

/// <summary>struct gnttab_map_grant_ref.</summary>
// QUIRK: a guest has nobody's grants to map: dom0 grants it nothing, and its own pages it has already. Real Xen maps a PVH guest's own by
// their domain's number, and takes the page away from its first place.
internal struct MapElement : IGrantElement
{
    private const uint DeviceMap = 1;
    private const uint HostMap = 2;
    private const uint ApplicationMap = 8;
    private const uint EntryAddress = 16;

    internal ulong Address;
    internal uint Flags;
    internal uint Reference;
    internal ushort Domain;
    internal GrantStatus Status;
    internal uint Handle;
    internal ulong BusAddress;

    /// <inheritdoc/>
    public void Do(in Hypercall call) => Status = (Flags & (DeviceMap | HostMap)) == 0 ? GrantStatus.BadReference
        : (Flags & (DeviceMap | ApplicationMap | EntryAddress)) != 0 ? GrantStatus.GeneralError // for PV guests
        : Domain is DomainNumber.Control || Domain == call.Domain.Id ? GrantStatus.GeneralError
        : GrantStatus.BadDomain;
}

/// <summary>struct gnttab_unmap_grant_ref: nothing is mapped.</summary>
internal struct UnmapElement : IGrantElement
{
    internal ulong Address;
    internal ulong BusAddress;
    internal uint Handle;
    internal GrantStatus Status;
    internal ushort Pad;

    /// <inheritdoc/>
    public void Do(in Hypercall call) => Status = GrantStatus.BadHandle;
}

/// <summary>struct gnttab_swap_grant_ref.</summary>
internal struct SwapElement : IGrantElement
{
    internal uint First;
    internal uint Second;
    internal GrantStatus Status;
    internal ushort Pad;

    /// <inheritdoc/>
    public void Do(in Hypercall call)
    {
        uint count = call.Domain.Grants.EntryCount;
        Status = First >= count || Second >= count ? GrantStatus.BadReference
            : First == Second || call.Domain.Grants.TrySwap(First, Second) ? GrantStatus.Okay
            : GrantStatus.Again;
    }
}

/// <summary>One side of a copy: a page, by its frame or by a grant, and a place in it.</summary>
internal struct GrantCopySide
{
    internal ulong Page;
    internal ushort Domain;
    internal ushort Offset;
    internal uint Pad;
}

/// <summary>struct gnttab_copy: bytes from one page to another.</summary>
internal struct GrantCopy : IGrantElement
{
    private const ushort FromGrant = 1;
    private const ushort ToGrant = 2;

    internal GrantCopySide From;
    internal GrantCopySide To;
    internal ushort Length;
    internal ushort Flags;
    internal GrantStatus Status;
    internal ushort Pad;

    /// <inheritdoc/>
    public void Do(in Hypercall call) => Status = Copy(call);

    private readonly GrantStatus Copy(in Hypercall call)
    {
        bool isFromGrant = (Flags & FromGrant) != 0;
        bool isToGrant = (Flags & ToGrant) != 0;
        GrantStatus status = StatusOf(call, From, isFromGrant);
        status = status == GrantStatus.Okay ? StatusOf(call, To, isToGrant) : status;
        if (status != GrantStatus.Okay)
        {
            return status;
        }

        status = Find(call, From, isFromGrant, isWrite: false, out GuestPhysical from, out GrantedPart source);
        GuestPhysical to = default;
        GrantedPart destination = default;
        status = status == GrantStatus.Okay ? Find(call, To, isToGrant, isWrite: true, out to, out destination) : status;
        if (status != GrantStatus.Okay)
        {
            return status;
        }

        if (From.Offset + Length > GuestMemory.PageSize || To.Offset + Length > GuestMemory.PageSize)
        {
            return GrantStatus.BadCopyArgument;
        }

        if (!source.Holds(From.Offset, Length) || !destination.Holds(To.Offset, Length))
        {
            return GrantStatus.GeneralError;
        }

        System.Span<byte> bytes = stackalloc byte[Length];
        call.Domain.Memory.TryRead(new GuestPhysical(from.Value + From.Offset), bytes);
        call.Domain.Memory.TryWrite(new GuestPhysical(to.Value + To.Offset), bytes);
        return GrantStatus.Okay;
    }

    // By its frame one may name a page of one's own only.
    private static GrantStatus StatusOf(in Hypercall call, in GrantCopySide side, bool isGrant) =>
        !isGrant && side.Domain != DomainNumber.Self ? GrantStatus.PermissionDenied
        : side.Domain == DomainNumber.Control ? GrantStatus.Okay
        : GrantCall.StatusOf(call, side.Domain);

    // Dom0 has granted nothing.
    private static GrantStatus Find(
        in Hypercall call, in GrantCopySide side, bool isGrant, bool isWrite, out GuestPhysical page, out GrantedPart part)
    {
        page = new GuestPhysical(side.Page * GuestMemory.PageSize);
        part = new GrantedPart(0, GuestMemory.PageSize);
        if (!isGrant)
        {
            return call.Domain.Reservation.Has(side.Page) ? GrantStatus.Okay : GrantStatus.BadPage;
        }

        return side.Domain != DomainNumber.Control
            && call.Domain.Grants.TryFindPart((uint)side.Page, isWrite, call.Domain.Id, out page, out part)
            ? GrantStatus.Okay
            : GrantStatus.GeneralError;
    }
}

/// <summary>The same of a 32-bit caller.</summary>
internal struct ShortGrantCopy : IGrantElement
{
    internal uint FromPage;
    internal ushort FromDomain;
    internal ushort FromOffset;
    internal uint ToPage;
    internal ushort ToDomain;
    internal ushort ToOffset;
    internal ushort Length;
    internal ushort Flags;
    internal GrantStatus Status;
    internal ushort Pad;

    /// <inheritdoc/>
    public void Do(in Hypercall call)
    {
        GrantCopy copy = new()
        {
            From = new GrantCopySide { Page = FromPage, Domain = FromDomain, Offset = FromOffset },
            To = new GrantCopySide { Page = ToPage, Domain = ToDomain, Offset = ToOffset },
            Length = Length,
            Flags = Flags,
        };
        copy.Do(call);
        Status = copy.Status;
    }
}
