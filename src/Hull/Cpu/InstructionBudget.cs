using System;
using Hull.Cpu.State;
using Hull.Timeline;

namespace Hull.Cpu;

/// <summary>
/// Deterministic mode: makes a vCPU stop at exact instruction counts, so that timers and the host's input come at the
/// same instruction in every run, however the code is cut into blocks. Each block takes the number of its instructions
/// from <see cref="CpuState.Budget"/> at its start and leaves when that is not enough; what it did not run it gets back
/// when it is left early. docs/deterministic.md.
/// </summary>
internal sealed unsafe class InstructionBudget : IInstructionCounter
{
    private readonly CpuState* _cpu;
    private readonly VcpuEvents _events;
    private readonly VirtualTimerQueue _timers;
    private readonly VirtualClock _clock;
    private long _end;
    private bool _stopMoved = true;

    internal InstructionBudget(SoftVcpu vcpu, VcpuEvents events, VirtualTimerQueue timers)
    {
        _cpu = vcpu.Cpu;
        _events = events;
        _timers = timers;
        _clock = timers.VirtualClock;
        _clock.CountBy(this);
        timers.StopMoved += MoveStop;
        timers.InputArrived += Wake;
    }

    /// <inheritdoc/>
    public long Executed => _end - _cpu->Budget - _cpu->BudgetAhead;

    /// <summary>The block at RIP is longer than what is left: single instructions go to the stop.</summary>
    internal bool IsShort { get; set; }

    /// <summary>Before events are looked at: at a stop, runs what is due and finds the next one.</summary>
    /// <returns>False when the machine is over: nothing may run any more.</returns>
    internal bool Prepare()
    {
        if (_cpu->Budget > 0 && !_stopMoved)
        {
            return true;
        }

        if (_timers.IsFrozen)
        {
            return false;
        }

        // What the timers do themselves is in the new stop.
        _timers.RunDue();
        _stopMoved = false;
        IsShort = false;
        long executed = Executed;
        _end = executed + Math.Max(1, (_timers.NextStopNs - _clock.NowNs) / VirtualClock.NsPerInstruction);
        _cpu->Budget = _end - executed;
        return true;
    }

    /// <summary>HLT: virtual time jumps to the next timer; without one the host has to send something.</summary>
    internal void Idle()
    {
        if (_timers.SkipIdle())
        {
            _stopMoved = true;
        }
        else
        {
            _events.Wait();
        }
    }

    /// <summary>Instructions at the end of a block that were paid for and do not run.</summary>
    internal void GiveBack(int instructions)
    {
        _cpu->Budget += instructions;
        _cpu->BudgetAhead = 0;
    }

    /// <summary>An instruction raised an exception before there was a block: its fetch failed.</summary>
    internal void PayForFetch() => _cpu->Budget--;

    // On the vCPU's thread, in an instruction that set a timer: attention ends the block behind it.
    private void MoveStop()
    {
        _stopMoved = true;
        _events.Signal(Attention.Stop);
    }

    private void Wake() => _events.Signal(Attention.None);
}
