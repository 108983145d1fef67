using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>PUSH, POP, LEAVE, and the stack half of CALL and RET.</summary>
internal sealed class StackLowering
{
    private readonly BlockWriter _w;
    private readonly Emitter _e;
    private readonly MemoryLowering _memory;

    internal StackLowering(BlockWriter writer)
    {
        _w = writer;
        _e = writer.E;
        _memory = writer.Memory;
    }

    /// <summary>Emits PUSH, POP or LEAVE.</summary>
    internal void Emit(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Push:
                EmitPush(instruction);
                break;
            case Mnemonic.Pop:
                EmitPop(instruction);
                break;
            default:
                EmitLeave(instruction);
                break;
        }
    }

    /// <summary>Pushes a return address.</summary>
    internal void PushReturn(ulong value, int size) => PushConstant(value, size, true);

    /// <summary>The first half of it: what may fault. The second is <see cref="StoreConstant"/>; R11 is free between them.</summary>
    /// <returns>What the second half must be told.</returns>
    internal bool CheckPush(int size)
    {
        _memory.StackAddress(-size);
        return _memory.StackAccess(size, false, true);
    }

    /// <summary>The second half: R10 is the place on the stack.</summary>
    /// <param name="value">What is pushed.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="commit">What the first half said.</param>
    /// <param name="moves">It is an address of the code.</param>
    internal void StoreConstant(ulong value, int size, bool commit, bool moves)
    {
        if (size == 8 && (long)value != (int)value)
        {
            if (moves)
            {
                _e.MoveAddress(HostRegister.Temp, value);
            }
            else
            {
                _e.MoveImmediate(HostRegister.Temp, value);
            }

            StoreOperand(HostRegister.Temp, 8);
        }
        else
        {
            if (moves)
            {
                _e.Relocations.StayPut();
            }

            if (size == 2)
            {
                _e.Byte(0x66);
            }

            _e.Mem(size == 8, 0xC7, 0, HostRegister.Address, 0);
            if (size == 2)
            {
                _e.Bytes((byte)value, (byte)(value >> 8));
            }
            else
            {
                _e.Int32((int)value);
            }
        }

        Close(commit);
        _memory.StackAdjust(-size);
    }

    /// <summary>PUSHFQ: the image without RF and VM, put together on the stack. SDM vol. 2, "PUSHF/PUSHFD/PUSHFQ".</summary>
    internal void PushFlags()
    {
        CheckPush(8);
        _e.State(false, 0x0FB6, HostRegister.Temp, StateLayout.DirectionFlag);
        _e.Reg(false, 0x01, HostRegister.Temp, HostRegister.Temp);
        _e.State(false, 0x0A, HostRegister.Temp, StateLayout.InterruptFlag);
        _e.Bytes(0x41, 0xC1, 0xE3, 0x09);                       // shl r11d, 9
        _e.State(true, 0x0B, HostRegister.Temp, StateLayout.SystemFlags);
        _e.Bytes(0x41, 0x81, 0xE3);                             // and r11d, imm32
        _e.Int32(unchecked((int)~(Rflags.Rf | Rflags.Vm)));
        _e.Bytes(0x41, 0x83, 0xCB, 0x02);                       // or r11d, 2
        StoreOperand(HostRegister.Temp, 8);
        _e.State(false, 0x0FB6, HostRegister.Temp, StateLayout.FlagWord + 1);
        _e.Bytes(0x41, 0x81, 0xE3);                             // and r11d, imm32
        _e.Int32(CpuState.LahfMask);
        _e.Mem(true, 0x09, HostRegister.Temp, HostRegister.Address, 0);
        _e.State(false, 0x0FB6, HostRegister.Temp, StateLayout.FlagWord);
        _e.Bytes(0x41, 0xC1, 0xE3, 0x0B);                       // shl r11d, 11: OF
        _e.Mem(true, 0x09, HostRegister.Temp, HostRegister.Address, 0);
        _memory.StackAdjust(-8);
    }

    /// <summary>Pops a return address into R10, and moves the stack pointer over it and <paramref name="extra"/> bytes.</summary>
    internal void PopTarget(int size, int extra)
    {
        _w.Flags.ToMemory();
        ReachTop(size);
        LoadOperand(HostRegister.Address, size);
        _memory.StackAdjust(size + extra);
    }

    /// <summary>mov register, [r10], zero-extended.</summary>
    internal void LoadOperand(int register, int size)
    {
        if (_memory.IsSplit)
        {
            _e.MemSplit(size == 8, size == 2 ? 0x0FB7 : 0x8B, register, _memory.Base, _memory.Displacement);
        }
        else if (size == 2)
        {
            _e.Mem(false, 0x0FB7, register, HostRegister.Address, 0);
        }
        else
        {
            _e.Mem(size == 8, 0x8B, register, HostRegister.Address, 0);
        }
    }

    private void StoreOperand(int register, int size)
    {
        if (size == 2)
        {
            _e.Byte(0x66);
        }

        if (_memory.IsSplit)
        {
            _e.MemSplit(size == 8, 0x89, register, _memory.Base, _memory.Displacement);
            return;
        }

        _e.Mem(size == 8, 0x89, register, HostRegister.Address, 0);
    }

    // R10 is free beside a split operand.
    private void PushConstant(ulong value, int size, bool moves)
    {
        if (!_memory.TryReachStack(-size, size, true, true))
        {
            StoreConstant(value, size, CheckPush(size), moves);
            return;
        }

        if (moves)
        {
            _e.MoveAddress(HostRegister.Address, value);
        }
        else
        {
            _e.MoveImmediate(HostRegister.Address, value);
        }

        StoreOperand(HostRegister.Address, size);
        _memory.StackAdjust(-size);
    }

    private void Close(bool commit)
    {
        if (commit)
        {
            _memory.Commit();
        }
    }

    private void EmitPush(in Instruction instruction)
    {
        int size = -instruction.StackPointerIncrement;
        switch (instruction.Op0Kind)
        {
            case OpKind.Register when instruction.Op0Register.IsSegmentRegister():
                PushSegment(MemoryLowering.SegmentOf(instruction.Op0Register), size);
                break;
            case OpKind.Register:
                PushRegister(instruction.Op0Register.GetNumber(), size);
                break;
            case OpKind.Memory:
                _memory.Operand(instruction, size, true, false);
                LoadOperand(HostRegister.Temp, size);
                PushTemp(size);
                break;
            default:
                PushConstant(instruction.GetImmediate(0), size, false);
                break;
        }
    }

    private void PushRegister(int guest, int size)
    {
        bool commit = false;
        if (!_memory.TryReachStack(-size, size, true, true))
        {
            _memory.StackAddress(-size);
            commit = _memory.StackAccess(size, false, true);
        }

        // R10 is free beside a split operand, R11 beside another.
        StoreOperand(_memory.Load(guest, _memory.IsSplit ? HostRegister.Address : HostRegister.Temp), size);
        Close(commit);
        _memory.StackAdjust(-size);
    }

    // The top of the stack, to be loaded.
    private void ReachTop(int size)
    {
        if (!_memory.TryReachStack(0, size, false, size == 8))
        {
            _memory.StackAddress(0);
            _memory.StackAccess(size, true, false);
        }
    }

    // The value waits in Scratch0 while the stack's address is checked.
    private void PushTemp(int size)
    {
        _e.StoreState(StateLayout.Scratch0, HostRegister.Temp);
        bool commit = !_memory.TryReachStack(-size, size, true, false) && CheckPush(size);
        _e.LoadState(HostRegister.Temp, StateLayout.Scratch0);
        StoreOperand(HostRegister.Temp, size);
        Close(commit);
        _memory.StackAdjust(-size);
    }

    // A 32-bit push of a segment register writes two bytes only, and checks no more; a 64-bit one eight. SDM vol. 2,
    // "PUSH", has it for "all recent Intel Core and Intel Atom processors". AMD's write four.
    private void PushSegment(byte segment, int size)
    {
        int written = size == 4 && _w.IsIntel ? 2 : size;
        _memory.StackAddress(-size);
        bool commit = _memory.StackAccess(written, false, true);
        _e.State(false, 0x0FB7, HostRegister.Temp, StateLayout.SegmentBase(segment) + 16);
        StoreOperand(HostRegister.Temp, written);
        Close(commit);
        _memory.StackAdjust(-size);
    }

    private void EmitPop(in Instruction instruction)
    {
        int size = instruction.StackPointerIncrement;
        ReachTop(size);
        if (instruction.Op0Kind == OpKind.Memory)
        {
            LoadOperand(HostRegister.Temp, size);
            _e.StoreState(StateLayout.Scratch0, HostRegister.Temp);
            bool commit = _memory.Operand(instruction, size, false, true, size);
            _e.LoadState(HostRegister.Temp, StateLayout.Scratch0);
            StoreOperand(HostRegister.Temp, size);
            Close(commit);
            _memory.StackAdjust(size);
            return;
        }

        // The access comes before the stack pointer moves, because it may still fault; POP of the stack pointer itself
        // keeps the loaded value.
        int guest = instruction.Op0Register.GetNumber();
        if (guest != 4)
        {
            LoadRegister(guest, size);
            _memory.StackAdjust(size);
            return;
        }

        LoadOperand(HostRegister.Temp, size);
        _memory.StackAdjust(size);
        MoveToStackPointer(size);
    }

    // R11 to the guest's stack pointer, of which two bytes leave the rest alone.
    private void MoveToStackPointer(int size)
    {
        if (size == 2)
        {
            _e.Byte(0x66);
        }

        _e.Reg(size == 8, 0x89, HostRegister.Temp, HostRegister.GuestRsp);
    }

    private void LoadRegister(int guest, int size)
    {
        bool spilled = guest is >= 9 and <= 11;
        int host = spilled ? HostRegister.Temp : guest;
        if (size == 2)
        {
            if (spilled)
            {
                _e.LoadState(HostRegister.Temp, StateLayout.GprSlot(guest));
            }

            _e.Byte(0x66);
        }

        if (_memory.IsSplit)
        {
            _e.MemSplit(size == 8, 0x8B, host, _memory.Base, _memory.Displacement);
        }
        else
        {
            _e.Mem(size == 8, 0x8B, host, HostRegister.Address, 0);
        }

        if (spilled)
        {
            _e.StoreState(StateLayout.GprSlot(guest), HostRegister.Temp);
        }
    }

    // LEAVE: the stack pointer becomes the frame pointer plus what was popped.
    private void EmitLeave(in Instruction instruction)
    {
        int size = instruction.Code switch { Code.Leaveq => 8, Code.Leaved => 4, _ => 2 };
        bool wide = _w.Is64;
        bool narrow = !wide && (_w.Mode & BlockMode.Stack32) == 0;
        _memory.FrameAddress();
        _memory.StackAccess(size, true, false);
        LoadOperand(HostRegister.Address, size);
        if (narrow)
        {
            _e.Byte(0x66);
        }

        _e.Lea(wide, HostRegister.GuestRsp, HostRegister.Rbp, -1, 1, size);
        if (size == 2)
        {
            _e.Byte(0x66);
        }

        _e.Reg(size == 8, 0x89, HostRegister.Address, HostRegister.Rbp);
    }
}
