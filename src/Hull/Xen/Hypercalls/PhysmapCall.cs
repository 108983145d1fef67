using System;
using System.Runtime.InteropServices;
using Hull.Memory;

namespace Hull.Xen.Hypercalls;

/// <summary>memory_op, as far as it says what is at a frame of the guest's. Xen, public/memory.h, "XENMEM_add_to_physmap".</summary>
internal static class PhysmapCall
{
    private const uint SpaceSharedInfo = 0;
    private const uint SpaceGrantTable = 1;
    private const uint SpaceFrame = 2;
    private const uint SpaceRange = 3;
    private const uint SpaceForeign = 4;
    private const uint SpaceDevice = 5;

    // Frames beyond what any guest's page tables can name.
    private const ulong FrameLimit = 1UL << 40;

    /// <summary>add_to_physmap, or the rest of one for a range, from an element on.</summary>
    internal static long Add(in Hypercall call, ulong from)
    {
        if (from > ushort.MaxValue)
        {
            return XenError.OutOfDomain;
        }

        if (!TryLoadAdd(call, out AddRequest request))
        {
            return XenError.Fault;
        }

        if (request.Space == SpaceForeign)
        {
            return XenError.NoSystemCall; // in a batch only
        }

        long error = CheckPermission(call, request.Domain, request.Space);
        if (error != 0 || request.Space != SpaceRange)
        {
            return error != 0 ? error : AddOne(call, request.Space, request.Index, request.Frame);
        }

        if (request.Size < from)
        {
            return XenError.IllegalSequence;
        }

        for (uint i = (uint)from; error == 0 && i < request.Size && call.Domain.Breathe(i); i++)
        {
            error = AddOne(call, SpaceFrame, request.Index + i, request.Frame + i);
        }

        return error;
    }

