using Hull.Xen.Events;

namespace Hull.Xen.Hypercalls;

/// <summary>event_channel_op: ports as they are used; <see cref="PortCall"/> makes them. Xen, public/event_channel.h.</summary>
internal static class EventChannelCall
{
    internal static long Do(in Hypercall call) => call.Word(0) switch
    {
        0 => PortCall.BindInterdomain(call),
        1 => PortCall.BindVirq(call),
        2 => PortCall.BindPirq(call),
        3 => Close(call),
        4 => Send(call),
        5 => Status(call),
        6 => PortCall.AllocateUnbound(call),
        7 => PortCall.BindIpi(call),
        8 => BindVcpu(call),
        9 => Unmask(call),
        10 => Reset(call),
        11 => InitControl(call),
        12 => ExpandArray(call),
        13 => SetPriority(call),
        14 => ContinueReset(call),
        _ => XenError.NoSystemCall,
    };

    private static long Close(in Hypercall call)
    {
        if (!TryFind(call, out EventPort? port, out long error))
        {
            return error;
        }

        call.Domain.Events.Close(port!); // TryFind gave it
        return 0;
    }

    private static long Send(in Hypercall call)
    {
        if (!TryFind(call, out EventPort? port, out long error))
        {
            return error;
        }

        switch (port!.State) // TryFind gave it
        {
            case PortState.Ipi:
                call.Domain.Events.SetPending(port);
                return 0;
            case PortState.Backend:
                port.Receiver?.Invoke();
                return 0;
            case PortState.Interdomain:
                call.Domain.Events.SetPending(port.Peer!); // it has one in this state
                return 0;
            case PortState.Unbound:
                return 0; // nobody listens yet
            default:
                return XenError.Invalid;
        }
    }

    // A free port has a mask too.
    private static long Unmask(in Hypercall call)
    {
        if (!call.TryLoad(1, out uint number))
        {
            return XenError.Fault;
        }

        if (!call.Domain.Events.IsValid(number))
        {
            return XenError.Invalid;
        }

        if (call.Domain.Events.Find(number) is EventPort port)
        {
            call.Domain.Events.Unmask(port);
        }

        return 0;
    }

    private static long BindVcpu(in Hypercall call)
    {
        if (!call.TryLoad(1, out PortPair request))
        {
            return XenError.Fault;
        }

        if (request.Second >= (uint)call.Domain.Vcpus.Count)
        {
            return XenError.NoEntry;
        }

        if (call.Domain.Events.Find(request.First) is not { State: not PortState.Free } port)
        {
            return XenError.Invalid;
        }

        if (port.State is PortState.Ipi || (port.State == PortState.Virq && EventChannels.IsOfVcpu((uint)port.Line)))
        {
            return XenError.Invalid; // these belong to a vCPU
        }

        port.Vcpu = (int)request.Second;
        return 0;
    }

    private static long Status(in Hypercall call)
    {
        if (!call.TryLoad(1, out StatusRequest request))
        {
            return XenError.Fault;
        }

        long error = call.CheckDomain(request.Domain);
        if (error != 0)
        {
            return error;
        }

        if (!call.Domain.Events.IsValid(request.Port))
        {
            return XenError.Invalid;
        }

        // Of a port that is not in use only that is said.
        request.State = (uint)PortState.Free;
        if (call.Domain.Events.Find(request.Port) is { State: not PortState.Free } port)
        {
            request.State = (uint)(port.State == PortState.Backend ? PortState.Interdomain : port.State);
            request.Vcpu = (uint)port.Vcpu;
            request.Detail = port.State is PortState.Virq or PortState.Pirq ? (uint)port.Line : (uint)port.RemoteDomain;
            request.More = port.Peer is EventPort peer ? (uint)peer.Number : port.RemotePort != 0 ? port.RemotePort : request.More;
        }

        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    private static long Reset(in Hypercall call)
    {
        if (!call.TryLoad(1, out ushort domain))
        {
            return XenError.Fault;
        }

        long error = call.CheckDomain(domain);
        if (error == 0)
        {
            call.Domain.Events.Reset();
        }

        return error;
    }

    // A reset is done at once, so there is none to go on with.
    private static long ContinueReset(in Hypercall call)
    {
        if (!call.TryLoad(1, out ushort domain))
        {
            return XenError.Fault;
        }

        long error = call.CheckDomain(domain);
        return error != 0 ? error : XenError.Busy;
    }

    private static long InitControl(in Hypercall call)
    {
        if (!call.TryLoad(1, out ControlRequest request))
        {
            return XenError.Fault;
        }

        if (request.Vcpu >= (uint)call.Domain.Vcpus.Count)
        {
            return XenError.NoEntry;
        }

        request.LinkBits = 17;
        long result = call.Domain.Events.InitControl((int)request.Vcpu, request.Frame, request.Offset);
        return result != 0 ? result : call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    private static long ExpandArray(in Hypercall call) => !call.TryLoad(1, out ulong frame) ? XenError.Fault
        : call.Domain.Events.Fifo is FifoEvents fifo ? fifo.AddPage(frame)
        : XenError.NotSupported;

    private static long SetPriority(in Hypercall call)
    {
        if (!call.TryLoad(1, out PortPair request))
        {
            return XenError.Fault;
        }

        if (!call.Domain.Events.IsValid(request.First))
        {
            return XenError.Invalid;
        }

        if (call.Domain.Events.Fifo is null)
        {
            return XenError.NoSystemCall;
        }

        if (request.Second >= FifoEvents.Priorities)
        {
            return XenError.Invalid;
        }

        if (call.Domain.Events.Find(request.First) is EventPort port)
        {
            port.Priority = (byte)request.Second;
        }

        return 0;
    }

    private static bool TryFind(in Hypercall call, out EventPort? port, out long error)
    {
        port = null;
        error = XenError.Fault;
        if (!call.TryLoad(1, out uint number))
        {
            return false;
        }

        error = XenError.Invalid;
        port = call.Domain.Events.Find(number);
        return port is { State: not PortState.Free };
    }

    private struct PortPair
    {
        internal uint First;
        internal uint Second;
    }

    private struct StatusRequest
    {
        internal ushort Domain;
        internal ushort Pad;
        internal uint Port;
        internal uint State;
        internal uint Vcpu;
        internal uint Detail;
        internal uint More;
    }

    private struct ControlRequest
    {
        internal ulong Frame;
        internal uint Offset;
        internal uint Vcpu;
        internal byte LinkBits;
        internal byte Pad1;
        internal ushort Pad2;
        internal uint Pad3;
    }
}
