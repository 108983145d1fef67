using Hull.Xen.Events;

namespace Hull.Xen.Hypercalls;

/// <summary>sched_op: giving the CPU away, and the domain's end. Xen, public/sched.h.</summary>
internal static class SchedCall
{
    /// <summary>How long a poll waits at the most, in milliseconds.</summary>
    internal const int LongestWaitMs = 1;

    private const uint MostPolledPorts = 128;

    internal static long Do(in Hypercall call) => call.Word(0) switch
    {
        0 => 0, // the caller gives way when the call is over
        1 => Block(call),
        2 => ShutDown(call),
        3 => Poll(call),
        4 => RemoteShutDown(call),
        5 => SetShutdownCode(call),
        6 => Watchdog(call),
        7 => XenError.NotPermitted, // pin_override is for who knows the host's processors
        _ => XenError.NoSystemCall,
    };

    private static long Block(in Hypercall call)
    {
        call.Vcpu.IsWaiting = true;
        return 0;
    }

    private static long ShutDown(in Hypercall call)
    {
        if (!call.TryLoad(1, out uint reason))
        {
            return XenError.Fault;
        }

        // Xen takes one byte of it, and what it does not know as an end.
        reason = (byte)reason;
        if ((ShutdownReason)reason == ShutdownReason.Suspend)
        {
            return call.Domain.Suspension.Begin(call.Vcpu.Index);
        }

        call.Domain.ShutDown((ShutdownReason)reason);
        return 0;
    }

    private static long RemoteShutDown(in Hypercall call) => !call.TryLoad(1, out ulong request) ? XenError.Fault
        : (ushort)request is DomainNumber.Control || (ushort)request == call.Domain.Id ? XenError.NotPermitted
        : XenError.NoSuchDomain;

    private static long SetShutdownCode(in Hypercall call)
    {
        if (!call.TryLoad(1, out uint reason))
        {
            return XenError.Fault;
        }

        call.Domain.ShutdownCode = (ShutdownReason)(byte)reason;
        return 0;
    }

    private static long Watchdog(in Hypercall call) => call.TryLoad(1, out WatchdogRequest request)
        ? call.Domain.Watchdogs.Set(request.Id, request.Seconds)
        : XenError.Fault;

    // QUIRK: SCHEDOP_poll waits for any event, a millisecond at the most, as if its own had come. A guest that polls looks at its
    // ports and polls again.
    private static long Poll(in Hypercall call)
    {
        if (!TryLoadPoll(call, out PollRequest request))
        {
            return XenError.Fault;
        }

        if (request.Count > MostPolledPorts)
        {
            return XenError.Invalid;
        }

        bool isOver = request.TimeoutNs != 0 && request.TimeoutNs <= (ulong)call.Domain.SystemTime.NowNs;
        for (uint i = 0; i < request.Count; i++)
        {
            uint port = 0;
            if (!call.Registers.TryLoad(
                request.Ports + (i * sizeof(uint)),
                System.Runtime.InteropServices.MemoryMarshal.AsBytes(new System.Span<uint>(ref port))))
            {
                return XenError.Fault;
            }

            if (call.Domain.Events.Find(port) is not { State: not PortState.Free } found)
            {
                return XenError.Invalid;
            }

            isOver |= call.Domain.Events.IsPending(found);
        }

        call.Vcpu.IsWaiting = !isOver;
        return 0;
    }

    private static bool TryLoadPoll(in Hypercall call, out PollRequest request)
    {
        if (call.Registers.Is64Bit)
        {
            return call.TryLoad(1, out request);
        }

        bool loaded = call.TryLoad(1, out ShortPollRequest narrow);
        request = new PollRequest { Ports = narrow.Ports, Count = narrow.Count, TimeoutNs = narrow.TimeoutNs };
        return loaded;
    }

    private struct WatchdogRequest
    {
        internal uint Id;
        internal uint Seconds;
    }

    private struct ShortPollRequest
    {
        internal uint Ports;
        internal uint Count;
        internal ulong TimeoutNs;
    }

    private struct PollRequest
    {
        internal ulong Ports;
        internal uint Count;
        internal uint Pad;
        internal ulong TimeoutNs;
    }
}
