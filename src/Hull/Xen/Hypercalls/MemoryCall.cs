using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using Hull.Memory;

namespace Hull.Xen.Hypercalls;

/// <summary>memory_op: what is where in a domain's memory. Xen, public/memory.h.</summary>
internal static class MemoryCall
{
    private const ushort Self = 0x7FF0;
    private const uint SpaceSharedInfo = 0;
    private const uint SpaceGrantTable = 1;

    private const int MapEntrySize = 20; // struct e820entry
    private const uint MostMapEntries = 1024;
    private const int NumaRequestSize = 40; // struct xen_vnuma_topology_info

    // The bits above are where an interrupted call goes on.
    private const uint OperationMask = 0x3F;

    internal static long Do(in Hypercall call) => (call.Word(0) & OperationMask) switch
    {
        3 or 4 => OfDomain(call, (long)(call.Domain.Memory.Size / GuestMemory.PageSize)),
        7 => AddToPhysmap(call),
        9 => MemoryMap(call),
        13 => SetMemoryMap(call),
        14 => OfDomain(call, (long)((call.Domain.Memory.HighSize > 0
            ? GuestMemory.HighBase + call.Domain.Memory.HighSize
            : call.Domain.Memory.LowSize) / GuestMemory.PageSize) - 1),
        15 => RemoveFromPhysmap(call),
        26 => call.Registers.TryLoad(call[1], stackalloc byte[NumaRequestSize]) ? XenError.NotSupported : XenError.Fault,
        _ => XenError.NoSystemCall,
    };

    // What one asks of a domain that the argument names.
    private static long OfDomain(in Hypercall call, long answer) =>
        !call.TryLoad(1, out ushort domain) ? XenError.Fault
        : domain == Self || domain == call.Domain.Id ? answer
        : domain == 0 ? XenError.NotPermitted // dom0 is none of a guest's business
        : XenError.NoSuchDomain;

    private static long AddToPhysmap(in Hypercall call)
    {
        if (!TryLoadAdd(call, out AddRequest request))
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

    // The map that the toolstack made, as far as the guest has room for it.
    private static long MemoryMap(in Hypercall call)
    {
        // The count, and behind it a pointer of the caller's own size.
        if (!call.TryLoad(1, out uint room) || !call.TryLoadWord(1, call.WordBytes, out ulong buffer))
        {
            return XenError.Fault;
        }

        IReadOnlyList<MemoryMapEntry> map = call.Domain.MemoryMap;
        if (map.Count == 0)
        {
            return XenError.NoSystemCall;
        }

        uint count = Math.Min(room, (uint)map.Count);
        Span<byte> entries = new byte[(int)count * MapEntrySize];
        for (int i = 0; i < (int)count; i++)
        {
            Span<byte> entry = entries.Slice(i * MapEntrySize, MapEntrySize);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, map[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], map[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], map[i].Type);
        }

        return call.Registers.TryStore(buffer, entries) && call.TryStore(1, count) ? 0 : XenError.Fault;
    }

    // A boot loader passes on what it has taken for itself.
    private static long SetMemoryMap(in Hypercall call)
    {
        if (!call.TryLoad(1, out ushort domain) || !call.TryLoadWord(1, call.WordBytes, out ulong count)
            || !call.TryLoadWord(1, 2 * call.WordBytes, out ulong buffer))
        {
            return XenError.Fault;
        }

        if (domain != Self && domain != call.Domain.Id)
        {
            return XenError.NoSuchDomain;
        }

        if ((uint)count > MostMapEntries)
        {
            return XenError.Invalid;
        }

        byte[] entries = new byte[(int)(uint)count * MapEntrySize];
        if (!call.Registers.TryLoad(buffer, entries))
        {
            return XenError.Fault;
        }

        MemoryMapEntry[] map = new MemoryMapEntry[(uint)count];
        for (int i = 0; i < map.Length; i++)
        {
            ReadOnlySpan<byte> entry = entries.AsSpan(i * MapEntrySize);
            map[i] = new MemoryMapEntry(
                BinaryPrimitives.ReadUInt64LittleEndian(entry),
                BinaryPrimitives.ReadUInt64LittleEndian(entry[8..]),
                BinaryPrimitives.ReadUInt32LittleEndian(entry[16..]));
        }

        call.Domain.MemoryMap = map;
        return 0;
    }

    private static bool TryLoadAdd(in Hypercall call, out AddRequest request)
    {
        if (call.Registers.Is64Bit)
        {
            return call.TryLoad(1, out request);
        }

        bool loaded = call.TryLoad(1, out ShortAddRequest narrow);
        request = new AddRequest { Domain = narrow.Domain, Space = narrow.Space, Index = narrow.Index, Frame = narrow.Frame };
        return loaded;
    }

    private static bool TryLoadRemove(in Hypercall call, out RemoveRequest request)
    {
        if (call.Registers.Is64Bit)
        {
            return call.TryLoad(1, out request);
        }

        bool loaded = call.TryLoad(1, out ShortRemoveRequest narrow);
        request = new RemoveRequest { DomainAndPad = narrow.DomainAndPad, Frame = narrow.Frame };
        return loaded;
    }

    // QUIRK: a frame that the guest gives back stays where it is. The guest may not use it, and what it holds is its own.
    private static long RemoveFromPhysmap(in Hypercall call)
    {
        if (!TryLoadRemove(call, out RemoveRequest request))
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

    // The same of a 32-bit caller.
    private struct ShortAddRequest
    {
        internal ushort Domain;
        internal ushort Size;
        internal uint Space;
        internal uint Index;
        internal uint Frame;
    }

    private struct ShortRemoveRequest
    {
        internal uint DomainAndPad;
        internal uint Frame;
    }

    // struct xen_remove_from_physmap.
    private struct RemoveRequest
    {
        internal ulong DomainAndPad;
        internal ulong Frame;

        internal readonly ushort Domain => (ushort)DomainAndPad;
    }
}
