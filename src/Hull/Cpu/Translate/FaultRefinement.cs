using Hull.Cpu.Decode;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// What the slow path of an access cannot know and only matters when it faults: whether the operand goes through the
/// stack segment (#SS instead of #GP), whether the instruction demands alignment, which is checked before paging, and
/// whether it reports an x87 exception first.
/// </summary>
internal static class FaultRefinement
{
    /// <summary>
    /// True when the access that faulted in 64-bit mode was through SS: RSP or RBP as base, or the stack itself. Prefixes
    /// other than FS and GS are ignored there.
    /// </summary>
    internal static bool UsesStack(in Instruction instruction, bool store)
    {
        if (instruction.IsStringInstruction)
        {
            return false;
        }

        if (!instruction.HasMemoryOperand())
        {
            return true;
        }

        // PUSH, POP and CALL of a memory operand touch both: the load of POP and the store of the others are the stack's.
        bool stackAccess = instruction.Mnemonic switch
        {
            Mnemonic.Push or Mnemonic.Call => store,
            Mnemonic.Pop => !store,
            _ => false,
        };
        bool stackBase = instruction.MemoryBase is Register.RSP or Register.RBP or Register.ESP or Register.EBP;
        return stackAccess || (stackBase && instruction.MemorySegment is not (Register.FS or Register.GS));
    }

    /// <summary>
    /// True when the instruction raises a pending x87 exception before it touches memory. SDM vol. 1, "Synchronization of
    /// Floating-Point Exceptions".
    /// </summary>
    internal static bool WaitsForX87(in Instruction instruction) =>
        (PlanClassifier.UnitOf(instruction.Code) is UnitKind.X87 or UnitKind.Mmx || UsesMmx(instruction))
        && instruction.Mnemonic is not (Mnemonic.Fnstcw or Mnemonic.Fnstsw or Mnemonic.Fnstenv or Mnemonic.Fnsave);

    // SSE, SSE2 and SSSE3 have forms for MMX registers too.
    private static bool UsesMmx(in Instruction instruction) =>
        instruction.Op0Register.IsMM() || instruction.Op1Register.IsMM();

    /// <summary>Bytes that the memory operand must be aligned to; 1 when it need not be.</summary>
    internal static int Alignment(in Instruction instruction)
    {
        int size = instruction.MemorySize.GetSize();
        if (size < 16)
        {
            return 1;
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa or Mnemonic.Vmovntps or Mnemonic.Vmovntpd:
            case Mnemonic.Vmovntdq or Mnemonic.Vmovntdqa or Mnemonic.Cmpxchg16b:
                return size;
            case Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu:
            case Mnemonic.Pcmpestri or Mnemonic.Pcmpestrm or Mnemonic.Pcmpistri or Mnemonic.Pcmpistrm:
            case Mnemonic.Pcmpestri64 or Mnemonic.Pcmpestrm64:
                return 1;
            default:
                return instruction.Encoding == EncodingKind.Legacy && size == 16 ? 16 : 1;
        }
    }
}
