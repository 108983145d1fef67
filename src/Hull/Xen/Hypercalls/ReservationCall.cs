using System;
using System.Runtime.InteropServices;

namespace Hull.Xen.Hypercalls;

/// <summary>memory_op, as far as it changes how much memory a domain has. Xen, public/memory.h, "struct xen_memory_reservation".</summary>
internal static class ReservationCall
{
    private const uint Decrease = 1;

    // Larger extents are for domains that own devices.
    private const int MostOrder = 9;

    // Xen keeps the place where it goes on beside the operation.
    private const ulong MostExtents = uint.MaxValue >> 6;

    /// <summary>increase_reservation (0), decrease_reservation (1), populate_physmap (6).</summary>
    /// <returns>How many extents are done by now, of those that were done before too: an error is a short count.</returns>
    internal static long Change(in Hypercall call, uint operation, ulong from)
    {
        if (!TryLoad(call, 0, out Request request) || request.Count > MostExtents || from >= request.Count
            || !call.IsOwn(request.Domain) || request.Order > MostOrder)
        {
            return (long)from;
        }

        ulong done = from;
        while (done < request.Count && call.Domain.Breathe((uint)(done - from)) && TryDo(call, request, operation, done))
        {
            done++;
        }

        return (long)done;
    }

    /// <summary>exchange: pages for others, which only PV guests have a use for.</summary>
    internal static long Exchange(in Hypercall call)
    {
        int size = call.Registers.Is64Bit ? Request.Size : Request.ShortSize;
        if (!TryLoad(call, 0, out Request given) || !TryLoad(call, size, out Request wanted)
            || !call.TryLoadWord(1, 2 * size, out ulong exchanged))
        {
            return XenError.Fault;
        }

        bool isNarrow = !call.Registers.Is64Bit;
        if (isNarrow && (IsTooLong(given) || IsTooLong(wanted)))
        {
            return XenError.Invalid;
        }

        if (Math.Max(given.Order, wanted.Order) > MostOrder)
        {
            return XenError.NotPermitted;
        }

        if (exchanged > given.Count || given.Domain != wanted.Domain || given.Count << (int)given.Order != wanted.Count << (int)wanted.Order)
        {
            return XenError.Invalid;
        }

        if (given.Count == 0)
        {
            // A 32-bit caller's structure is written back whatever comes of it.
            ReadOnlySpan<byte> none = stackalloc byte[sizeof(uint)];
            return isNarrow && !call.Registers.TryStore(call[1] + (2 * (uint)size), none) ? XenError.Fault : 0;
        }

        long error = call.CheckDomain(given.Domain);
        return error != 0 ? error : XenError.NotSupported;
    }

    /// <summary>claim_pages: memory for a domain that is to be made.</summary>
    internal static long Claim(in Hypercall call) =>
        !call.Registers.Is64Bit ? XenError.NoSystemCall
        : !TryLoad(call, 0, out Request request) ? XenError.Fault
        : request.List != 0 || request.Order != 0 || request.Flags != 0 ? XenError.Invalid
        : request.Domain is DomainNumber.Control || request.Domain == call.Domain.Id ? XenError.NotPermitted
        : XenError.Invalid;

    private static bool IsTooLong(in Request request) => request.Order >= 32 || request.Count > uint.MaxValue >> (int)request.Order;

    // One extent. A part of one that cannot be given back ends the call, and what went before it in the extent is gone.
    private static bool TryDo(in Hypercall call, in Request request, uint operation, ulong extent)
    {
        const uint increase = 0;
        ulong frame = 0;
        if (operation != increase && !call.TryLoadWordAt(request.List + (extent * (uint)call.WordBytes), out frame))
        {
            return false;
        }

        for (ulong i = 0; i < 1UL << (int)request.Order; i++)
        {
            bool isDone = operation switch
            {
                increase => call.Domain.Reservation.TryAdd(),
                Decrease => call.Domain.Reservation.TryRelease(frame + i),
                _ => call.Domain.Reservation.TryPopulate(frame + i),
            };
            if (!isDone)
            {
                return false;
            }
        }

        return true;
    }

    private static bool TryLoad(in Hypercall call, int offset, out Request request)
    {
        Span<byte> bytes = stackalloc byte[Request.Size];
        bool isWide = call.Registers.Is64Bit;
        bool loaded = call.Registers.TryLoad(call[1] + (uint)offset, isWide ? bytes : bytes[..Request.ShortSize]);
        ReadOnlySpan<uint> words = MemoryMarshal.Cast<byte, uint>(bytes);
        request = isWide
            ? new Request(Long(words[0], words[1]), Long(words[2], words[3]), words[4], words[5], (ushort)words[6])
            : new Request(words[0], words[1], words[2], words[3], (ushort)words[4]);
        return loaded;
    }

    private static ulong Long(uint low, uint high) => ((ulong)high << 32) | low;

    // struct xen_memory_reservation.
    private readonly record struct Request(ulong List, ulong Count, uint Order, uint Flags, ushort Domain)
    {
        internal const int Size = 32;
        internal const int ShortSize = 20;
    }
}
