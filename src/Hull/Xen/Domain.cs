using System;
using System.Collections.Generic;
using System.Globalization;
using System.Threading;
using Hull.Bus;
using Hull.Engine;
using Hull.Memory;
using Hull.Timeline;
using Hull.Xen.Events;
using Hull.Xen.Grants;
using Hull.Xen.Hypercalls;
using Hull.Xen.Store;

namespace Hull.Xen;

/// <summary>
/// A domain: its vCPUs, its memory, and what Xen keeps for it. Hypercalls, timers and back ends take turns under
/// <see cref="Lock"/>; interrupts go out when it is free again.
/// </summary>
internal sealed class Domain
{
    private readonly IInterruptInjector _interrupts;
    private readonly Action _poweredOff;
    private readonly Action<string> _crashed;
    private readonly Action _resetRequested;
    private readonly bool[] _down;
    private readonly DomainVcpu[] _vcpus;
    private ulong _upcalls;
    private ulong _nmis;

    /// <summary>Makes a domain without events, nodes or memory of its own.</summary>
    /// <param name="options">What it is made of.</param>
    internal Domain(DomainOptions options)
    {
        Id = options.Id;
        Memory = options.Memory;
        Timers = options.Timers;
        _interrupts = options.Interrupts;
        _poweredOff = options.PoweredOff;
        _crashed = options.Crashed;
        _resetRequested = options.ResetRequested;
        _down = new bool[options.VcpuCount];
        Array.Fill(_down, true, 1, _down.Length - 1); // these wait for their start
        SystemTime = new SystemTime(Clock);
        SharedInfo = new SharedInfo(this);
        _vcpus = new DomainVcpu[options.VcpuCount];
        for (int i = 0; i < _vcpus.Length; i++)
        {
            _vcpus[i] = new DomainVcpu(this, i);
        }

        MemoryMap = options.MemoryMap;
        VcpuTimes = options.VcpuTimes;
        Tracer = options.Trace is null ? null : new HypercallTracer(options.Trace);
        Suspension = new Suspension(this);
        Watchdogs = new Watchdogs(this);
        Reservation = new Reservation(options.Memory);
        Events = new EventChannels(this);
        Grants = new GrantTable(this);
        Parameters = new HvmParameters();
        Store = new StoreRing(this, new XenStore(Id, options));
        Console = new ConsoleRing(this, options.ConsoleOutput);
        SpecialPages.Place(this);
    }

    /// <summary>One at a time.</summary>
    internal Lock Lock { get; } = new();

    /// <summary>The domain's number.</summary>
    internal int Id { get; }

    /// <summary>Its memory.</summary>
    internal GuestMemory Memory { get; }

    /// <summary>The machine's timers.</summary>
    internal ITimerQueue Timers { get; }

    /// <summary>The machine's time.</summary>
    internal IMachineClock Clock => Timers.Clock;

    /// <summary>Its vCPUs.</summary>
    internal IReadOnlyList<DomainVcpu> Vcpus => _vcpus;

    /// <summary>The page that all of it shares with Xen.</summary>
    internal SharedInfo SharedInfo { get; }

    /// <summary>Its event channels.</summary>
    internal EventChannels Events { get; }

    /// <summary>Its grant table.</summary>
    internal GrantTable Grants { get; }

    /// <summary>What hvm_op reads and sets.</summary>
    internal HvmParameters Parameters { get; }

    /// <summary>What is where in its memory, as its toolstack or it itself has said.</summary>
    internal IReadOnlyList<MemoryMapEntry> MemoryMap { get; set; }

    /// <summary>What the host's scheduler knows of a vCPU's thread; null: nothing.</summary>
    internal Func<int, (long RunNs, long WaitNs)>? VcpuTimes { get; }

    /// <summary>VMASST_TYPE_runstate_update_flag: who reads a runstate sees when it is being written.</summary>
    internal bool MarksRunstateUpdates { get; set; }

    /// <summary>Writes down its hypercalls; null: nobody does.</summary>
    internal HypercallTracer? Tracer { get; }

    /// <summary>Its console.</summary>
    internal ConsoleRing Console { get; }

    /// <summary>Its sleep.</summary>
    internal Suspension Suspension { get; }

    /// <summary>The time that its vCPUs make of their counters.</summary>
    internal SystemTime SystemTime { get; }

    /// <summary>Its watchdogs.</summary>
    internal Watchdogs Watchdogs { get; }

    /// <summary>Which memory it has, and which it has given back.</summary>
    internal Reservation Reservation { get; }

    /// <summary>SCHEDOP_shutdown_code: the reason that the domain's end will have; null: its own.</summary>
    internal ShutdownReason? ShutdownCode { get; set; }

    /// <summary>Its way to the store.</summary>
    internal StoreRing Store { get; }

    /// <summary>One hypercall. On the vCPU's thread.</summary>
    internal long Enter(int vcpu, IHypercallRegisters registers, ulong number, ReadOnlySpan<ulong> arguments)
    {
        long result;
        bool waits;
        lock (Lock)
        {
            NoteRunning(vcpu); // a start-up message may have started it again
            _vcpus[vcpu].Runstate.Update(registers);
            result = HypercallTable.Call(new Hypercall(this, _vcpus[vcpu], registers, arguments), number);
            waits = _vcpus[vcpu].IsWaiting;
            _vcpus[vcpu].IsWaiting = false;
        }

        SendUpcalls();
        if (number == (ulong)HypercallNumber.SchedOp)
        {
            if (waits)
            {
                Events.WaitForAny(SchedCall.LongestWaitMs);
            }
            else
            {
                Thread.Yield(); // a caller that has nothing to do, or waits for another vCPU
            }

            Suspension.SleepIfAsked(vcpu);
        }

        return result;
    }

