using Hull.Cpu.Decode;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>Gives each instruction of a block to the lowering that its plan asks for.</summary>
internal sealed unsafe class InstructionEmitter
{
    private readonly BlockWriter _w;
    private readonly CopyLowering _copy;
    private readonly SystemLowering _system;

    internal InstructionEmitter(BlockWriter writer)
    {
        _w = writer;
        _copy = new CopyLowering(writer);
        _system = new SystemLowering(writer, writer.Stack);
    }

    /// <summary>Emits an instruction.</summary>
    /// <returns>False when the block has ended with its own exit.</returns>
    internal bool Emit(in Instruction instruction)
    {
        ref readonly InstructionPlan plan = ref _w.Plans.For(instruction);
        if (plan.Unit != UnitKind.Integer && Unavailable(plan, out int vector))
        {
            _w.EmitRaise(vector, _w.Truncate(instruction.IP));
            return true;
        }

        if (_w.CountsInstructions && instruction.Mnemonic is (Mnemonic.Rdrand or Mnemonic.Rdseed))
        {
            _w.EmitAssist(instruction);
            return true;
        }

        if (!_w.Is64 && !_w.IsCareful && !_w.CountsInstructions && instruction.IsLocked()
            && _w.Memory.IsAlwaysCareful(instruction.MemorySegment))
        {
            LeaveCareful(instruction);
            return true;
        }

        switch (plan.Kind)
        {
            case PlanKind.Nop:
                return true;
            case PlanKind.Copy:
                _copy.Emit(instruction, plan);
                return true;
            case PlanKind.Assist:
                _w.E.Relocations.StayPut();
                if (!_w.Strings.TryEmit(instruction) && !_system.TryEmit(instruction))
                {
                    _w.EmitAssist(instruction);
                }

                return true;
            case PlanKind.AssistEnd:
                _w.E.Relocations.StayPut();
                if (!_system.TryEmitCall(instruction))
                {
                    _w.EmitAssist(instruction);
                }

                _w.Branch.ToDispatch(_w.Truncate(instruction.NextIP));
                return false;
            case PlanKind.Undefined:
                _w.Flags.ToMemory();
                _w.CallAssist(Assists.UndefinedRecord | _w.Cache.AssistRecords.Add(instruction));
                _w.Branch.ToDispatch(_w.Truncate(instruction.NextIP));
                return false;
            default:
                return EmitLowered(instruction, plan);
        }
    }

    private bool EmitLowered(in Instruction instruction, in InstructionPlan plan)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Push:
            case Mnemonic.Pop:
            case Mnemonic.Leave:
                _w.Stack.Emit(instruction);
                return true;
            case Mnemonic.Call:
            case Mnemonic.Ret:
            case Mnemonic.Jmp:
            case Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne:
            case Mnemonic.Jcxz or Mnemonic.Jecxz or Mnemonic.Jrcxz:
                _w.Branch.Emit(instruction, _w.Stack);
                return false;
            case Mnemonic.Lea:
                _copy.EmitLea(instruction);
                return true;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc:
                _copy.EmitBitTest(instruction, plan);
                return true;
            case Mnemonic.Mov:
                _copy.EmitSpecialMove(instruction);
                return true;
            case Mnemonic.Cli or Mnemonic.Sti or Mnemonic.Cld or Mnemonic.Std or Mnemonic.Clac or Mnemonic.Stac or Mnemonic.Rdtsc:
                _system.Emit(instruction);
                return true;
            default:
                _w.Branch.EmitConditional(instruction);
                return true;
        }
    }

    private bool Unavailable(in InstructionPlan plan, out int vector)
    {
        const int InvalidOpcode = 6;
        const int DeviceNotAvailable = 7;
        vector = 0;
        switch (plan.Unit)
        {
            case UnitKind.X87:
                vector = (_w.Mode & BlockMode.NoX87) != 0 ? DeviceNotAvailable : 0;
                break;
            case UnitKind.Mmx:
                vector = (_w.Mode & BlockMode.NoMmx) != 0 ? InvalidOpcode
                    : (_w.Mode & BlockMode.NoMedia) != 0 ? DeviceNotAvailable : 0;
                break;
            case UnitKind.Sse:
                vector = (_w.Mode & BlockMode.NoSse) != 0 ? InvalidOpcode
                    : (_w.Mode & BlockMode.NoMedia) != 0 ? DeviceNotAvailable : 0;
                break;
            case UnitKind.Avx:
                vector = (_w.Mode & BlockMode.Avx) == 0 ? InvalidOpcode
                    : (_w.Mode & BlockMode.NoMedia) != 0 ? DeviceNotAvailable : 0;
                break;
            default:
                break;
        }

        return vector != 0 && plan.Kind != PlanKind.Undefined;
    }

    // The operand goes through the bounce buffer, which other vCPUs must not overtake: the run loop knows how.
    private void LeaveCareful(in Instruction instruction)
    {
        _w.Flags.ToMemory();
        _w.E.MoveImmediate(HostRegister.Address, _w.Truncate(instruction.IP));
        _w.E.StoreState(StateLayout.Rip, HostRegister.Address);
        _w.E.StoreStateInt32(StateLayout.ExitReason, (int)ExitReason.Careful);
        _w.E.Jump(_w.Thunks.Exit);
    }
}
