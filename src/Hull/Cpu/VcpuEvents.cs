using System;
using System.Threading;
using Hull.Bus;
using Hull.Cpu.Exceptions;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Engine;

namespace Hull.Cpu;

/// <summary>
/// What comes to a vCPU from outside (interrupts, NMI, INIT, SIPI, kicks), and its waiting for that.
/// See docs/translator.md, "Attention".
/// </summary>
internal sealed unsafe class VcpuEvents : IDisposable
{
    private readonly SoftVcpu _vcpu;
    private readonly CpuState* _cpu;
    private readonly Tlb _tlb;
    private readonly ILocalApic _apic;
    private readonly ManualResetEventSlim _wake = new(false, 0);
    private readonly HaltPoll _halt = new();
    private uint _nmisSent;
    private uint _nmisPending;
    private bool _initPending;
    private int _startupVector = -1;
    private long _resumeAt = -1;

    internal VcpuEvents(SoftVcpu vcpu)
    {
        _vcpu = vcpu;
        _cpu = vcpu.Cpu;
        _tlb = vcpu.Tlb;
        _apic = vcpu.Apic;
        WaitingForStartup = vcpu.Index != 0;
    }

    /// <summary>HLT was run and nothing has woken the vCPU yet.</summary>
    internal bool Halted { get; set; }

    /// <summary>INIT was taken, or never a SIPI: the vCPU runs nothing before one.</summary>
    internal bool WaitingForStartup { get; set; }

    /// <summary>An NMI came and was not taken yet. Only while Run is not running.</summary>
    internal bool NmiPending
    {
        get => _nmisPending != 0 || (_cpu->AttentionBits & (uint)Attention.Nmi) != 0;
        set
        {
            _nmisPending = value ? 1u : 0;
            _nmisSent = 0;
            Interlocked.And(ref _cpu->AttentionBits, ~(uint)Attention.Nmi);
        }
    }

    /// <summary>An event that another engine had accepted when its state was taken; it comes before all others.</summary>
    internal InFlightEvent? InFlight { get; set; }

    /// <summary>True when <see cref="Service"/> may have something to do.</summary>
    internal bool ArePending => (_cpu->AttentionBits | _cpu->InterruptWaiting) != 0 || _nmisPending != 0 || InFlight is not null;

    /// <summary>Takes what came from outside. Returns an exit when Run has to end.</summary>
    internal VcpuExit? Service()
    {
        Attention bits = (Attention)Interlocked.Exchange(ref _cpu->AttentionBits, 0);
        if ((bits & Attention.Kick) != 0)
        {
            Interlocked.Or(ref _cpu->AttentionBits, (uint)(bits & ~Attention.Kick));
            return VcpuExit.Kicked;
        }

        _vcpu.AnswerOthers(bits);
        _initPending |= (bits & Attention.Init) != 0;
        if ((bits & Attention.Nmi) != 0)
        {
            CountNmis();
        }

        if (_initPending)
        {
            TakeInit();
        }

        if ((bits & Attention.Suspend) != 0)
        {
            TakeInit();
            WaitingForStartup = true;
        }

        if ((bits & Attention.Resume) != 0 && WaitingForStartup)
        {
            TakeResume();
        }

        if (WaitingForStartup)
        {
            // Only with its bit: the vector may be there already while the INIT before it was not seen yet.
            int vector = (bits & Attention.Startup) != 0 ? Interlocked.Exchange(ref _startupVector, -1) : -1;
            if (vector >= 0)
            {
                TakeStartup((byte)vector);
            }

            return null;
        }

        if ((bits & Attention.Startup) != 0)
        {
            // A start-up message to a processor that runs is lost; it must not wait for the next INIT.
            Volatile.Write(ref _startupVector, -1);
        }

        bool delivered = TryDeliver();

        // The bits that told of an interrupt are gone, whatever came before it.
        _cpu->InterruptWaiting = _apic.HasInterrupt ? 1u : 0;
        return delivered ? null : VcpuExit.Shutdown;
    }

    /// <summary>Asks for attention. Any thread.</summary>
    internal void Signal(Attention attention)
    {
        Interlocked.Or(ref _cpu->AttentionBits, (uint)attention);
        _wake.Set();
    }

    /// <summary>An NMI. Any thread.</summary>
    internal void Nmi()
    {
        Interlocked.Increment(ref _nmisSent);
        Signal(Attention.Nmi);
    }

    /// <summary>INIT. Any thread. It forgets a start-up message that came before it.</summary>
    internal void Initialise()
    {
        Volatile.Write(ref _startupVector, -1);
        Signal(Attention.Init);
    }

