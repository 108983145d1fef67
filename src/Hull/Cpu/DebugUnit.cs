using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;

namespace Hull.Cpu;

/// <summary>
/// Breakpoints of DR0-DR3 and single steps. Nothing is looked at while DR7 enables nothing: pages with a data
/// breakpoint are kept out of the TLBs, so that their accesses come to C# anyway; code in pages with an execution
/// breakpoint runs one instruction at a time, in a <see cref="Translate.BlockMode.Breakpoints"/> world without links
/// between pages. SDM vol. 3B, "Debug, Branch Profile, TSC".
/// </summary>
internal sealed unsafe class DebugUnit
{
    /// <summary>The value of <see cref="CpuState.InterruptShadow"/> after MOV SS and POP SS, which hold debug traps too.</summary>
    internal const byte StackSegmentShadow = 2;

    /// <summary>DR6.BD: a MOV DR while DR7.GD is set.</summary>
    internal const ulong GeneralDetect = 1 << 13;

    /// <summary>DR6.BS: single step.</summary>
    internal const ulong SingleStep = 1 << 14;

    /// <summary>DR6.BT: the T bit of the TSS of a new task.</summary>
    internal const ulong TaskSwitch = 1 << 15;

    private const ulong PageMask = ~0xFFFUL;
    private readonly CpuState* _cpu;
    private readonly Tlb _tlb;
    private readonly Breakpoint[] _breakpoints = new Breakpoint[4];
    private ulong _pending;
    private StepRule _step;

    internal DebugUnit(CpuState* cpu, Tlb tlb)
    {
        _cpu = cpu;
        _tlb = tlb;
    }

    private enum Condition : byte
    {
        Execution,
        Write,
        Port,
        Access,
    }

    private enum StepRule : byte
    {
        /// <summary>A step traps when TF was set before the instruction.</summary>
        Before,

        /// <summary>It traps when TF is set behind it: SYSCALL, SYSRET.</summary>
        Behind,

        /// <summary>It does not trap: an event was delivered, with TF in its frame.</summary>
        Never,
    }

    /// <summary>An execution breakpoint is enabled.</summary>
    internal bool ExecutionArmed { get; private set; }

    /// <summary>A data breakpoint is enabled.</summary>
    internal bool DataArmed { get; private set; }

    /// <summary>An I/O breakpoint is enabled.</summary>
    internal bool PortsArmed { get; private set; }

    /// <summary>Something has happened that is to be reported before the next instruction.</summary>
    internal bool IsPending => _pending != 0;

    /// <summary>The instruction that just ran has to be looked at, whatever TF was before it.</summary>
    internal bool NeedsLook => _pending != 0 || _step != StepRule.Before;

    /// <summary>DR0-DR3, DR7 or CR4.DE have changed.</summary>
    internal void Recompute()
    {
        bool hadExecution = ExecutionArmed;
        ExecutionArmed = DataArmed = PortsArmed = false;
        ulong dr7 = _cpu->DebugRegisters[7];
        for (int i = 0; i < 4; i++)
        {
            ref Breakpoint breakpoint = ref _breakpoints[i];
            uint control = (uint)(dr7 >> (16 + (4 * i)));
            breakpoint.Condition = (Condition)(control & 3);
            breakpoint.Length = ((control >> 2) & 3) switch { 0 => 1, 1 => 2, 2 => 8, _ => 4 };
            breakpoint.First = _cpu->DebugRegisters[i] & ~((ulong)breakpoint.Length - 1);
            breakpoint.Enabled = ((dr7 >> (2 * i)) & 3) != 0;
            if (!breakpoint.Enabled)
            {
                continue;
            }

            switch (breakpoint.Condition)
            {
                case Condition.Execution:
                    ExecutionArmed = true;
                    break;
                case Condition.Port:
                    breakpoint.Enabled = (_cpu->Cr4 & Cr4.De) != 0;
                    PortsArmed |= breakpoint.Enabled;
                    break;
                default:
                    DataArmed = true;
                    _tlb.FlushPage(breakpoint.First);
                    break;
            }
        }

        if (_tlb.Windows.Pause(DataArmed) || hadExecution || ExecutionArmed)
        {
            _tlb.Jumps.Flush();
        }
    }

    /// <summary>True when the page of a linear address has a data breakpoint.</summary>
    internal bool WatchesData(ulong linear) => DataArmed && Watches(linear, false);

    /// <summary>True when the page of a linear address has an execution breakpoint.</summary>
    internal bool WatchesCode(ulong linear) => ExecutionArmed && Watches(linear, true);

