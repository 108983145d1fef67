using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// System instructions that are too frequent for an assist: interrupt flag, direction flag, SMAP, the time-stamp
/// counter. What the current privilege may not do goes to the assist, which knows the rules.
/// </summary>
internal sealed unsafe class SystemLowering
{
    private readonly BlockWriter _w;
    private readonly Emitter _e;
    private readonly StackLowering _stack;

    internal SystemLowering(BlockWriter writer, StackLowering stack)
    {
        _w = writer;
        _stack = stack;
        _e = writer.E;
    }

    /// <summary>Emits the instruction.</summary>
    internal void Emit(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Cld:
            case Mnemonic.Std:
                _e.StoreStateByte(StateLayout.DirectionFlag, instruction.Mnemonic == Mnemonic.Std ? 1 : 0);
                break;
            case Mnemonic.Cli when _w.IsKernel:
                _e.StoreStateByte(StateLayout.InterruptFlag, 0);
                break;
            case Mnemonic.Sti when _w.IsKernel:
                _e.StoreStateByte(StateLayout.InterruptFlag, 1);
                break;
            case Mnemonic.Stac when _w.IsKernel:
                _w.FlagsToMemory();
                _e.State(false, 0x80, 1, StateLayout.SystemFlags + 2);
                _e.Byte(4);
                break;
            case Mnemonic.Clac when _w.IsKernel:
                EmitClac();
                break;
            case Mnemonic.Rdtsc when (_w.Mode & BlockMode.NoTsc) == 0 && !_w.CountsInstructions:
                EmitRdtsc();
                break;
            default:
                _w.EmitAssist(instruction);
                break;
        }
    }

    /// <summary>Emits an instruction that is an assist in other modes; false when it is one here too.</summary>
    internal bool TryEmit(in Instruction instruction)
    {
        switch (instruction.Code)
        {
            case Code.Swapgs when _w.IsKernel && _w.Is64:
                _e.LoadState(HostRegister.Address, StateLayout.SegmentBase(Seg.Gs));
                _e.LoadState(HostRegister.Temp, StateLayout.KernelGsBase);
                _e.StoreState(StateLayout.SegmentBase(Seg.Gs), HostRegister.Temp);
                _e.StoreState(StateLayout.KernelGsBase, HostRegister.Address);
                return true;
            case Code.Rdtscp when (_w.Mode & BlockMode.NoTsc) == 0 && _w.Is64 && !_w.CountsInstructions:
                EmitRdtsc();
                _e.State(false, 0x8B, HostRegister.Rcx, StateLayout.TscAux);
                return true;
            case Code.Pushfq when !_w.IsWatched && _w.Is64:
                _stack.PushFlags();
                return true;
            default:
                return false;
        }
    }

    /// <summary>Emits SYSCALL or SYSRET; false when it is one for the assist.</summary>
    internal bool TryEmitCall(in Instruction instruction)
    {
        bool call = instruction.Code == Code.Syscall && _w.IsUser;
        bool back = instruction.Code == Code.Sysretq && _w.IsKernel;
        if (!_w.Is64 || _w.Unlinked || _w.CountsInstructions || !(call || back))
        {
            return false;
        }

        _w.FlagsToMemory();
        _w.NoteAhead();
        _e.StoreStateInt32(StateLayout.ExitOperand, _w.Cache.AssistRecords.Add(instruction));
        _e.MoveImmediate(HostRegister.Address, instruction.NextIP);
        byte* resume = _e.LoadAddressForward(HostRegister.Temp);
        _e.Jump(call ? _w.Thunks.Calls.Syscall : _w.Thunks.Calls.Sysret);
        _e.Patch(resume);
        return true;
    }

    // Most regions between STAC and CLAC put a user page into some slot.
    private void EmitClac()
    {
        _w.FlagsToMemory();
        _e.State(false, 0x80, 4, StateLayout.SystemFlags + 2);
        _e.Byte(0xFB);
        _e.State(true, 0x83, 7, StateLayout.UserPageSlots);
        _e.Byte(0);
        byte* site = _e.JumpForward(5);
        _w.AddCold(new ColdPiece { Kind = ColdKind.CloseUserPages, Site = site, Back = _e.At });
    }

    private void EmitRdtsc()
    {
        _w.FlagsToMemory();
        _e.Bytes(0x0F, 0x31);                                   // rdtsc
        _e.Bytes(0x48, 0xC1, 0xE2, 0x20);                       // shl rdx, 32
        _e.Bytes(0x48, 0x09, 0xD0);                             // or rax, rdx
        _e.State(true, 0x03, HostRegister.Rax, StateLayout.TscOffset);
        _e.Bytes(0x48, 0x89, 0xC2);                             // mov rdx, rax
        _e.Bytes(0x48, 0xC1, 0xEA, 0x20);                       // shr rdx, 32
        _e.Bytes(0x89, 0xC0);                                   // mov eax, eax
    }
}