    /// <summary>add_to_physmap_batch: lists of what, of where, and for the errors.</summary>
    internal static long AddBatch(in Hypercall call, ulong from)
    {
        if (from > ushort.MaxValue)
        {
            return XenError.OutOfDomain;
        }

        if (!TryLoadBatch(call, out BatchRequest request))
        {
            return XenError.Fault;
        }

        if (request.Space == SpaceRange)
        {
            return XenError.NotSupported;
        }

        long error = CheckPermission(call, request.Domain, request.Space);
        if (error != 0)
        {
            return error;
        }

        if (request.Size < from)
        {
            return XenError.IllegalSequence;
        }

        for (uint i = (uint)from; i < request.Size && call.Domain.Breathe(i); i++)
        {
            ulong offset = i * (uint)call.WordBytes;
            if (!call.TryLoadWordAt(request.Indices + offset, out ulong index)
                || !call.TryLoadWordAt(request.Frames + offset, out ulong frame))
            {
                return XenError.Fault;
            }

            int one = request.Space == SpaceForeign
                ? (int)CheckForeign(call, request.Foreign)
                : (int)AddOne(call, request.Space, index, frame);
            if (!call.Registers.TryStore(request.Errors + (i * sizeof(int)), MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in one))))
            {
                return XenError.Fault;
            }
        }

        return 0;
    }

    /// <summary>remove_from_physmap: nothing is at a frame any more.</summary>
    internal static long Remove(in Hypercall call)
    {
        // The domain in a word of the caller's, then the frame.
        if (!call.TryLoadWord(1, 0, out ulong domain) || !call.TryLoadWord(1, call.WordBytes, out ulong frame))
        {
            return XenError.Fault;
        }

        long error = call.CheckDomain((ushort)domain, XenError.AccessDenied);
        return error != 0 ? error
            : call.Domain.Reservation.TryUnhook(frame) || call.Domain.Memory.Spare.TryRemove(frame * GuestMemory.PageSize) ? 0
            : XenError.NoEntry;
    }

    private static long CheckPermission(in Hypercall call, ushort domain, uint space)
    {
        long error = call.CheckDomain(domain, XenError.AccessDenied);
        return error != 0 ? error : space == SpaceDevice ? XenError.AccessDenied : 0;
    }

    // Another's page may be put among a domain's own by who may act on that other.
    private static long CheckForeign(in Hypercall call, ushort domain) =>
        call.IsOwn(domain) ? XenError.Invalid
        : domain == DomainNumber.Control ? XenError.NotPermitted
        : XenError.NoSuchDomain;

    private static long AddOne(in Hypercall call, uint space, ulong index, ulong frame) => frame >= FrameLimit
        ? XenError.NoEntry
        : space switch
        {
            SpaceSharedInfo => index == 0 ? call.Domain.SharedInfo.MoveTo(frame) : XenError.Invalid,
            SpaceGrantTable => call.Domain.Grants.PlaceFrame(index, frame),
            SpaceFrame => Move(call, index, frame),
            _ => XenError.Invalid,
        };

    // A page of RAM goes to another frame of RAM: what is there is gone, and where it was there is nothing.
    private static long Move(in Hypercall call, ulong from, ulong to)
    {
        Reservation reservation = call.Domain.Reservation;
        Span<byte> page = stackalloc byte[GuestMemory.PageSize];
        if (!reservation.Has(from) || !call.Domain.Memory.TryRead(new GuestPhysical(from * GuestMemory.PageSize), page))
        {
            return XenError.Invalid;
        }

        if (from == to)
        {
            return 0;
        }

        // Its old place first: a domain that has given nothing back has nothing to take.
        if (!reservation.TryRelease(from) || (!reservation.Has(to) && !reservation.TryPopulate(to)))
        {
            return XenError.Invalid;
        }

        call.Domain.Memory.TryWrite(new GuestPhysical(to * GuestMemory.PageSize), page);
        return 0;
    }

    private static bool TryLoadAdd(in Hypercall call, out AddRequest request)
    {
        Span<byte> bytes = stackalloc byte[24];
        bool isWide = call.Registers.Is64Bit;
        bool loaded = call.TryLoad(1, isWide ? bytes : bytes[..16]);
        ReadOnlySpan<uint> words = MemoryMarshal.Cast<byte, uint>(bytes);
        ReadOnlySpan<ulong> longs = MemoryMarshal.Cast<byte, ulong>(bytes);
        request = new AddRequest(
            (ushort)words[0], (ushort)(words[0] >> 16), words[1], isWide ? longs[1] : words[2], isWide ? longs[2] : words[3]);
        return loaded;
    }

    // A 32-bit caller's lists have to end below 4 GiB.
    private static bool TryLoadBatch(in Hypercall call, out BatchRequest request)
    {
        Span<byte> bytes = stackalloc byte[32];
        bool isWide = call.Registers.Is64Bit;
        bool loaded = call.TryLoad(1, isWide ? bytes : bytes[..20]);
        ReadOnlySpan<ushort> head = MemoryMarshal.Cast<byte, ushort>(bytes);
        ReadOnlySpan<uint> words = MemoryMarshal.Cast<byte, uint>(bytes);
        ReadOnlySpan<ulong> longs = MemoryMarshal.Cast<byte, ulong>(bytes);
        request = new BatchRequest(
            head[0], head[1], head[2], head[3], isWide ? longs[1] : words[2], isWide ? longs[2] : words[3], isWide ? longs[3] : words[4]);
        ulong last = Math.Max(Math.Max(request.Indices, request.Frames), request.Errors);
        return loaded && (isWide || last + (request.Size * (ulong)sizeof(uint)) <= uint.MaxValue);
    }

    // struct xen_add_to_physmap.
    private readonly record struct AddRequest(ushort Domain, ushort Size, uint Space, ulong Index, ulong Frame);

    // struct xen_add_to_physmap_batch.
    private readonly record struct BatchRequest(
        ushort Domain, ushort Space, ushort Size, ushort Foreign, ulong Indices, ulong Frames, ulong Errors);
}