    /// <summary>SIPI. Any thread.</summary>
    internal void Startup(byte vector)
    {
        Volatile.Write(ref _startupVector, vector);
        Signal(Attention.Startup);
    }

    /// <summary>The end of a suspension. Any thread.</summary>
    internal void Resume(uint? at)
    {
        Volatile.Write(ref _resumeAt, at ?? -1L);
        Signal(Attention.Resume);
    }

    /// <summary>HLT: the vCPU waits, unless something is there already.</summary>
    internal void Halt() => Halted = !HasWakeUp();

    /// <summary>Waits for the next signal, which may come at once.</summary>
    internal void WaitHalted()
    {
        _halt.Wait(_wake);
        _wake.Reset();
    }

    /// <summary>Waits for the next signal.</summary>
    internal void Wait()
    {
        _wake.Wait();
        _wake.Reset();
    }

    /// <summary>Waits for <see cref="Attention.Kick"/>, and leaves it pending.</summary>
    internal void WaitForKick()
    {
        while ((Volatile.Read(ref _cpu->AttentionBits) & (uint)Attention.Kick) == 0)
        {
            Wait();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _wake.Dispose();

    // A processor takes the first at once and keeps one more; what comes behind that is lost. Here the first may wait for the
    // next poll, so two are kept until it is taken. SDM vol. 3A, "Handling Multiple NMIs".
    private void CountNmis()
    {
        uint limit = _cpu->NmiBlocked == 0 ? 2u : 1;
        _nmisPending = Math.Min(_nmisPending + Interlocked.Exchange(ref _nmisSent, 0), limit);
    }

    private bool HasWakeUp() => (_nmisPending != 0 && _cpu->NmiBlocked == 0) || (_cpu->InterruptFlag != 0 && _apic.HasInterrupt);

    // The first of what waits. False when its delivery shut the processor down.
    private bool TryDeliver()
    {
        if (InFlight is InFlightEvent accepted)
        {
            InFlight = null;
            return Deliver(accepted);
        }

        if (_cpu->InterruptShadow != 0)
        {
            return true;
        }

        if (_nmisPending != 0 && _cpu->NmiBlocked == 0)
        {
            _nmisPending--;
            Halted = false;
            _vcpu.Pending = new PendingFault(2, false, 0);
            return _vcpu.Deliver(EventKind.Nmi);
        }

        int vector = _cpu->InterruptFlag != 0 && _apic.HasInterrupt ? _apic.Acknowledge() : -1;
        if (vector < 0)
        {
            return true;
        }

        Halted = false;
        if (_vcpu.MayHaveWindows && _tlb.Windows.Tick())
        {
            _tlb.Jumps.Flush();
        }

        _vcpu.Pending = new PendingFault((byte)vector, false, 0);
        return _vcpu.Deliver(EventKind.External);
    }

    private bool Deliver(InFlightEvent accepted)
    {
        Halted = false;
        _vcpu.Pending = new PendingFault(accepted.Vector, accepted.ErrorCode is not null, accepted.ErrorCode ?? 0);
        return _vcpu.Deliver(accepted.Kind switch
        {
            InFlightKind.External => EventKind.External,
            InFlightKind.Nmi => EventKind.Nmi,
            _ => EventKind.Exception,
        });
    }

    private void TakeInit()
    {
        _initPending = false;
        if (WaitingForStartup)
        {
            return; // it has just been reset; what a hypervisor has put into its APIC since then stays
        }

        Halted = false;
        _nmisPending = 0;
        InFlight = null;
        CpuReset.Init(_cpu, _vcpu.Cpuid);
        _apic.Reset();
        _tlb.FlushAll();
        _vcpu.Debug.Drop();
        _vcpu.Debug.Recompute();
        const ulong Bootstrap = 0x100;
        WaitingForStartup = (_apic.BaseMsr & Bootstrap) == 0;
    }

    private void TakeResume()
    {
        WaitingForStartup = false;
        if (Volatile.Read(ref _resumeAt) is >= 0 and long at)
        {
            ref CpuSegment code = ref _cpu->Segments[Seg.Cs];
            code.Selector = (ulong)at >> 4;
            code.Base = (ulong)at & ~0xFUL;
            _cpu->Rip = (ulong)at & 0xF;
        }
    }

    private void TakeStartup(byte vector)
    {
        WaitingForStartup = false;
        ref CpuSegment code = ref _cpu->Segments[Seg.Cs];
        code.Selector = (ulong)vector << 8;
        code.Base = (ulong)vector << 12;
        _cpu->Rip = 0;
    }
}
