using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// MOVS and STOS where all of it lies in the pages that the slots of RSI and RDI hold: the host does them at once. A slot
/// with another page is filled from the inline TLB first. Else the assist does it. SDM vol. 2, "REP/REPE/REPZ/REPNE/REPNZ".
/// </summary>
internal sealed unsafe class StringLowering
{
    private const int Rsi = 6;
    private const int Rdi = 7;
    private readonly BlockWriter _w;
    private readonly Emitter _e;

    // The checks of the instruction under way: what to look up when one fails, in the order RSI, RDI.
    private readonly ColdPiece[] _misses = new ColdPiece[2];
    private int _missCount;

    internal StringLowering(BlockWriter writer)
    {
        _w = writer;
        _e = writer.E;
    }

    /// <summary>Emits the instruction; false when it is one for the assist.</summary>
    internal bool TryEmit(in Instruction instruction)
    {
        int size = ElementSize(instruction.Code);
        bool moves = instruction.Mnemonic is Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq;
        if (size == 0 || _w.IsWatched || !IsDirect(instruction.Op0Kind)
            || (moves && instruction.MemorySegment is Register.FS or Register.GS))
        {
            return false;
        }

        _w.Flags.ToMemory();
        ColdAssist cold = new(_w, instruction);
        _missCount = 0;
        bool repeats = instruction.HasRepPrefix || instruction.HasRepnePrefix;
        _e.State(false, 0x80, 7, StateLayout.DirectionFlag);    // cmp byte [DF], 0
        _e.Byte(0);
        cold.If(5);
        if (repeats)
        {
            _e.Bytes(0x48, 0x81, 0xF9);                         // cmp rcx, imm32
            _e.Int32(4096 / size);
            cold.If(7);
        }

        if (moves)
        {
            EmitCheck(Rsi, false, repeats, size, ref cold);
        }

        EmitCheck(Rdi, true, repeats, size, ref cold);
        EmitRun(instruction.Mnemonic, moves, repeats, size);
        for (int i = 0; i < _missCount; i++)
        {
            _w.Cold.Add(_misses[i] with { Back = _e.At, Number = cold.Record });
        }

        cold.End();
        return true;
    }

    /// <summary>
    /// The page of RSI or RDI is not in the slot: looks it up, and makes the check again if the slot has it then. Falls
    /// through to the assist otherwise. Nothing may be looked up for an instruction that does nothing.
    /// </summary>
    internal void EmitMiss(in ColdPiece piece)
    {
        int register = piece.Store ? Rdi : Rsi;
        byte* idle = null;
        if (piece.Repeats)
        {
            _e.Reg(true, 0x85, HostRegister.Rcx, HostRegister.Rcx);
            idle = _e.JumpForward(4);
        }

        _e.Reg(_w.Is64, 0x89, register, HostRegister.Address);
        _e.Patch(_w.Memory.Slots.EmitLookup(piece.Store, register, piece.Size, out _));
        _w.AddSideRow(_e.At, piece.GuestOffset, piece.Ahead);
        EmitLoadTag(register, piece.Store);
        byte* empty = _e.JumpForward(4);
        _e.Bytes(0x49, 0x81, 0xFB);                             // cmp r11, imm32
        _e.Int32(LastOffset(piece.Repeats, piece.Size));
        byte* again = _e.JumpForward(6);                        // jbe
        *(int*)again = (int)(piece.Check - (again + 4));
        _e.Patch(empty);
        if (idle != null)
        {
            _e.Patch(idle);
        }
    }

    // 64-bit code with 64-bit addresses, or 32-bit code with 32-bit ones in flat segments. There registers may have upper
    // halves: those are like no tag, and the assist sees to them.
    private bool IsDirect(OpKind destination) => _w.Is64
        ? destination == OpKind.MemoryESRDI
        : destination == OpKind.MemoryESEDI
            && (_w.Mode & (BlockMode.CodeMask | BlockMode.Flat)) == (BlockMode.Code32 | BlockMode.Flat);

    // Leaves unless the whole run is in the page of the slot. An empty slot, or page 0, has a tag that is 0 when doubled:
    // the host must not meet an address that it refuses while RSI and RDI are its own.
    private void EmitCheck(int register, bool store, bool repeats, int size, ref ColdAssist cold)
    {
        byte* check = _e.At;
        EmitLoadTag(register, store);
        byte* empty = _e.JumpForward(4);
        *(int*)empty = 0;
        _e.Bytes(0x49, 0x81, 0xFB);                             // cmp r11, imm32
        _e.Int32(LastOffset(repeats, size));
        byte* other = _e.JumpForward(7);
        *(int*)other = (int)(other - empty);
        _misses[_missCount++] = new ColdPiece
        {
            Kind = ColdKind.StringMiss,
            Store = store,
            Size = (ushort)size,
            Repeats = repeats,
            GuestOffset = (ushort)_w.GuestOffset,
            Site = other,
            Check = check,
        };
        if (repeats)
        {
            _e.Lea(true, HostRegister.Temp, HostRegister.Temp, HostRegister.Rcx, size, 0);
            _e.Bytes(0x49, 0x81, 0xFB);
            _e.Int32(4096);
            cold.If(7);
        }
    }

    // Where the first element may begin. An element in two pages is for the assist, also when its page is in the slot.
    private static int LastOffset(bool repeats, int size) => repeats ? 4095 : 4096 - size;

    // R11 = address XOR tag; R10 = the tag doubled, and ZF of it.
    private void EmitLoadTag(int register, bool store)
    {
        _e.LoadState(HostRegister.Address, StateLayout.Slot(_w.IsUser, store, register));
        _e.Move(HostRegister.Temp, register);
        _e.Reg(true, 0x31, HostRegister.Address, HostRegister.Temp);
        _e.Reg(true, 0x01, HostRegister.Address, HostRegister.Address);
    }

    private void EmitRun(Mnemonic mnemonic, bool moves, bool repeats, int size)
    {
        if (moves)
        {
            _e.LoadState(HostRegister.Address, StateLayout.Slot(_w.IsUser, false, Rsi) + 8);
            _e.Reg(true, 0x01, HostRegister.Address, Rsi);
        }

        _e.LoadState(HostRegister.Temp, StateLayout.Slot(_w.IsUser, true, Rdi) + 8);
        _e.Reg(true, 0x01, HostRegister.Temp, Rdi);
        if (repeats)
        {
            _e.Byte(0xF3);
        }

        if (size == 2)
        {
            _e.Byte(0x66);
        }
        else if (size == 8)
        {
            _e.Byte(0x48);
        }

        _e.Byte((moves ? 0xA4 : 0xAA) | (size == 1 ? 0 : 1));
        _e.Reg(_w.Is64, 0x29, HostRegister.Temp, Rdi);
        if (moves)
        {
            _e.Reg(_w.Is64, 0x29, HostRegister.Address, Rsi);
        }
    }

    private static int ElementSize(Code code) => code switch
    {
        Code.Movsb_m8_m8 or Code.Stosb_m8_AL => 1,
        Code.Movsw_m16_m16 or Code.Stosw_m16_AX => 2,
        Code.Movsd_m32_m32 or Code.Stosd_m32_EAX => 4,
        Code.Movsq_m64_m64 or Code.Stosq_m64_RAX => 8,
        _ => 0,
    };
}
