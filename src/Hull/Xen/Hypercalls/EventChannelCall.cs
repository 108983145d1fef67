using Hull.Xen.Events;

namespace Hull.Xen.Hypercalls;

/// <summary>event_channel_op. Xen, public/event_channel.h.</summary>
internal static class EventChannelCall
{
    private const ushort Self = 0x7FF0;

    internal static long Do(in Hypercall call) => call.Word(0) switch
    {
        0 => BindInterdomain(call),
        1 => BindVirq(call),
        3 => Close(call),
        4 => Send(call),
        5 => Status(call),
        6 => AllocateUnbound(call),
        7 => BindIpi(call),
        8 => BindVcpu(call),
        9 => Unmask(call),
        10 => Reset(call),
        11 => InitControl(call),
        12 => ExpandArray(call),
        13 => SetPriority(call),
        _ => XenError.NoSystemCall,
    };

    private static bool IsSelf(in Hypercall call, ushort domain) => domain == Self || domain == call.Domain.Id;

    // A guest without a dom0 has nobody to connect to but itself.
    private static long BindInterdomain(in Hypercall call)
    {
        if (!call.TryLoad(1, out InterdomainRequest request))
        {
            return XenError.Fault;
        }

        if (!IsSelf(call, request.Domain))
        {
            return XenError.NoSuchDomain;
        }

        EventChannels events = call.Domain.Events;
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

    private static long BindVirq(in Hypercall call)
    {
        if (!call.TryLoad(1, out VirqRequest request))
        {
            return XenError.Fault;
        }

        if (request.Virq >= EventChannels.VirqCount)
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

        port.Virq = (int)request.Virq;
        vcpu.VirqPorts[request.Virq] = port.Number;
        request.Port = (uint)port.Number;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    private static long BindIpi(in Hypercall call)
    {
        if (!call.TryLoad(1, out PortPair request))
        {
            return XenError.Fault;
        }

        if (request.First >= (uint)call.Domain.Vcpus.Count)
        {
            return XenError.NoEntry;
        }

        if (call.Domain.Events.Allocate(PortState.Ipi, (int)request.First) is not EventPort port)
        {
            return XenError.NoSpace;
        }

        request.Second = (uint)port.Number;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    private static long AllocateUnbound(in Hypercall call)
    {
        if (!call.TryLoad(1, out UnboundRequest request))
        {
            return XenError.Fault;
        }

        if (!IsSelf(call, request.Domain))
        {
            return XenError.NotPermitted;
        }

        if (call.Domain.Events.Allocate(PortState.Unbound, 0) is not EventPort port)
        {
            return XenError.NoSpace;
        }

        port.RemoteDomain = request.Remote == Self ? call.Domain.Id : request.Remote;
        request.Port = (uint)port.Number;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

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

    private static long Unmask(in Hypercall call)
    {
        if (!TryFind(call, out EventPort? port, out long error))
        {
            return error;
        }

        call.Domain.Events.Unmask(port!); // TryFind gave it
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

        if (port.State is PortState.Ipi || (port.State == PortState.Virq && port.Virq == EventChannels.VirqTimer))
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

        if (!IsSelf(call, request.Domain))
        {
            return XenError.NoSuchDomain;
        }

        if (call.Domain.Events.Find(request.Port) is not EventPort port)
        {
            return XenError.Invalid;
        }

        request.State = (uint)(port.State == PortState.Backend ? PortState.Interdomain : port.State);
        request.Vcpu = (uint)port.Vcpu;
        request.Detail = port.State == PortState.Virq ? (uint)port.Virq : (uint)port.RemoteDomain;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    private static long Reset(in Hypercall call)
    {
        if (!call.TryLoad(1, out ushort domain))
        {
            return XenError.Fault;
        }

        if (!IsSelf(call, domain))
        {
            return XenError.NoSuchDomain;
        }

        call.Domain.Events.Reset();
        return 0;
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
        : XenError.NoSystemCall;

    private static long SetPriority(in Hypercall call)
    {
        if (!call.TryLoad(1, out PortPair request))
        {
            return XenError.Fault;
        }

        if (call.Domain.Events.Fifo is null)
        {
            return XenError.NoSystemCall;
        }

        if (request.Second >= FifoEvents.Priorities || call.Domain.Events.Find(request.First) is not EventPort port)
        {
            return XenError.Invalid;
        }

        port.Priority = (byte)request.Second;
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

    private struct UnboundRequest
    {
        internal ushort Domain;
        internal ushort Remote;
        internal uint Port;
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
