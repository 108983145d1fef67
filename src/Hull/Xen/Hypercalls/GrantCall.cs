using System;
using System.Runtime.InteropServices;
using Hull.Memory;

namespace Hull.Xen.Hypercalls;

/// <summary>grant_table_op, as far as a guest needs it that only grants. Xen, public/grant_table.h.</summary>
internal static class GrantCall
{
    private const ushort Self = 0x7FF0;

    internal static long Do(in Hypercall call) => call.Word(0) switch
    {
        2 => SetUpTable(call),
        6 => QuerySize(call),
        8 => SetVersion(call),
        10 => GetVersion(call),
        _ => XenError.NoSystemCall,
    };

    // Where the frames are that the guest has placed, each in a word of the caller's.
    private static long SetUpTable(in Hypercall call)
    {
        const short okay = 0;
        const short generalError = -1;
        const short badDomain = -2;
        if (call.Word(2) != 1)
        {
            return XenError.Invalid;
        }

        if (!call.TryLoad(1, out SetupRequest request) || !call.TryLoadWord(1, 8 + call.WordBytes, out ulong list))
        {
            return XenError.Fault;
        }

        bool isSelf = request.Domain == Self || request.Domain == call.Domain.Id;
        request.Status = !isSelf ? badDomain : request.Frames > SpecialPages.MostGrantFrames ? generalError : okay;
        for (uint i = 0; request.Status == okay && i < request.Frames; i++)
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

        const short badDomain = -2;
        bool isSelf = request.Domain == Self || request.Domain == call.Domain.Id;
        request.Frames = isSelf ? (uint)call.Domain.Grants.FrameCount : 0;
        request.MostFrames = isSelf ? (uint)SpecialPages.MostGrantFrames : 0;
        request.Status = isSelf ? (short)0 : badDomain;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    private static long SetVersion(in Hypercall call)
    {
        if (!call.TryLoad(1, out uint version))
        {
            return XenError.Fault;
        }

        const uint current = 1;
        return version is not (1 or 2) ? XenError.Invalid
            : version == 2 ? XenError.NoSystemCall
            : call.TryStore(1, current) ? 0 : XenError.Fault;
    }

    private static long GetVersion(in Hypercall call)
    {
        if (!call.TryLoad(1, out VersionRequest request))
        {
            return XenError.Fault;
        }

        if (request.Domain != Self && request.Domain != call.Domain.Id)
        {
            return XenError.NoSuchDomain;
        }

        request.Version = 1;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    // struct gnttab_setup_table without the pointer at its end.
    private struct SetupRequest
    {
        internal ushort Domain;
        internal ushort Pad1;
        internal uint Frames;
        internal short Status;
        internal ushort Pad2;
    }

    private struct SizeRequest
    {
        internal ushort Domain;
        internal ushort Pad1;
        internal uint Frames;
        internal uint MostFrames;
        internal short Status;
        internal ushort Pad2;
    }

    private struct VersionRequest
    {
        internal ushort Domain;
        internal ushort Pad;
        internal uint Version;
    }
}
