using Hull.Xen.Events;

namespace Hull.Xen.Hypercalls;

/// <summary>The part of event_channel_op that makes ports: for a line, another vCPU, another end. Xen, public/event_channel.h.</summary>
internal static class PortCall
{
    /// <summary>EVTCHNOP_bind_interdomain: with itself, or with an end of dom0's to which it was connected before.</summary>
    internal static long BindInterdomain(in Hypercall call)
    {
        if (!call.TryLoad(1, out InterdomainRequest request))
        {
            return XenError.Fault;
        }

        EventChannels events = call.Domain.Events;
        if (request.Domain == DomainNumber.Control)
        {
            long result = events.ConnectAgain(request.RemotePort, call.Vcpu.Index, out request.LocalPort);
            return result != 0 ? result : call.TryStore(1, request) ? 0 : XenError.Fault;
        }

        long error = call.CheckDomain(request.Domain, XenError.Invalid);
        if (error != 0)
        {
            return error;
        }

        if (events.Find(request.RemotePort) is not { State: PortState.Unbound } remote
            || remote.RemoteDomain != call.Domain.Id)
        {
            return XenError.Invalid;
        }

        if (events.Allocate(PortState.Interdomain, call.Vcpu.Index) is not EventPort local)
        {
            return XenError.NoSpace;
        }

        local.RemoteDomain = call.Domain.Id;
        remote.State = PortState.Interdomain;
        local.Peer = remote;
        remote.Peer = local;
        request.LocalPort = (uint)local.Number;
        events.SetPending(local); // what was sent before is not to be lost
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    /// <summary>EVTCHNOP_bind_virq.</summary>
    internal static long BindVirq(in Hypercall call)
    {
        if (!call.TryLoad(1, out VirqRequest request))
        {
            return XenError.Fault;
        }

        if (request.Virq >= EventChannels.VirqCount)
        {
            return XenError.Invalid;
        }

        if (request.Vcpu != 0 && !EventChannels.IsOfVcpu(request.Virq))
        {
            return XenError.Invalid;
        }

        if (request.Vcpu >= (uint)call.Domain.Vcpus.Count)
        {
            return XenError.NoEntry;
        }

        DomainVcpu vcpu = call.Domain.Vcpus[(int)request.Vcpu];
        if (vcpu.VirqPorts[request.Virq] != 0)
        {
            return XenError.Exists;
        }

        if (call.Domain.Events.Allocate(PortState.Virq, vcpu.Index) is not EventPort port)
        {
            return XenError.NoSpace;
        }

        port.Line = (int)request.Virq;
        vcpu.VirqPorts[request.Virq] = port.Number;
        request.Port = (uint)port.Number;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    /// <summary>EVTCHNOP_bind_pirq.</summary>
    // QUIRK: a guest may bind the lines of physical devices and never hears of them, as in Xen when it has no such device.
    internal static long BindPirq(in Hypercall call)
    {
        if (!call.TryLoad(1, out PirqRequest request))
        {
            return XenError.Fault;
        }

        if (request.Pirq >= EventChannels.PirqCount)
        {
            return XenError.Invalid;
        }

        foreach (EventPort other in call.Domain.Events.Ports)
        {
            if (other.State == PortState.Pirq && other.Line == (int)request.Pirq)
            {
                return XenError.Exists;
            }
        }

        if (call.Domain.Events.Allocate(PortState.Pirq, 0) is not EventPort port)
        {
            return XenError.NoSpace;
        }

        port.Line = (int)request.Pirq;
        request.Port = (uint)port.Number;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    /// <summary>EVTCHNOP_bind_ipi.</summary>
    internal static long BindIpi(in Hypercall call)
    {
        if (!call.TryLoad(1, out IpiRequest request))
        {
            return XenError.Fault;
        }

        if (request.Vcpu >= (uint)call.Domain.Vcpus.Count)
        {
            return XenError.NoEntry;
        }

        if (call.Domain.Events.Allocate(PortState.Ipi, (int)request.Vcpu) is not EventPort port)
        {
            return XenError.NoSpace;
        }

        request.Port = (uint)port.Number;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    /// <summary>EVTCHNOP_alloc_unbound.</summary>
    internal static long AllocateUnbound(in Hypercall call)
    {
        if (!call.TryLoad(1, out UnboundRequest request))
        {
            return XenError.Fault;
        }

        long error = call.CheckDomain(request.Domain);
        if (error != 0)
        {
            return error;
        }

        if (call.Domain.Events.Allocate(PortState.Unbound, 0) is not EventPort port)
        {
            return XenError.NoSpace;
        }

        port.RemoteDomain = request.Remote == DomainNumber.Self ? call.Domain.Id : request.Remote;
        request.Port = (uint)port.Number;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    private struct InterdomainRequest
    {
        internal ushort Domain;
        internal ushort Pad;
        internal uint RemotePort;
        internal uint LocalPort;
    }

    private struct VirqRequest
    {
        internal uint Virq;
        internal uint Vcpu;
        internal uint Port;
    }

    private struct PirqRequest
    {
        internal uint Pirq;
        internal uint Flags;
        internal uint Port;
    }

    private struct IpiRequest
    {
        internal uint Vcpu;
        internal uint Port;
    }

    private struct UnboundRequest
    {
        internal ushort Domain;
        internal ushort Remote;
        internal uint Port;
    }
}
