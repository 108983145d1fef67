using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Runtime.InteropServices;

namespace Hull.Xen.Hypercalls;

/// <summary>
/// memory_op: what is where in a domain's memory; <see cref="ReservationCall"/> and <see cref="PhysmapCall"/> change it. What only
/// privileged domains may do is refused with the numbers of real Xen 4.17 (tests/xen/probe). Xen, public/memory.h.
/// </summary>
internal static class MemoryCall
{
    private const int MapEntrySize = 20; // struct e820entry
    private const uint MostMapEntries = 1024;
    private const int NumaRequestSize = 40; // struct xen_vnuma_topology_info

    // The bits above are where an interrupted call goes on.
    private const int OperationBits = 6;
    private const uint OperationMask = (1 << OperationBits) - 1;

    internal static long Do(in Hypercall call)
    {
        ulong from = call[0] >> OperationBits;
        uint operation = call.Word(0) & OperationMask;
        return operation switch
        {
            0 or 1 or 6 => ReservationCall.Change(call, operation, from),
            7 => PhysmapCall.Add(call, from),
            23 => PhysmapCall.AddBatch(call, from),
            8 or 10 or 12 or 20 or 22 => XenError.NoSystemCall,
            18 or 19 => 0, // pages that are shared: none
            25 => XenError.NotSupported,
            _ when from != 0 && operation is 2 or 3 or 4 or 11 or 14 or 15 or 24 or 26 or 27 => XenError.Invalid,
            2 => (long)call.Domain.Reservation.LastFrame + 1,
            3 => OfDomain(call, call.Domain.Reservation.Current),
            4 => OfDomain(call, call.Domain.Reservation.Maximum),
            5 => MachineTable(call),
            9 => MemoryMap(call),
            11 => ReservationCall.Exchange(call),
            13 => SetMemoryMap(call),
            14 => OfDomain(call, call.Domain.Reservation.LastFrame),
            15 => PhysmapCall.Remove(call),
            16 or 17 => PopulateOnDemand(call),
            21 => Access(call),
            24 => ReservationCall.Claim(call),
            26 => NumaTopology(call),
            27 => ReservedDeviceMemory(call),
            28 => AcquireResource(call),
            _ => XenError.NoSystemCall,
        };
    }

    // What one asks of a domain that the argument names.
    private static long OfDomain(in Hypercall call, ulong answer)
    {
        if (!call.TryLoad(1, out ushort domain))
        {
            return XenError.Fault;
        }

        long error = call.CheckDomain(domain);
        return error != 0 ? error : (long)answer;
    }

    // machphys_mfn_list: where the host's own table of frames is, for migration of PV guests. There is none here: no entries.
    private static long MachineTable(in Hypercall call)
    {
        if (!call.Registers.Is64Bit)
        {
            return XenError.NotSupported;
        }

        if (!call.TryLoad(1, out MachineTableRequest request))
        {
            return XenError.Fault;
        }

        ulong entry = 0;
        if (request.Most != 0
            && !call.Registers.TryStore(request.List, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in entry))))
        {
            return XenError.Fault;
        }

        request.Count = 0;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    // set_pod_target and get_pod_target are the toolstack's; dom0, which they do not fit, is no HVM guest.
    private static long PopulateOnDemand(in Hypercall call)
    {
        const int domainOffset = 32;
        Span<byte> request = stackalloc byte[40]; // struct xen_pod_target
        return call.TryLoad(1, request)
            ? Toolstacks(call, BinaryPrimitives.ReadUInt16LittleEndian(request[domainOffset..]))
            : XenError.Fault;
    }

    // access_op: of another domain only, by a device model. The request is 32 bytes, 24 of a 32-bit caller.
    private static long Access(in Hypercall call)
    {
        Span<byte> request = stackalloc byte[call.Registers.Is64Bit ? 32 : 24]; // struct xen_mem_access_op
        if (!call.TryLoad(1, request))
        {
            return XenError.Fault;
        }

        ushort domain = BinaryPrimitives.ReadUInt16LittleEndian(request[2..]);
        return domain == DomainNumber.Self ? XenError.NoSuchDomain : Toolstacks(call, domain);
    }

    private static long Toolstacks(in Hypercall call, ushort domain) =>
        domain == DomainNumber.Control ? XenError.Invalid : call.IsOwn(domain) ? XenError.NotPermitted : XenError.NoSuchDomain;

    // The guest's NUMA topology: it has none.
    private static long NumaTopology(in Hypercall call)
    {
        Span<byte> request = stackalloc byte[NumaRequestSize];
        if (!call.TryLoad(1, request))
        {
            return XenError.Fault;
        }

        if (BinaryPrimitives.ReadUInt16LittleEndian(request[2..]) != 0)
        {
            return XenError.Invalid;
        }

        long error = call.CheckDomain(BinaryPrimitives.ReadUInt16LittleEndian(request));
        return error != 0 ? error : XenError.NotSupported;
    }

    // Memory that devices need where it is: none.
    private static long ReservedDeviceMemory(in Hypercall call)
    {
        const uint all = 1;
        Span<byte> request = stackalloc byte[call.Registers.Is64Bit ? 24 : 16]; // struct xen_reserved_device_memory_map
        if (!call.TryLoad(1, request))
        {
            return XenError.Fault;
        }

        if ((BinaryPrimitives.ReadUInt32LittleEndian(request) & ~all) != 0)
        {
            return XenError.Invalid;
        }

        request.Slice(sizeof(uint), sizeof(uint)).Clear();
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    // Pages of another's grant table or device model are not for a guest; from 32-bit code Xen looks at the argument first.
    private static long AcquireResource(in Hypercall call)
    {
        const int listOffset = 16;
        Span<byte> request = stackalloc byte[24]; // its compat form
        return call.Registers.Is64Bit ? XenError.AccessDenied
            : !call.TryLoad(1, request) || BinaryPrimitives.ReadUInt32LittleEndian(request[listOffset..]) == uint.MaxValue
                ? XenError.Fault
            : XenError.AccessDenied;
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

        if ((uint)count > MostMapEntries)
        {
            return XenError.Invalid;
        }

        long error = call.CheckDomain(domain);
        if (error != 0)
        {
            return error;
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

    private struct MachineTableRequest
    {
        internal uint Most;
        internal uint Pad1;
        internal ulong List;
        internal uint Count;
        internal uint Pad2;
    }
}
