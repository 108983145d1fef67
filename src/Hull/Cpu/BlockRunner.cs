using Hull.Cpu.Exceptions;
using Hull.Cpu.State;
using Hull.Cpu.Translate;

namespace Hull.Cpu;

/// <summary>
/// One step of a vCPU's loop: finds the next block, enters it, and does what the reason asks for that generated code was left
/// for. Knows what single steps, breakpoints and shadows ask before and behind an instruction.
/// </summary>
internal sealed unsafe class BlockRunner
{
    private readonly SoftVcpu _vcpu;
    private readonly CpuState* _cpu;
    private readonly SoftEngine _engine;
    private readonly VcpuEvents _events;
    private readonly BlockFinder _finder;
    private readonly PreciseExits _exits;
    private readonly WindowFaults _windows;

    internal BlockRunner(
        SoftVcpu vcpu, SoftEngine engine, VcpuEvents events, BlockFinder finder, PreciseExits exits, WindowFaults windows)
    {
        _windows = windows;
        _vcpu = vcpu;
        _cpu = vcpu.Cpu;
        _engine = engine;
        _events = events;
        _finder = finder;
        _exits = exits;
    }

    /// <summary>Enters one block and all that it is linked to, and handles why it was left.</summary>
    /// <param name="extra">What the block's mode has besides the CPU's.</param>
    /// <param name="limit">Instructions of the first block at the most.</param>
    /// <returns>False when the vCPU shut down or failed.</returns>
    internal bool Run(BlockMode extra, int limit)
    {
        bool trap = (_cpu->SystemFlags & Rflags.Tf) != 0;
        byte shadow = _cpu->InterruptShadow;
        if (trap || shadow != 0 || _vcpu.Budget is { IsShort: true })
        {
            extra |= BlockMode.Single;
            limit = 1;
        }

        if ((_vcpu.Debug.ExecutionArmed || _vcpu.Debug.IsPending) && !PassesBreakpoints(shadow, ref extra, ref limit, out bool alive))
        {
            return alive;
        }

        _cpu->SystemFlags &= ~Rflags.Rf; // it held off a breakpoint of this instruction

        if (_cpu->UserPageSlots != 0 && (_cpu->SystemFlags & Rflags.Ac) == 0)
        {
            _vcpu.Tlb.CloseUserPages();
        }

        _cpu->InterruptShadow = 0;
        _vcpu.MayStoreLoosely = false;
        byte* entry = _finder.FindEntry(extra, limit);
        if (entry == null)
        {
            _vcpu.Budget?.PayForFetch();
            return DeliverFault();
        }

        _engine.Enter(_cpu, entry);
        while (_windows.TryMend())
        {
            _engine.Resume(_cpu);
        }

        if (!HandleExit(out bool faulted))
        {
            return false;
        }

        return faulted || !(trap || _vcpu.Debug.NeedsLook) || !_vcpu.Debug.TakeTraps(trap) || DeliverDebugTrap();
    }

    // What debugging asks before an instruction. False when an exception was delivered instead of it.
    private bool PassesBreakpoints(byte shadow, ref BlockMode extra, ref int limit, out bool alive)
    {
        alive = true;
        bool held = shadow == DebugUnit.StackSegmentShadow;
        if (_vcpu.Debug.IsPending && !held && _vcpu.Debug.TakeTraps(false))
        {
            alive = DeliverDebugTrap();
            return false;
        }

        ulong linear = CpuMode.Is64Bit(_cpu) ? _cpu->Rip : (uint)(_cpu->Rip + _cpu->Segments[Seg.Cs].Base);
        if (!_vcpu.Debug.WatchesCode(linear))
        {
            return true;
        }

        extra |= BlockMode.Single;
        limit = 1;
        if (held || (_cpu->SystemFlags & Rflags.Rf) != 0 || !_vcpu.Debug.HitsExecution(linear))
        {
            return true;
        }

        _vcpu.Raise(Vector.Debug);
        alive = _vcpu.Deliver(EventKind.Exception);
        return false;
    }

    private bool DeliverDebugTrap()
    {
        _events.Halted = false;
        _vcpu.Raise(Vector.Debug);
        return _vcpu.Deliver(EventKind.Exception);
    }

    private bool DeliverFault()
    {
        _vcpu.Debug.Drop();
        return _vcpu.Deliver(EventKind.Exception);
    }

    private bool HandleExit(out bool faulted)
    {
        faulted = false;
        _cpu->BudgetAhead = 0;
        if (_vcpu.HasFailed)
        {
            return false;
        }

        _vcpu.Counters.CountExit(_cpu->ExitReason);
        switch ((ExitReason)_cpu->ExitReason)
        {
            case ExitReason.Link:
                _finder.FollowLink((int)_cpu->ExitOperand);
                return true;
            case ExitReason.Fault:
                faulted = true;
                return DeliverFault();
            case ExitReason.Halt:
                _events.Halt();
                return true;
            case ExitReason.Careful:
                return RunCareful(out faulted);
            case ExitReason.Budget:
                _vcpu.Budget!.IsShort = true; // only blocks that count leave for this reason
                return true;
            case ExitReason.HostFault when _windows.TryLeave(out bool isGuests):
                faulted = isGuests;
                return isGuests ? DeliverFault() : RunCareful(out faulted);
            case ExitReason.HostFault:
                faulted = true;
                return _exits.TakeHostFault() && DeliverFault();
            case ExitReason.Branch when !CpuMode.IsCanonical(_cpu->Rip):
                _exits.TakeWildBranch();
                faulted = true;
                return DeliverFault();
            default:
                return true;
        }
    }

    private bool RunCareful(out bool faulted)
    {
        byte* entry = _finder.FindCareful(out bool locked);
        if (!locked || !_engine.IsShared)
        {
            return EnterCareful(entry, out faulted);
        }

        _engine.Exclusive.Begin(_vcpu);
        try
        {
            // Alone now; the cache may have been emptied on the way.
            return EnterCareful(_finder.FindCareful(out _), out faulted);
        }
        finally
        {
            _engine.Exclusive.End();
        }
    }

    private bool EnterCareful(byte* entry, out bool faulted)
    {
        if (entry == null)
        {
            faulted = true;
            _vcpu.Budget?.PayForFetch();
            return DeliverFault();
        }

        _engine.Enter(_cpu, entry);
        return HandleExit(out faulted);
    }
}
