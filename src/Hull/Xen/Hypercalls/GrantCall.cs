using System;
using System.Runtime.InteropServices;
using Hull.Memory;

namespace Hull.Xen.Hypercalls;

/// <summary>What becomes of one element of a list of grant_table_op. Xen, public/grant_table.h, "GNTST_*".</summary>
internal enum GrantStatus : short
{
    Okay = 0,
    GeneralError = -1,
    BadDomain = -2,
    BadReference = -3,
    BadHandle = -4,
    PermissionDenied = -8,
    BadPage = -9,
    BadCopyArgument = -10,
    Again = -12,
}

/// <summary>grant_table_op: the caller's table, and lists of what is to be done with grants. Xen, public/grant_table.h.</summary>
internal static class GrantCall
{
    internal static long Do(in Hypercall call)
    {
        uint operation = call.Word(0);
        if (operation is not (0 or 1 or 2 or 5 or 6 or 8 or 10 or 11))
        {
            return XenError.NoSystemCall;
        }

        if ((int)call.Word(2) < 0)
        {
            return XenError.Invalid;
        }

        return operation switch
        {
            0 => ForEach<MapElement>(call),
            1 => ForEach<UnmapElement>(call),
            2 => SetUpTable(call),
            5 => call.Registers.Is64Bit ? ForEach<GrantCopy>(call) : ForEach<ShortGrantCopy>(call),
            6 => QuerySize(call),
            8 => SetVersion(call),
            10 => GetVersion(call),
            _ => ForEach<SwapElement>(call),
        };
    }

    /// <summary>What is said of a domain that an element names.</summary>
    internal static GrantStatus StatusOf(in Hypercall call, ushort domain) =>
        call.IsOwn(domain) ? GrantStatus.Okay
        : domain == DomainNumber.Control ? GrantStatus.PermissionDenied
        : GrantStatus.BadDomain;

    // Each element is written back with what became of it.
    private static long ForEach<T>(in Hypercall call)
        where T : unmanaged, IGrantElement
    {
        uint count = call.Word(2);
        for (uint i = 0; i < count && call.Domain.Breathe(i); i++)
        {
            T element = default;
            Span<byte> bytes = MemoryMarshal.AsBytes(new Span<T>(ref element));
            ulong at = call[1] + ((ulong)i * (uint)bytes.Length);
            if (!call.Registers.TryLoad(at, bytes))
            {
                return XenError.Fault;
            }

            element.Do(call);
            if (!call.Registers.TryStore(at, bytes))
            {
                return XenError.Fault;
            }
        }

        return 0;
    }

    // Where the frames are that the guest has placed, each in a word of the caller's.
    private static long SetUpTable(in Hypercall call)
    {
        uint count = call.Word(2);
        if (count != 1)
        {
            return count == 0 && !call.Registers.Is64Bit ? 0 : XenError.Invalid;
        }

        if (!call.TryLoad(1, out SetupRequest request) || !call.TryLoadWord(1, 8 + call.WordBytes, out ulong list))
        {
            return XenError.Fault;
        }

        GrantStatus status = StatusOf(call, request.Domain);
        request.Status = status == GrantStatus.Okay && request.Frames > SpecialPages.MostGrantFrames ? GrantStatus.GeneralError : status;
        for (uint i = 0; request.Status == GrantStatus.Okay && i < request.Frames; i++)
        {
            ulong frame = call.Domain.Grants.FrameAt((int)i) / GuestMemory.PageSize;
            ReadOnlySpan<byte> word = MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in frame))[..call.WordBytes];
            if (!call.Registers.TryStore(list + (i * (uint)call.WordBytes), word))
            {
                return XenError.Fault;
            }
        }

        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    private static long QuerySize(in Hypercall call)
    {
        if (call.Word(2) != 1)
        {
            return XenError.Invalid;
        }

        if (!call.TryLoad(1, out SizeRequest request))
        {
            return XenError.Fault;
        }

        request.Status = StatusOf(call, request.Domain);
        if (request.Status == GrantStatus.Okay)
        {
            request.Frames = (uint)call.Domain.Grants.FrameCount;
            request.MostFrames = SpecialPages.MostGrantFrames;
        }

        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    // The version that it is in the end is written back whatever comes of it.
    private static long SetVersion(in Hypercall call)
    {
        if (!call.TryLoad(1, out uint version))
        {
            return XenError.Fault;
        }

        long result = version is not (1 or 2) ? XenError.Invalid
            : call.Domain.Grants.TrySetVersion((int)version) ? 0
            : XenError.Busy;
        return call.TryStore(1, (uint)call.Domain.Grants.Version) ? result : XenError.Fault;
    }

    private static long GetVersion(in Hypercall call)
    {
        if (!call.TryLoad(1, out VersionRequest request))
        {
            return XenError.Fault;
        }

        long error = call.CheckDomain(request.Domain);
        if (error != 0)
        {
            return error;
        }

        request.Version = (uint)call.Domain.Grants.Version;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    // struct gnttab_setup_table without the pointer at its end.
    private struct SetupRequest
    {
        internal ushort Domain;
        internal ushort Pad1;
        internal uint Frames;
        internal GrantStatus Status;
        internal ushort Pad2;
    }

    private struct SizeRequest
    {
        internal ushort Domain;
        internal ushort Pad1;
        internal uint Frames;
        internal uint MostFrames;
        internal GrantStatus Status;
        internal ushort Pad2;
    }

    private struct VersionRequest
    {
        internal ushort Domain;
        internal ushort Pad;
        internal uint Version;
    }
}
