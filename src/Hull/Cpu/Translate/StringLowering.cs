using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// MOVS and STOS where all of it lies in the pages that the slots of RSI and RDI hold: the host does them at once. Else
/// the assist does, and fills the slots. SDM vol. 2, "REP/REPE/REPZ/REPNE/REPNZ".
/// </summary>
internal sealed unsafe class StringLowering
{
    private const int Rsi = 6;
    private const int Rdi = 7;
    private readonly BlockWriter _w;
    private readonly Emitter _e;

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
        if (size == 0 || !_w.Is64 || _w.IsWatched || instruction.Op0Kind != OpKind.MemoryESRDI
            || (moves && instruction.MemorySegment is Register.FS or Register.GS))
        {
            return false;
        }

        _w.FlagsToMemory();
        Cold cold = new(_w, instruction);
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
        cold.End();
        return true;
    }

    // Leaves for the assist unless the whole run is in the page of the slot. An empty slot, or page 0, has a tag that is 0
    // when doubled: the host must not meet an address that it refuses while RSI and RDI are its own.
    private void EmitCheck(int register, bool store, bool repeats, int size, ref Cold cold)
    {
        int slot = StateLayout.Slot(_w.IsUser, store, register);
        _e.LoadState(HostRegister.Address, slot);
        _e.Move(HostRegister.Temp, register);
        _e.Reg(true, 0x31, HostRegister.Address, HostRegister.Temp);
        _e.Reg(true, 0x01, HostRegister.Address, HostRegister.Address);
        cold.If(4);
        _e.Bytes(0x49, 0x81, 0xFB);                             // cmp r11, imm32
        _e.Int32(repeats ? 4095 : 4096 - size);
        cold.If(7);
        if (repeats)
        {
            _e.Lea(true, HostRegister.Temp, HostRegister.Temp, HostRegister.Rcx, size, 0);
            _e.Bytes(0x49, 0x81, 0xFB);
            _e.Int32(4096);
            cold.If(7);
        }
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
        _e.Reg(true, 0x29, HostRegister.Temp, Rdi);
        if (moves)
        {
            _e.Reg(true, 0x29, HostRegister.Address, Rsi);
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

    // Jumps that end at one call of the assist.
    private struct Cold(BlockWriter writer, in Instruction instruction)
    {
        private readonly int _record = writer.Cache.AssistRecords.Add(instruction);
        private byte* _previous;

        /// <summary>Leaves for the assist when a condition holds.</summary>
        internal void If(int condition)
        {
            // The displacement of each jump holds the distance to the one before it until the end is known.
            byte* site = writer.E.JumpForward(condition);
            *(int*)site = _previous == null ? 0 : (int)(site - _previous);
            _previous = site;
        }

        /// <summary>The fast way ends here; the assist comes back to the same place.</summary>
        internal readonly void End() => writer.AddCold(new ColdPiece
        {
            Kind = ColdKind.AssistChain,
            Site = _previous,
            Back = writer.E.At,
            Number = _record,
        });
    }
}
