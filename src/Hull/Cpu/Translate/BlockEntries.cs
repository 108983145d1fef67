using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>The two entries of a block, one for each place where the flags may be, and what deterministic mode pays there.</summary>
internal sealed unsafe class BlockEntries(BlockWriter writer)
{
    private readonly Emitter _e = writer.E;

    /// <summary>Emits them.</summary>
    /// <param name="block">Told where they are.</param>
    /// <param name="interest">Where the block's first instruction that cares wants the flags.</param>
    /// <param name="count">Instructions of the block.</param>
    internal void Emit(ref Block block, FlagPlace interest, int count)
    {
        if (writer.CountsInstructions)
        {
            EmitCounting(ref block, interest, count);
            return;
        }

        switch (interest)
        {
            case FlagPlace.Host:
                block.MemoryFlagsEntry = _e.At;
                writer.Flags.EmitLoad(false);
                block.HostFlagsEntry = _e.At;
                writer.Flags.Place = FlagPlace.Host;
                break;
            case FlagPlace.Memory:
                block.HostFlagsEntry = _e.At;
                writer.Flags.EmitSave();
                block.MemoryFlagsEntry = _e.At;
                writer.Flags.Place = FlagPlace.Memory;
                break;
            default:
                block.HostFlagsEntry = _e.At;
                block.MemoryFlagsEntry = _e.At;
                writer.Flags.Place = FlagPlace.Memory;
                break;
        }
    }

    // At a stop somebody looks at the flags, so a block that would overwrite them brings them to the state first.
    //   sub qword [rsp+Budget], count;  js short
    // With flags in host flags (BMI2, else the same way):
    //   mov r10, rcx;  mov r11, [rsp+Budget];  lea r11, [r11-count];  mov [rsp+Budget], r11
    //   mov ecx, 63;  shrx rcx, r11, rcx;  jrcxz enough;  mov rcx, r10;  jmp short;  enough: mov rcx, r10
    private void EmitCounting(ref Block block, FlagPlace interest, int count)
    {
        if (interest != FlagPlace.Host || !HostCpu.HasBmi2)
        {
            block.HostFlagsEntry = _e.At;
            writer.Flags.EmitSave();
            block.MemoryFlagsEntry = _e.At;
            writer.Flags.Place = FlagPlace.Memory;
            _e.State(true, 0x83, 5, StateLayout.Budget);
            _e.Byte(count);
            writer.Cold.Add(new ColdPiece { Kind = ColdKind.Budget, Site = _e.JumpForward(8), Number = count });
            return;
        }

        block.MemoryFlagsEntry = _e.At;
        writer.Flags.EmitLoad(false);
        block.HostFlagsEntry = _e.At;
        writer.Flags.Place = FlagPlace.Host;
        _e.Move(HostRegister.Address, HostRegister.Rcx);
        _e.LoadState(HostRegister.Temp, StateLayout.Budget);
        _e.Lea(true, HostRegister.Temp, HostRegister.Temp, -1, 1, -count);
        _e.StoreState(StateLayout.Budget, HostRegister.Temp);
        _e.Byte(0xB9);
        _e.Int32(63);
        _e.Bytes(0xC4, 0xC2, 0xF3, 0xF7);
        _e.Byte(0xCB);
        byte* enough = _e.JumpShort(0xE3);
        _e.Move(HostRegister.Rcx, HostRegister.Address);
        writer.Cold.Add(new ColdPiece { Kind = ColdKind.BudgetHostFlags, Site = _e.JumpForward(-1), Number = count });
        _e.PatchShort(enough);
        _e.Move(HostRegister.Rcx, HostRegister.Address);
    }
}
