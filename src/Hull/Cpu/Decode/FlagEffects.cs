using Iced.Intel;

namespace Hull.Cpu.Decode;

/// <summary>How an instruction meets the six arithmetic flags.</summary>
internal enum FlagEffect : byte
{
    /// <summary>Neither reads nor writes them.</summary>
    None,

    /// <summary>Writes all six whatever they were.</summary>
    WritesAll,

    /// <summary>Reads some, writes none.</summary>
    Reads,

    /// <summary>Needs the old flags and leaves new ones: reads and writes, or writes only some.</summary>
    ReadsAndWrites,

    /// <summary>A shift or rotation: <see cref="WritesAll"/> or <see cref="ReadsAndWrites"/>, as its count says.</summary>
    ByCount,
}

/// <summary>Sorts instructions by their effect on OF, SF, ZF, AF, PF and CF.</summary>
internal static class FlagEffects
{
    private const RflagsBits Arithmetic = RflagsBits.OF | RflagsBits.SF | RflagsBits.ZF
        | RflagsBits.AF | RflagsBits.PF | RflagsBits.CF;

    /// <summary>
    /// The effect of an instruction that is copied. Flags that the manuals leave undefined count as written: the host
    /// does to them what a host does. Shifts by a count that may be zero keep the old flags then.
    /// </summary>
    internal static FlagEffect Of(in Instruction instruction, in InstructionPlan plan) =>
        plan.Flags != FlagEffect.ByCount ? plan.Flags
        : ShiftWritesAll(instruction) ? FlagEffect.WritesAll : FlagEffect.ReadsAndWrites;

    /// <summary>The effect of all instructions of a form.</summary>
    /// <param name="instruction">One of them, with no operand that makes it a special case.</param>
    /// <param name="isIntel">The host's vendor is Intel.</param>
    internal static FlagEffect OfForm(in Instruction instruction, bool isIntel)
    {
        if (IsShift(instruction.Mnemonic))
        {
            return FlagEffect.ByCount;
        }

        RflagsBits modified = instruction.RflagsModified & Arithmetic;
        RflagsBits read = instruction.RflagsRead & Arithmetic;
        if (modified == RflagsBits.None)
        {
            return read == RflagsBits.None ? FlagEffect.None : FlagEffect.Reads;
        }

        return read == RflagsBits.None && modified == Arithmetic && !KeepsUndefined(instruction.Mnemonic, isIntel)
            ? FlagEffect.WritesAll
            : FlagEffect.ReadsAndWrites;
    }

    // Processors leave some flags as they were where the manual says "undefined", and not all the same ones.
    private static bool KeepsUndefined(Mnemonic mnemonic, bool isIntel) => mnemonic switch
    {
        Mnemonic.Bsf or Mnemonic.Bsr or Mnemonic.Div or Mnemonic.Idiv => true,
        Mnemonic.Mul or Mnemonic.Imul or Mnemonic.Tzcnt or Mnemonic.Lzcnt => !isIntel,
        _ => false,
    };

    private static bool IsShift(Mnemonic mnemonic) => mnemonic is Mnemonic.Shl or Mnemonic.Shr or Mnemonic.Sar
        or Mnemonic.Sal or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr
        or Mnemonic.Shld or Mnemonic.Shrd;

    private static bool ShiftWritesAll(in Instruction instruction)
    {
        if (instruction.Mnemonic is not (Mnemonic.Shl or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Sal))
        {
            return false;
        }

        if (instruction.Op1Kind != OpKind.Immediate8)
        {
            return false;
        }

        bool wide = instruction.Op0Kind == OpKind.Register
            ? instruction.Op0Register.GetSize() == 8
            : instruction.MemorySize.GetSize() == 8;
        return (instruction.Immediate8 & (wide ? 63 : 31)) != 0;
    }
}