    /// <summary>Something outside of a hypercall, such as a timer or a back end, acts on the domain. Any thread.</summary>
    internal void Act(Action action)
    {
        lock (Lock)
        {
            action();
        }

        SendUpcalls();
    }

    /// <summary>An event is pending for a vCPU: it is told when the lock is free. Under <see cref="Lock"/>.</summary>
    internal void RequestUpcall(int vcpu) => _upcalls |= 1UL << vcpu;

    /// <summary>A vCPU gets a non-maskable interrupt when the lock is free. Under <see cref="Lock"/>.</summary>
    internal void RequestNmi(int vcpu) => Interlocked.Or(ref _nmis, 1UL << vcpu);

    /// <summary>
    /// A call with a long list of the guest's asks before each element: now and then the others get their turn, and a domain that is
    /// to end does not go on. Under <see cref="Lock"/>.
    /// </summary>
    /// <returns>False: the call is to be left as it is.</returns>
    internal bool Breathe(uint element)
    {
        const uint turn = 256;
        if (element % turn != turn - 1)
        {
            return true;
        }

        return LetOthersIn();
    }

    /// <summary>The others get their turn in the midst of a call. Under <see cref="Lock"/>, held once.</summary>
    /// <returns>False: the domain is to end, and the call with it.</returns>
    internal bool LetOthersIn()
    {
        if (Suspension.IsEnding)
        {
            return false;
        }

        // No yield: a host with much to do would make a long list last for minutes, and the lock lets nobody starve.
        Lock.Exit();
        SendUpcalls();
        Lock.Enter();
        return true;
    }

    /// <summary>All that Xen keeps for the guest is as for a new domain; its memory stays. Under <see cref="Lock"/>.</summary>
    internal void Restart()
    {
        Events.Restart();
        foreach (DomainVcpu vcpu in _vcpus)
        {
            vcpu.Restart();
        }

        Grants.Restart();
        SharedInfo.Restart();
        Parameters[HvmParameters.CallbackIrq] = 0;
        MarksRunstateUpdates = false;
        Watchdogs.Restart();
        ShutdownCode = null;
        Store.Restart(); // ports 1 and 2, as they were
        Console.Restart();
    }

    /// <summary>What it has, for its user's eyes. Any thread.</summary>
    internal XenView Read()
    {
        lock (Lock)
        {
            return DomainView.Read(this);
        }
    }

    /// <summary>A vCPU runs. On its thread, or before it has one.</summary>
    internal void NoteRunning(int vcpu)
    {
        _down[vcpu] = false;
        _vcpus[vcpu].HasRun = true;
    }

    /// <summary>True for a vCPU that waits for its start, or has halted with interrupts off. Under <see cref="Lock"/>.</summary>
    internal bool IsOffline(int vcpu) => _down[vcpu];

    /// <summary>HLT with interrupts off, or VCPUOP_down: the last vCPU's is the domain's power-off.</summary>
    internal void VcpuDown(int vcpu)
    {
        bool all;
        lock (Lock)
        {
            _down[vcpu] = true;
            all = Array.TrueForAll(_down, static down => down);
        }

        if (all)
        {
            ShutDown(ShutdownReason.PowerOff);
        }
    }

    /// <summary>SCHEDOP_shutdown: the domain ends, for a reason.</summary>
    internal void ShutDown(ShutdownReason reason)
    {
        switch (ShutdownCode ?? reason)
        {
            case ShutdownReason.PowerOff:
                _poweredOff();
                break;
            case ShutdownReason.Reboot or ShutdownReason.SoftReset:
                _resetRequested();
                break;
            case ShutdownReason.Crash:
                _crashed("the guest told Xen that it crashed");
                break;
            case ShutdownReason.Watchdog:
                _crashed("the guest's watchdog ran out");
                break;
            case var other:
                _crashed(string.Create(CultureInfo.InvariantCulture, $"the guest ended for reason {(int)other}, which Xen does not know"));
                break;
        }
    }

    // The vector through the vCPU's local APIC, as Xen's HVMOP_set_evtchn_upcall_vector says, or the domain's past it.
    private void SendUpcalls()
    {
        ulong upcalls = Interlocked.Exchange(ref _upcalls, 0);
        for (int i = 0; upcalls != 0; i++, upcalls >>= 1)
        {
            if ((upcalls & 1) == 0)
            {
                continue;
            }

            if (Vcpus[i].UpcallVector is byte vector and not 0)
            {
                _interrupts.Inject(i, vector);
            }
            else if (Parameters.CallbackVector is byte past and not 0 && !_interrupts.TryInjectPastApic(i, past))
            {
                _crashed("the guest wants events past its local APIC, as Linux before 6.0 does, and KVM has no way for that: " +
                    "--engine soft has");
            }
        }

        ulong nmis = Interlocked.Exchange(ref _nmis, 0);
        for (int i = 0; nmis != 0; i++, nmis >>= 1)
        {
            if ((nmis & 1) != 0)
            {
                _interrupts.InjectNmi(i);
            }
        }
    }
}
