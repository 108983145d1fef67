namespace Hull.Xen.Events;

/// <summary>What an event channel's port is for. Xen, public/event_channel.h, "EVTCHNSTAT_*".</summary>
internal enum PortState
{
    Free = 0,
    Unbound = 1,
    Interdomain = 2,

    /// <summary>A line of a physical device, of which the domain has none: nothing comes.</summary>
    Pirq = 3,
    Virq = 4,
    Ipi = 5,

    /// <summary>Connected to something in Hull: the console, the store, a back end.</summary>
    Backend = 6,
}

/// <summary>Told, under the domain's lock, when the guest sends an event to what it is connected to.</summary>
internal delegate void EventReceiver();

/// <summary>A port of a domain.</summary>
internal sealed class EventPort(int number)
{
    internal int Number { get; } = number;

    internal PortState State { get; set; }

    internal int Vcpu { get; set; }

    /// <summary>Of which virtual or physical line it tells.</summary>
    internal int Line { get; set; }

    internal byte Priority { get; set; } = FifoEvents.DefaultPriority;

    /// <summary>In state <see cref="PortState.Unbound"/>: who may connect; with a back end: whose it is.</summary>
    internal int RemoteDomain { get; set; }

    /// <summary>With a back end that the toolstack connected: the number of dom0's end; 0: the guest made the port.</summary>
    internal uint RemotePort { get; set; }

    /// <summary>With a back end: what acts on the guest's events.</summary>
    internal EventReceiver? Receiver { get; set; }

    /// <summary>In state <see cref="PortState.Interdomain"/>: the other end.</summary>
    internal EventPort? Peer { get; set; }

    /// <summary>What it is for, for the user's eyes.</summary>
    internal string Use { get; set; } = "";

    /// <summary>FIFO: an event that came before the guest had a word for the port.</summary>
    internal bool IsPendingWithoutWord { get; set; }

    /// <summary>FIFO: the queue that the port's event was linked to last.</summary>
    internal (int Vcpu, int Priority) LastQueue { get; set; }
}
