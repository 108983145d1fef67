using System.Collections.Generic;
using System.Threading;

namespace Hull.Xen.Events;

/// <summary>
/// The event channels of a domain: ports, what they are bound to, and the notification of the guest in one of two forms, the
/// older bitmaps (<see cref="TwoLevelEvents"/>) or queues (<see cref="FifoEvents"/>). All under the domain's lock.
/// Xen, public/event_channel.h.
/// </summary>
internal sealed class EventChannels
{
    /// <summary>VIRQ numbers.</summary>
    internal const int VirqCount = 24;

    /// <summary>VIRQ_TIMER: the vCPU's single-shot timer.</summary>
    internal const int VirqTimer = 0;

    /// <summary>Physical lines that a port can be for: the IO-APIC's 24, and the 32 more that Xen gives each guest.</summary>
    internal const int PirqCount = 24 + 32;

    // What Xen's toolstack gives a guest: enough for its devices, few enough for us.
    private const int PortLimit = 1024;

    // Xen makes ports in blocks; those that are made are valid, in use or not.
    private const uint PortBlock = 128;

    private readonly Domain _domain;
    private readonly List<EventPort> _ports = [new EventPort(0)];

    // Dom0's ends of ports that the toolstack had connected and the guest has closed: they wait for it.
    private readonly List<(uint Number, EventReceiver Receiver, string Use)> _left = [];
    private readonly object _any = new();
    private IEventForm _form;
    private int _waiting;
    private uint _lastRemotePort;

    /// <summary>Makes the channels; the form is two-level until the guest asks for queues.</summary>
    internal EventChannels(Domain domain)
    {
        _domain = domain;
        _form = new TwoLevelEvents(domain);
    }

    /// <summary>The ports, by number; 0 is none.</summary>
    internal IReadOnlyList<EventPort> Ports => _ports;

    /// <summary>The queues, once the guest has asked for them.</summary>
    internal FifoEvents? Fifo => _form as FifoEvents;

    /// <summary>A port that the guest names; null when there is none.</summary>
    internal EventPort? Find(uint number) => number > 0 && number < _ports.Count ? _ports[(int)number] : null;

    /// <summary>True for a VIRQ that each vCPU has for itself: timer, debug, and those of two profilers.</summary>
    internal static bool IsOfVcpu(uint virq) => virq is 0 or 1 or 7 or 13;

    /// <summary>True for a port that Xen has made by now, if only as one that is free; port 0 is never in use.</summary>
    internal bool IsValid(uint number) => number < (((uint)_ports.Count + PortBlock - 1) & ~(PortBlock - 1));

    /// <summary>Takes the lowest free port.</summary>
    /// <returns>Null when all are in use.</returns>
    internal EventPort? Allocate(PortState state, int vcpu)
    {
        EventPort? port = _ports.Find(static port => port is { State: PortState.Free, Number: > 0 });
        if (port is null)
        {
            if (_ports.Count >= PortLimit)
            {
                return null;
            }

            port = new EventPort(_ports.Count);
            _ports.Add(port);
        }

        port.State = state;
        port.Vcpu = vcpu;
        port.Priority = FifoEvents.DefaultPriority;
        port.RemoteDomain = 0;
        port.RemotePort = 0;
        port.Use = "";
        port.IsPendingWithoutWord = false;
        return port;
    }

    /// <summary>Connects a port that the guest has made for a back end.</summary>
    internal static void Join(EventPort port, EventReceiver receiver, string use)
    {
        port.State = PortState.Backend;
        port.Receiver = receiver;
        port.Use = use;
    }

    /// <summary>A new port that is connected to something in Hull from the start, as the toolstack makes it.</summary>
    internal EventPort Connect(EventReceiver receiver, string use)
    {
        // A domain that is being made has all its ports free.
        EventPort port = Allocate(PortState.Backend, 0) ?? throw new System.Diagnostics.UnreachableException();
        port.Receiver = receiver;
        port.Use = use;
        port.RemotePort = ++_lastRemotePort;
        return port;
    }

