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
                _w.Flags.ToMemory();
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
            case Code.Mov_r64_cr when _w.IsKernel && _w.Is64 && FieldOf(instruction.Op1Register) is int field:
                MoveTo(instruction.Op0Register, field);
                return true;
            case Code.Rdfsbase_r32 or Code.Rdfsbase_r64 when _w.Is64:
                EmitReadBase(instruction, Seg.Fs);
                return true;
            case Code.Rdgsbase_r32 or Code.Rdgsbase_r64 when _w.Is64:
                EmitReadBase(instruction, Seg.Gs);
                return true;
            case Code.Wrfsbase_r32 or Code.Wrfsbase_r64 when _w.Is64:
                EmitWriteBase(instruction, Seg.Fs);
                return true;
            case Code.Wrgsbase_r32 or Code.Wrgsbase_r64 when _w.Is64:
                EmitWriteBase(instruction, Seg.Gs);
                return true;
            case Code.Pushfq when !_w.IsWatched && _w.Is64:
                _stack.PushFlags();
                return true;
            default:
                return false;
        }
    }

    /// <summary>Emits SYSCALL, SYSRET or IRETQ; false when it is one for the assist.</summary>
    internal bool TryEmitCall(in Instruction instruction)
    {
        bool call = instruction.Code == Code.Syscall && _w.IsUser;
        bool back = instruction.Code == Code.Sysretq && _w.IsKernel;
        bool interrupt = instruction.Code == Code.Iretq && _w.IsKernel && (_w.Mode & BlockMode.Breakpoints) == 0;
        if (!_w.Is64 || _w.Unlinked || _w.CountsInstructions || !(call || back || interrupt))
        {
            return false;
        }

        _w.Flags.ToMemory();
        _w.NoteAhead();
        _e.StoreStateInt32(StateLayout.ExitOperand, _w.Cache.AssistRecords.Add(instruction));
        _e.MoveImmediate(HostRegister.Address, instruction.NextIP);
        byte* resume = _e.LoadAddressForward(HostRegister.Temp);
        _e.Jump(call ? _w.Thunks.Calls.Syscall : back ? _w.Thunks.Calls.Sysret : _w.Thunks.InterruptReturn);
        _e.Patch(resume);
        return true;
    }

    private static int? FieldOf(Register register) => register switch
    {
        Register.CR0 => StateLayout.Cr0,
        Register.CR2 => StateLayout.Cr2,
        Register.CR3 => StateLayout.Cr3,
        Register.CR4 => StateLayout.Cr4,
        _ => null,
    };

    // mov register, field: zero-extended where the register has 32 bits.
    private void MoveTo(Register register, int field)
    {
        int guest = register.GetNumber();
        int host = guest is >= 9 and <= 11 ? HostRegister.Temp : guest == 4 ? HostRegister.GuestRsp : guest;
        _e.State(register.GetSize() == 8, 0x8B, host, field);
        if (host == HostRegister.Temp)
        {
            _e.StoreState(StateLayout.GprSlot(guest), host);
        }
    }

    // RDFSBASE and RDGSBASE; the assist knows what to raise without CR4.FSGSBASE.
    private void EmitReadBase(in Instruction instruction, int segment)
    {
        _w.Flags.ToMemory();
        ColdAssist cold = new(_w, instruction);
        EmitTestFsgsbase(ref cold);
        MoveTo(instruction.Op0Register, StateLayout.SegmentBase(segment));
        cold.End();
    }

    // WRFSBASE and WRGSBASE; an address that is not canonical is the assist's too.
    private void EmitWriteBase(in Instruction instruction, int segment)
    {
        _w.Flags.ToMemory();
        ColdAssist cold = new(_w, instruction);
        EmitTestFsgsbase(ref cold);
        bool wide = instruction.Op0Register.GetSize() == 8;
        int value = _w.Memory.Load(instruction.Op0Register.GetNumber(), HostRegister.Address);
        _e.Reg(wide, 0x8B, HostRegister.Address, value);
        if (wide)
        {
            _e.Move(HostRegister.Temp, HostRegister.Address);
            _e.Bytes(0x49, 0xC1, 0xE3, 0x10);                   // shl r11, 16
            _e.Bytes(0x49, 0xC1, 0xFB, 0x10);                   // sar r11, 16
            _e.Reg(true, 0x39, HostRegister.Address, HostRegister.Temp);
            cold.If(5);
        }

        _e.StoreState(StateLayout.SegmentBase(segment), HostRegister.Address);
        cold.End();
    }

    private void EmitTestFsgsbase(ref ColdAssist cold)
    {
        _e.State(false, 0xF6, 0, StateLayout.Cr4 + 2);          // test byte [cr4+2], FSGSBASE
        _e.Byte((int)(Cr4.Fsgsbase >> 16));
        cold.If(4);
    }

    // Most regions between STAC and CLAC put a user page into some slot.
    private void EmitClac()
    {
        _w.Flags.ToMemory();
        _e.State(false, 0x80, 4, StateLayout.SystemFlags + 2);
        _e.Byte(0xFB);
        _e.State(true, 0x83, 7, StateLayout.UserPageSlots);
        _e.Byte(0);
        byte* site = _e.JumpForward(5);
        _w.Cold.Add(new ColdPiece { Kind = ColdKind.CloseUserPages, Site = site, Back = _e.At });
    }

    private void EmitRdtsc()
    {
        _w.Flags.ToMemory();
        _e.Bytes(0x0F, 0x31);                                   // rdtsc
        _e.Bytes(0x48, 0xC1, 0xE2, 0x20);                       // shl rdx, 32
        _e.Bytes(0x48, 0x09, 0xD0);                             // or rax, rdx
        _e.State(true, 0x03, HostRegister.Rax, StateLayout.TscOffset);
        _e.Bytes(0x48, 0x89, 0xC2);                             // mov rdx, rax
        _e.Bytes(0x48, 0xC1, 0xEA, 0x20);                       // shr rdx, 32
        _e.Bytes(0x89, 0xC0);                                   // mov eax, eax
    }
}