    /// <summary>An instruction is about to run: true when it has a breakpoint, which is then in DR6.</summary>
    internal bool HitsExecution(ulong linear)
    {
        ulong hits = 0;
        for (int i = 0; i < 4; i++)
        {
            ref Breakpoint breakpoint = ref _breakpoints[i];
            bool hit = breakpoint.Enabled && breakpoint.Condition == Condition.Execution
                && (linear & ~((ulong)breakpoint.Length - 1)) == breakpoint.First;
            hits |= hit ? 1UL << i : 0;
        }

        if (hits != 0)
        {
            WriteStatus(hits);
        }

        return hits != 0;
    }

    /// <summary>Data was accessed: a breakpoint there traps after the instruction.</summary>
    internal void NoteData(ulong linear, int length, bool store)
    {
        for (int i = 0; i < 4; i++)
        {
            ref Breakpoint breakpoint = ref _breakpoints[i];
            if (breakpoint.Enabled
                && (breakpoint.Condition == Condition.Access || (store && breakpoint.Condition == Condition.Write))
                && linear < breakpoint.First + (uint)breakpoint.Length && breakpoint.First < linear + (uint)length)
            {
                _pending |= 1UL << i;
            }
        }
    }

    /// <summary>A port was accessed: a breakpoint there traps after the instruction.</summary>
    internal void NotePort(ushort port, int size)
    {
        for (int i = 0; i < 4; i++)
        {
            ref Breakpoint breakpoint = ref _breakpoints[i];
            if (breakpoint.Enabled && breakpoint.Condition == Condition.Port
                && port < breakpoint.First + (uint)breakpoint.Length && breakpoint.First < (uint)port + (uint)size)
            {
                _pending |= 1UL << i;
            }
        }
    }

    /// <summary>The T bit of a new task's TSS: a trap before its first instruction.</summary>
    internal void NoteTaskSwitch() => _pending |= TaskSwitch;

    /// <summary>The instruction delivers an event (INT n, a task switch): TF is in its frame and does not trap now.</summary>
    internal void SuppressStep() => _step = StepRule.Never;

    /// <summary>SYSCALL and SYSRET: TF as it is behind them decides.</summary>
    internal void StepByResult() => _step = StepRule.Behind;

    /// <summary>
    /// INT1 raises #DB itself: what MOV SS held off before it is part of the same exception, not of a second one inside
    /// its handler.
    /// </summary>
    internal void MergeIntoInt1()
    {
        if (_pending != 0)
        {
            WriteStatus(_pending);
            _pending = 0;
        }
    }

    /// <summary>The instruction has faulted: what it did before that is not reported.</summary>
    internal void Drop()
    {
        _pending = 0;
        _step = StepRule.Before;
    }

    /// <summary>An instruction has ended: true when #DB is to be delivered, whose reasons are then in DR6.</summary>
    /// <param name="flagBefore">TF was set before the instruction.</param>
    internal bool TakeTraps(bool flagBefore)
    {
        StepRule rule = _step;
        _step = StepRule.Before;
        if (_cpu->InterruptShadow == StackSegmentShadow)
        {
            return false; // a step of MOV SS is lost, its data breakpoints wait for the next instruction
        }

        bool steps = rule switch
        {
            StepRule.Before => flagBefore,
            StepRule.Behind => (_cpu->SystemFlags & Rflags.Tf) != 0,
            _ => false,
        };
        ulong hits = _pending | (steps ? SingleStep : 0);
        _pending = 0;
        if (hits != 0)
        {
            WriteStatus(hits);
        }

        return hits != 0;
    }

    // B0-B3 tell of this exception; the other bits stay until software clears them.
    private void WriteStatus(ulong hits) => _cpu->DebugRegisters[6] = (_cpu->DebugRegisters[6] & ~0xFUL) | hits;

    private bool Watches(ulong linear, bool code)
    {
        foreach (ref Breakpoint breakpoint in _breakpoints.AsSpan())
        {
            bool mine = code ? breakpoint.Condition == Condition.Execution
                : breakpoint.Condition is Condition.Write or Condition.Access;
            if (breakpoint.Enabled && mine && ((breakpoint.First ^ linear) & PageMask) == 0)
            {
                return true;
            }
        }

        return false;
    }

    private struct Breakpoint
    {
        internal ulong First;
        internal int Length;
        internal Condition Condition;
        internal bool Enabled;
    }
}
