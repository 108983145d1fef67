using Hull.Cpu.Assist;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Cpu.Translate;
using Iced.Intel;

namespace Hull.Cpu;

/// <summary>
/// Runs the assists that generated code calls, and says whether the block goes on. See docs/translator.md, "Assists".
/// </summary>
internal sealed unsafe class AssistDoor
{
    private const int MaximumLength = 15;
    private readonly SoftVcpu _vcpu;
    private readonly SoftEngine _engine;
    private readonly CodeCache _cache;
    private readonly CpuState* _cpu;
    private readonly Tlb _tlb;
    private readonly VcpuCounters _counters;
    private readonly BlockFinder _finder;

    internal AssistDoor(SoftVcpu vcpu, SoftEngine engine, BlockFinder finder)
    {
        _vcpu = vcpu;
        _engine = engine;
        _cache = engine.Cache;
        _cpu = vcpu.Cpu;
        _tlb = vcpu.Tlb;
        _counters = vcpu.Counters;
        _finder = finder;
    }

    /// <summary>Runs an assist. Returns 0 to go on in the block.</summary>
    internal ulong Run(int record)
    {
        if ((record & Assists.RaiseRecord) != 0)
        {
            _vcpu.Raise((byte)record);
            _cpu->ExitReason = (ulong)ExitReason.Fault;
            return Leave();
        }

        if ((record & Assists.UndefinedRecord) != 0)
        {
            RaiseUndefined(_cache.AssistRecords[record & ~Assists.UndefinedRecord]);
            return Leave();
        }

        if (_engine.Guard.HasDoubts)
        {
            // What serialises is an assist.
            _engine.VerifyFetches();
        }

        _counters.CountAssist(_cache.AssistRecords[record].Mnemonic);
        Instruction instruction = _cache.AssistRecords[record];
        ulong invalidations = _engine.Invalidations;
        _cpu->Rip = instruction.IP;
        switch (SystemAssists.Execute(_vcpu, instruction))
        {
            case AssistResult.Next:
                bool serialises = _engine.IsShared && instruction.Mnemonic == Mnemonic.Cpuid;
                if (invalidations != _engine.Invalidations || serialises || _vcpu.Debug.IsPending || _cpu->AttentionBits != 0)
                {
                    // The assist wrote over code, perhaps over the block that called it; it serialises, and another vCPU may
                    // have written over that block (all else that serialises ends its block anyway); it met a breakpoint; or
                    // it wrote to a device that now interrupts, which is taken before the next instruction.
                    _cpu->Rip = _finder.NextRip(instruction);
                    _cpu->ExitReason = (ulong)ExitReason.AssistJump;
                    return Leave();
                }

                if (_cpu->UserPageSlots != 0 && (_cpu->SystemFlags & Rflags.Ac) == 0)
                {
                    _tlb.CloseUserPages();
                }

                return 0;
            case AssistResult.Jump:
                _cpu->ExitReason = (ulong)ExitReason.AssistJump;
                return Leave();
            case AssistResult.Halt:
                _cpu->ExitReason = (ulong)ExitReason.Halt;
                return Leave();
            default:
                _cpu->ExitReason = (ulong)ExitReason.Fault;
                if (_engine.Strict && _vcpu.Pending.Vector == Vector.InvalidOpcode)
                {
                    StopAtUnknown(instruction);
                }

                return Leave();
        }
    }

    // Out of the block behind the assist's instruction, or at it: the rest was paid for and does not run.
    private ulong Leave()
    {
        _vcpu.Budget?.GiveBack((int)_cpu->BudgetAhead - 1);
        return 1;
    }

    private void RaiseUndefined(in Instruction instruction)
    {
        _cpu->Rip = instruction.IP;
        _cpu->ExitReason = (ulong)ExitReason.Fault;
        if (instruction.Code == Code.INVALID && instruction.Length == MaximumLength)
        {
            // Iced gives up after 15 bytes: SDM vol. 3A, "Exception 13": the length limit.
            _vcpu.Raise(Vector.GeneralProtection, 0);
            return;
        }

        _vcpu.Raise(Vector.InvalidOpcode);
        if (_engine.Strict)
        {
            StopAtUnknown(instruction);
        }
    }

    // UD0-UD2 are known: they are there to raise #UD.
    private void StopAtUnknown(in Instruction instruction)
    {
        if (instruction.Mnemonic is not (Mnemonic.Ud0 or Mnemonic.Ud1 or Mnemonic.Ud2))
        {
            _vcpu.Fail($"unknown instruction at rip 0x{instruction.IP:x}: {instruction} (HULL_STRICT)");
        }
    }
}