    /// <summary>EVTCHNOP_bind_interdomain with dom0: an end there waits for this guest, which had closed its own.</summary>
    /// <returns>0, or an error.</returns>
    internal long ConnectAgain(uint remotePort, int vcpu, out uint number)
    {
        number = 0;
        int index = _left.FindIndex(end => end.Number == remotePort);
        if (index < 0)
        {
            return XenError.Invalid;
        }

        if (Allocate(PortState.Backend, vcpu) is not EventPort port)
        {
            return XenError.NoSpace;
        }

        (port.RemotePort, port.Receiver, port.Use) = _left[index];
        _left.RemoveAt(index);
        number = (uint)port.Number;
        SetPending(port); // what was sent before is not to be lost
        return 0;
    }

    /// <summary>A back end notifies the guest, unless the guest has closed the port or uses it for something else.</summary>
    internal void Notify(EventPort port, EventReceiver receiver)
    {
        if (!IsOf(port))
        {
            port = _ports.Find(IsOf)!; // the guest may have connected to it again, by another port
        }

        if (port is not null)
        {
            SetPending(port);
        }

        bool IsOf(EventPort one) => one.State == PortState.Backend && one.Receiver == receiver;
    }

    /// <summary>Frees a port; an event that is on its way is dropped.</summary>
    internal void Close(EventPort port)
    {
        if (port.State == PortState.Virq)
        {
            // The vCPU that is told may be another one by now.
            foreach (DomainVcpu vcpu in _domain.Vcpus)
            {
                if (vcpu.VirqPorts[port.Line] == port.Number)
                {
                    vcpu.VirqPorts[port.Line] = 0;
                }
            }
        }

        if (port.Peer is EventPort peer)
        {
            peer.State = PortState.Unbound;
            peer.Peer = null;
        }

        if (port is { State: PortState.Backend, RemotePort: not 0, Receiver: EventReceiver receiver })
        {
            _left.Add((port.RemotePort, receiver, port.Use));
        }

        port.State = PortState.Free;
        port.Receiver = null;
        port.Peer = null;
        _form.Clear(port);
    }

    /// <summary>Sets a port's event pending, and tells the vCPU unless it is masked.</summary>
    internal void SetPending(EventPort port)
    {
        _form.SetPending(port);
        if (Volatile.Read(ref _waiting) != 0)
        {
            lock (_any)
            {
                Monitor.PulseAll(_any);
            }
        }
    }

    /// <summary>EVTCHNOP_unmask.</summary>
    internal void Unmask(EventPort port) => _form.Unmask(port);

    /// <summary>EVTCHNOP_status and views: the event is pending.</summary>
    internal bool IsPending(EventPort port) => _form.IsPending(port);

    /// <summary>The event is masked.</summary>
    internal bool IsMasked(EventPort port) => _form.IsMasked(port);

    /// <summary>A virtual interrupt of a vCPU's.</summary>
    internal void RaiseVirq(DomainVcpu vcpu, int virq)
    {
        if (vcpu.VirqPorts[virq] is int number and not 0)
        {
            SetPending(_ports[number]);
        }
    }

    /// <summary>
    /// EVTCHNOP_init_control: a vCPU's control block. With the first one the guest goes over to queues, and events that are
    /// pending go there too.
    /// </summary>
    /// <returns>0, or an error; then nothing has changed.</returns>
    internal long InitControl(int vcpu, ulong frame, uint offset)
    {
        FifoEvents queues = Fifo ?? new FifoEvents(_domain);
        long result = queues.SetControlBlock(vcpu, frame, offset);
        if (result == 0 && queues != _form)
        {
            foreach (EventPort port in _ports)
            {
                port.IsPendingWithoutWord = port.State != PortState.Free && _form.IsPending(port);
            }

            _form = queues;
        }

        return result;
    }

    /// <summary>The domain begins anew: no port is in use, not even those to the console and the store.</summary>
    internal void Restart()
    {
        _form = new TwoLevelEvents(_domain); // first: what the guest has left of its old words is its own
        _ports.ForEach(Close);
        _left.Clear();
    }

    /// <summary>Waits a moment for any event; one that comes just before may be missed. Not under the lock.</summary>
    internal void WaitForAny(int milliseconds)
    {
        lock (_any)
        {
            _waiting++;
            Monitor.Wait(_any, milliseconds);
            _waiting--;
        }
    }

    /// <summary>EVTCHNOP_reset: all ports are free, those to the console and the store too, and the form is two-level.</summary>
    internal void Reset()
    {
        foreach (EventPort port in _ports)
        {
            if (port.State != PortState.Free)
            {
                Close(port);
            }
        }

        _form = new TwoLevelEvents(_domain);
    }
}
