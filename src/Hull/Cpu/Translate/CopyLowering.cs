using System;
using Hull.Cpu.Decode;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Copies a guest instruction: its prefixes, opcode and immediate stay, registers are renamed (guest RSP is host R9;
/// guest R9-R11 pass through R10 and R11), a memory operand becomes [r10], or [r10+r11] where nothing else needs R11.
/// </summary>
internal sealed unsafe class CopyLowering
{
    private readonly BlockWriter _w;
    private readonly Emitter _e;
    private readonly SpilledRegisters _spilled;

    internal CopyLowering(BlockWriter writer)
    {
        _w = writer;
        _e = writer.E;
        _spilled = new SpilledRegisters(writer.E);
    }

    /// <summary>Emits a copied instruction.</summary>
    internal void Emit(in Instruction instruction, in InstructionPlan plan)
    {
        InstructionLayout layout = Layout(instruction);
        RewriteLegacyForm(instruction.Code, ref layout);
        if (instruction.Mnemonic is Mnemonic.Bsf or Mnemonic.Bsr)
        {
            layout.RepeatPrefix = 0; // the host would run TZCNT or LZCNT
        }

        bool commit = false;
        if (layout.HasMemory)
        {
            // AMD's CPUs read four bytes for MOVSXD r16: the host would, behind a check of two.
            bool four = instruction.Code == Code.Movsxd_r16_rm16 && !_w.IsIntel;
            int size = four ? 4 : instruction.MemorySize.GetSize();

            // An x87 store with an unmasked exception leaves memory alone, so a careful copy must start from it.
            bool load = plan.Loads || (plan.Stores && plan.Unit == UnitKind.X87);
            commit = _w.Memory.Operand(
                instruction,
                size,
                load,
                plan.Stores,
                maySplit: LeavesTempFree(instruction, plan, layout),
                mayFault: !IsHigh(plan.RegField, layout.RegNumber, layout.Rex == 0)); // see EmitThroughRsi
        }

        EmitOperation(instruction, plan, layout);
        if (commit)
        {
            _w.Memory.Commit();
        }
    }

    // No register that the instruction reads passes through R11, no flags do, and no byte register changes places with RSI.
    private bool LeavesTempFree(in Instruction instruction, in InstructionPlan plan, in InstructionLayout layout)
    {
        bool rexless = layout.Rex == 0;
        return FlagEffects.Of(instruction, plan) is not (FlagEffect.Reads or FlagEffect.ReadsAndWrites)
            && !(IsSpilled(plan.RegField, layout.RegNumber) && (plan.Stores || plan.RegUse != FieldUse.Write))
            && !IsHigh(plan.RegField, layout.RegNumber, rexless)
            && !(layout.Vex && IsSpilled(plan.VvvvField, layout.VexVvvv));
    }

    private static bool IsSpilled(FieldKind kind, int number) => kind != FieldKind.Other && SpilledRegisters.Includes(number);

    /// <summary>LEA: the address arithmetic goes straight to the destination.</summary>
    internal void EmitLea(in Instruction instruction)
    {
        int guest = instruction.Op0Register.GetNumber();
        int host = guest == 4 ? HostRegister.GuestRsp : guest;
        if (_w.Is64 && !SpilledRegisters.Includes(guest) && instruction.Op0Register.GetSize() >= 4
            && instruction.MemoryBase.GetSize() == 8 && instruction.MemoryBase != Register.RIP)
        {
            _w.Memory.EmitLea(instruction, host);
            return;
        }

        _w.Memory.Address(instruction);
        switch (instruction.Op0Register.GetSize())
        {
            case 8:
                StoreGuest(guest, HostRegister.Address);
                break;
            case 4:
                _e.Reg(false, 0x89, HostRegister.Address, HostRegister.Address);
                StoreGuest(guest, HostRegister.Address);
                break;
            default:
                if (SpilledRegisters.Includes(guest))
                {
                    _e.Byte(0x66);
                    _e.State(false, 0x89, HostRegister.Address, StateLayout.GprSlot(guest));
                }
                else
                {
                    _e.Byte(0x66);
                    _e.Reg(false, 0x89, HostRegister.Address, host);
                }

                break;
        }
    }

    /// <summary>
    /// BT and its kin. With a register index the memory operand reaches beyond the effective address: the word that
    /// holds the bit is addressed here, and the host gets the bit's number in it.
    /// </summary>
    internal void EmitBitTest(in Instruction instruction, in InstructionPlan plan)
    {
        if (instruction.Op0Kind != OpKind.Memory || instruction.Op1Kind != OpKind.Register)
        {
            Emit(instruction, plan);
            return;
        }

        int size = instruction.MemorySize.GetSize();
        int log = size switch { 8 => 6, 4 => 5, _ => 4 };
        int guest = instruction.Op1Register.GetNumber();
        _w.Flags.ToMemory();
        _w.Memory.Address(instruction);
        int source = _w.Memory.Load(guest, HostRegister.Temp);
        switch (size)
        {
            case 8 when source != HostRegister.Temp:
                _e.Move(HostRegister.Temp, source);
                break;
            case 4:
                _e.Reg(true, 0x63, HostRegister.Temp, source);   // movsxd r11, source
                break;
            case 2:
                _e.Reg(true, 0x0FBF, HostRegister.Temp, source); // movsx r11, source
                break;
            default:
                break;
        }

        _e.Bytes(0x49, 0xC1, 0xFB, (byte)log);                  // sar r11, log
        int addressWidth = AddressWidth(instruction);
        _e.Lea(addressWidth == 8, HostRegister.Address, HostRegister.Address, HostRegister.Temp, size, 0);
        if (addressWidth == 2)
        {
            _e.Bytes(0x45, 0x0F, 0xB7, 0xD2);                   // movzx r10d, r10w
        }

        bool commit = _w.Memory.Access(
            MemoryLowering.SegmentOf(instruction.MemorySegment), size, true, plan.Stores, false);
        source = _w.Memory.Load(guest, HostRegister.Temp);
        if (source != HostRegister.Temp)
        {
            _e.Reg(false, 0x89, source, HostRegister.Temp);
        }

        _e.Bytes(0x41, 0x83, 0xE3, (byte)((1 << log) - 1));     // and r11d, bits-1
        _w.Flags.ToHost(tempIsBusy: true);
        InstructionLayout layout = Layout(instruction);
        if (layout.Lock)
        {
            _e.Byte(0xF0);
        }

        if (size == 2)
        {
            _e.Byte(0x66);
        }

        _e.Mem(size == 8, 0x0F00 | layout.Opcode, HostRegister.Temp, HostRegister.Address, 0);
        _w.Flags.Place = FlagPlace.Host;
        if (commit)
        {
            _w.Memory.Commit();
        }
    }

    /// <summary>MOV between the accumulator and an absolute address, and MOV from a segment register.</summary>
    internal void EmitSpecialMove(in Instruction instruction)
    {
        if (instruction.Op1Kind == OpKind.Register && instruction.Op1Register.IsSegmentRegister())
        {
            EmitFromSegment(instruction);
            return;
        }

        bool store = instruction.Op0Kind == OpKind.Memory;
        int size = instruction.MemorySize.GetSize();
        bool commit = _w.Memory.Operand(instruction, size, !store, store);
        if (size == 2)
        {
            _e.Byte(0x66);
        }

        int opcode = (store ? 0x88 : 0x8A) | (size == 1 ? 0 : 1);
        _e.Mem(size == 8, opcode, HostRegister.Rax, HostRegister.Address, 0);
        if (commit)
        {
            _w.Memory.Commit();
        }
    }

    private void EmitFromSegment(in Instruction instruction)
    {
        byte segment = MemoryLowering.SegmentOf(instruction.Op1Register);
        int selector = StateLayout.SegmentBase(segment) + 16;
        if (instruction.Op0Kind == OpKind.Memory)
        {
            bool commit = _w.Memory.Operand(instruction, 2, false, true);
            _e.State(false, 0x0FB7, HostRegister.Temp, selector);
            _e.Byte(0x66);
            _e.Mem(false, 0x89, HostRegister.Temp, HostRegister.Address, 0);
            if (commit)
            {
                _w.Memory.Commit();
            }

            return;
        }

        int guest = instruction.Op0Register.GetNumber();
        _e.State(false, 0x0FB7, HostRegister.Temp, selector);
        if (instruction.Op0Register.GetSize() == 2)
        {
            _e.Byte(0x66);
            if (SpilledRegisters.Includes(guest))
            {
                _e.State(false, 0x89, HostRegister.Temp, StateLayout.GprSlot(guest));
            }
            else
            {
                _e.Reg(false, 0x89, HostRegister.Temp, guest == 4 ? HostRegister.GuestRsp : guest);
            }

            return;
        }

        StoreGuest(guest, HostRegister.Temp);
    }

    private static int AddressWidth(in Instruction instruction)
    {
        Register register = instruction.MemoryBase != Register.None ? instruction.MemoryBase : instruction.MemoryIndex;
        if (register == Register.RIP)
        {
            return 8;
        }

        if (register == Register.EIP)
        {
            return 4;
        }

        return register == Register.None ? DirectWidth(instruction) : register.GetSize();
    }

    private static int DirectWidth(in Instruction instruction) =>
        instruction.CodeSize == CodeSize.Code64 ? 8 : instruction.MemoryDisplSize == 2 ? 2 : 4;

    private InstructionLayout Layout(in Instruction instruction)
    {
        fixed (byte* bytes = &_w.Bytes[_w.GuestOffset])
        {
            InstructionLayout layout = InstructionLayout.Parse(bytes, 16 << (int)(_w.Mode & BlockMode.CodeMask));
            layout.Lock = layout.Lock && NeedsLock(instruction);
            return layout;
        }
    }

    // Alone, a vCPU has nobody to be atomic against. The host's threads have: they change words of a kernel's (event channels,
    // rings), and drivers order their accesses by what a LOCK does besides, which by custom is one on the stack.
    private bool NeedsLock(in Instruction instruction) =>
        _w.IsShared || !_w.IsUser || instruction.MemoryBase is Register.RSP or Register.ESP or Register.SP;

    // Forms that 64-bit mode has given away: INC and DEC r become FF /0 and FF /1, opcode 82 becomes 80.
    private static void RewriteLegacyForm(Code code, ref InstructionLayout layout)
    {
        if (layout.Map != 0 || layout.Vex)
        {
            return;
        }

        if (code is Code.Inc_r16 or Code.Inc_r32 or Code.Dec_r16 or Code.Dec_r32)
        {
            int group = code is Code.Inc_r16 or Code.Inc_r32 ? 0 : 1;
            layout.ModRm = (byte)(0xC0 | (group << 3) | (layout.Opcode & 7));
            layout.ModRmAt = layout.ImmediateAt - 1;
            layout.Opcode = 0xFF;
        }
        else if (layout.Opcode == 0x82)
        {
            layout.Opcode = 0x80;
        }
    }

    private void EmitOperation(in Instruction instruction, in InstructionPlan plan, in InstructionLayout layout)
    {
        bool memory = layout.HasMemory;
        _spilled.Begin(memory);
        FieldKind rmField = instruction.Code is Code.Inc_r16 or Code.Inc_r32 or Code.Dec_r16 or Code.Dec_r32
            ? FieldKind.General
            : plan.RmField;
        FieldKind opcodeField = rmField == plan.RmField ? plan.OpcodeField : FieldKind.Other;
        bool rexless = layout.Rex == 0;
        bool high = IsHigh(plan.RegField, layout.RegNumber, rexless)
            || (!memory && IsHigh(rmField, layout.RmNumber, rexless))
            || IsHigh(opcodeField, layout.OpcodeNumber, rexless);

        int rm = memory ? _w.Memory.Base
            : layout.ModRmAt >= 0 ? Rename(rmField, layout.RmNumber, rexless, plan.RmUse, instruction) : 0;
        int vvvv = layout.Vex ? Rename(plan.VvvvField, layout.VexVvvv, false, plan.VvvvUse, instruction) : 0;
        int reg = layout.ModRmAt >= 0 ? Rename(plan.RegField, layout.RegNumber, rexless, plan.RegUse, instruction) : 0;
        int low = Rename(opcodeField, layout.OpcodeNumber, rexless, plan.OpcodeUse, instruction);

        FlagEffect effect = FlagEffects.Of(instruction, plan);
        if (effect is FlagEffect.Reads or FlagEffect.ReadsAndWrites)
        {
            _w.Flags.ToHost(tempIsBusy: _spilled.TempIsBusy);
        }

        if (plan.DirtiesYmm)
        {
            _w.MarkYmmDirty();
        }

        if (high && (rm >= 8 || reg >= 8))
        {
            EmitThroughRsi(instruction, layout, reg, rm, memory);
        }
        else if (layout.Vex)
        {
            EmitVex(instruction, layout, reg, rm, vvvv, memory);
        }
        else
        {
            EmitLegacy(instruction, plan, layout, reg, rm, low, opcodeField, memory);
        }

        if (effect is FlagEffect.WritesAll or FlagEffect.ReadsAndWrites)
        {
            _w.Flags.Place = FlagPlace.Host;
        }

        _spilled.WriteBack();
        if (instruction.Mnemonic is Mnemonic.Vzeroupper or Mnemonic.Vzeroall)
        {
            _w.MarkYmmClean();
        }
    }

    private static bool IsHigh(FieldKind kind, int number, bool rexless) =>
        kind == FieldKind.Byte && rexless && number is >= 4 and <= 7;

    private int Rename(FieldKind kind, int number, bool rexless, FieldUse use, in Instruction instruction)
    {
        if (kind == FieldKind.Other || IsHigh(kind, number, rexless))
        {
            return number;
        }

        if (number == 4)
        {
            return HostRegister.GuestRsp;
        }

        return SpilledRegisters.Includes(number) ? _spilled.Take(number, use, instruction.Mnemonic == Mnemonic.Mulx) : number;
    }

    private void StoreGuest(int guest, int host)
    {
        if (SpilledRegisters.Includes(guest))
        {
            _e.StoreState(StateLayout.GprSlot(guest), host);
        }
        else
        {
            _e.Move(guest == 4 ? HostRegister.GuestRsp : guest, host);
        }
    }

    private void EmitLegacy(
        in Instruction instruction,
        in InstructionPlan plan,
        in InstructionLayout layout,
        int reg,
        int rm,
        int low,
        FieldKind opcodeField,
        bool memory)
    {
        _w.NoteTrap(plan);
        Prefixes(instruction, plan, layout);
        int rex = layout.Rex & 0x48;
        if (layout.Rex != 0)
        {
            rex |= 0x40;
        }

        bool isRegister = layout.ModRmAt >= 0;
        bool usesOpcode = opcodeField != FieldKind.Other;
        rex |= isRegister ? ((reg >> 3) << 2) | (rm >> 3) | (IsSplit(memory) ? 2 : 0) : usesOpcode ? low >> 3 : 0;
        if ((rex & 0xF) != 0)
        {
            rex |= 0x40;
        }

        if (rex != 0)
        {
            _e.Byte(rex);
        }

        Opcode(layout, usesOpcode ? (layout.Opcode & ~7) | (low & 7) : layout.Opcode);
        if (isRegister)
        {
            ModRm(reg, rm, memory);
        }

        Immediate(instruction, layout);
    }

    private void EmitVex(
        in Instruction instruction,
        in InstructionLayout layout,
        int reg,
        int rm,
        int vvvv,
        bool memory)
    {
        int inverted = (~((reg >> 3) << 2) & 4) | 2 | (~(rm >> 3) & 1);
        if ((!memory && layout.ModRmAt >= 0 && (layout.Rex & 2) != 0) || IsSplit(memory))
        {
            inverted &= ~2;
        }

        // Where W chooses between 32 and 64 bits of a general register it is ignored outside 64-bit mode.
        int wide = !_w.Is64 && instruction.Code.ToOpCode().IsWIG32 ? 0 : layout.Rex & 8;
        byte* start = _e.At;
        _e.Bytes(0xC4, (byte)((inverted << 5) | layout.Map));
        _e.Bytes(
            (byte)((wide << 4) | ((~vvvv & 15) << 3) | (layout.VexLength << 2) | layout.VexPrefix),
            layout.Opcode);
        _w.NoteTrapAt(start);
        if (layout.ModRmAt >= 0)
        {
            ModRm(reg, rm, memory);
        }

        Immediate(instruction, layout);
    }

    // AH-BH cannot stand beside a register that needs REX: that one changes places with RSI for a moment.
    private void EmitThroughRsi(in Instruction instruction, in InstructionLayout layout, int reg, int rm, bool memory)
    {
        int other = rm >= 8 ? rm : reg;
        if (memory)
        {
            // Were the host to refuse the address, it must do so before registers change places.
            _e.Mem(false, 0x0FB6, HostRegister.Temp, HostRegister.Address, 0);
        }

        _e.Reg(true, 0x87, HostRegister.Rsi, other);
        if (layout.Lock)
        {
            _e.Byte(0xF0);
        }

        if (layout.OperandSizePrefix)
        {
            _e.Byte(0x66);
        }

        if (layout.Map != 0 && layout.RepeatPrefix != 0)
        {
            _e.Byte(layout.RepeatPrefix);
        }

        Opcode(layout, layout.Opcode);
        int newRm = rm >= 8 ? HostRegister.Rsi : rm;
        int newReg = reg >= 8 ? HostRegister.Rsi : reg;
        _e.Byte((memory ? 0 : 0xC0) | ((newReg & 7) << 3) | (newRm & 7));
        Immediate(instruction, layout);
        _e.Reg(true, 0x87, HostRegister.Rsi, other);
    }

    private void Prefixes(in Instruction instruction, in InstructionPlan plan, in InstructionLayout layout)
    {
        if (layout.Lock)
        {
            _e.Byte(0xF0);
        }

        bool is16 = (_w.Mode & BlockMode.CodeMask) == BlockMode.Code16;
        bool narrow = is16 && plan.OperandSize != 0 ? plan.OperandSize == 16 : layout.OperandSizePrefix;
        if (narrow)
        {
            _e.Byte(0x66);
        }

        if (layout.RepeatPrefix != 0 && (layout.Map != 0 || instruction.Mnemonic == Mnemonic.Pause))
        {
            _e.Byte(layout.RepeatPrefix);
        }
    }

    private void Opcode(in InstructionLayout layout, int opcode)
    {
        int map = layout.Map switch { 1 => 0x0F00, 2 => 0x0F_3800, 3 => 0x0F_3A00, _ => 0 };
        _e.Opcode(map | opcode);
    }

    // [r10] is mod 0, rm 2 with REX.B; [base+r11+disp] rm 4 with REX.X and a SIB byte.
    private void ModRm(int reg, int rm, bool memory)
    {
        if (IsSplit(memory))
        {
            _e.SplitOperand(reg, rm, _w.Memory.Displacement);
            return;
        }

        _e.Byte((memory ? 0 : 0xC0) | ((reg & 7) << 3) | (rm & 7));
    }

    private bool IsSplit(bool memory) => memory && _w.Memory.IsSplit;

    private void Immediate(in Instruction instruction, in InstructionLayout layout)
    {
        // The register in imm8[7:4] of VBLENDVPS, VBLENDVPD and VPBLENDVB has three bits outside 64-bit mode.
        bool register = !_w.Is64 && layout.Vex && layout.Map == 3 && (layout.Opcode is 0x4A or 0x4B or 0x4C);
        ReadOnlySpan<byte> bytes = _w.Bytes.AsSpan(_w.GuestOffset, instruction.Length)[layout.ImmediateAt..];
        byte* at = _e.At;
        for (int i = 0; i < bytes.Length; i++)
        {
            at[i] = register ? (byte)(bytes[i] & 0x7F) : bytes[i];
        }

        _e.At = at + bytes.Length;
    }
}
