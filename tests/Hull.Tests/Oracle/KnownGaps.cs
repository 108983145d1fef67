using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// Differences of the soft engine that are known and not mended yet, one row each: the tests in <c>./check</c> pass over
/// them, <c>tests/Hull.Oracle</c> prints them. A mended gap loses its row in the same commit.
/// </summary>
internal static class KnownGaps
{
    /// <summary>VPEXTRD and VMOVD with VEX.W = 1 in 32-bit code store eight bytes, also over the end of a page.</summary>
    internal const bool WritesBeyond32BitOperands = true;

    /// <summary>The gap that explains a difference, or null.</summary>
    internal static string? Find(TestCase test, in Instruction instruction, TestResult expected, TestResult actual) =>
        OfExceptions(instruction, expected, actual) ?? OfInstruction(test, instruction, expected);

    private static string? OfExceptions(in Instruction instruction, TestResult expected, TestResult actual)
    {
        if (!expected.Faulted)
        {
            return null;
        }

        switch (expected.Vector, actual.Vector)
        {
            case (12, 13):
                return "an address through RSP or RBP that is not canonical is #SS";
            case (13, 12):
                return "an SS override means nothing in 64-bit mode: #GP";
            case (13, 14) when instruction.MemorySize.GetSize() >= 16:
                return "#GP for a misaligned operand comes before its page fault";
            case (19, 12 or 13 or 14):
                return "VCVTPS2PH raises #XM before it stores";
            case (5, 14):
                return "BOUND looks at the upper limit only when the lower one is kept";
            case (16, 12 or 13 or 14):
                return "a pending x87 exception comes before the operand's fault";
            case (13, 14) when instruction.Mnemonic is Mnemonic.Pop or Mnemonic.Retf:
                return "POP FS, POP GS and RETF read two bytes of a selector's slot";
            default:
                return null;
        }
    }

    private static string? OfInstruction(TestCase test, in Instruction instruction, TestResult expected)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Fldenv or Mnemonic.Fnsave:
                return "a new TOP renumbers the x87 registers";
            case Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp or Mnemonic.Fbstp:
                return "a store that an unmasked x87 exception suppresses must leave memory";
            case Mnemonic.Cmpxchg16b:
                return "a misaligned CMPXCHG16B across two pages stops the vCPU";
            case Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64 or Mnemonic.Xrstor
                or Mnemonic.Xrstor64:
                return "XSAVE and XRSTOR touch only the parts that are asked for, XSAVEC only 16 bytes of the header";
            case Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd or Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd:
                return "INS and OUTS check the I/O permission even when RCX is 0";
            case Mnemonic.Jmp or Mnemonic.Call or Mnemonic.Ret when expected.Vector == 13:
                return "a near branch to an address that is not canonical faults at the branch";
            case Mnemonic.Fxsave or Mnemonic.Fxsave64 when expected.Faulted:
                return "FXSAVE checks all of its 512 bytes";
            case Mnemonic.Pop when (int)instruction.MemoryDisplacement64 >= 0x7FFF_FFF8:
                return "POP [rsp+disp32] where the displacement plus 8 does not fit";
            case Mnemonic.Mulx:
                return "MULX with R9, R10 and R11 as its three registers loses the low half";
            case Mnemonic.Cldemote:
                return "CLDEMOTE is a NOP where it is not supported";
            case Mnemonic.Enter:
                return "ENTER reads frame pointers that it has just pushed";
            case Mnemonic.Arpl:
                return "ARPL reads first and writes only what it changes";
            default:
                break;
        }

        if (test.Mode32 && instruction.Encoding == EncodingKind.VEX)
        {
            return "VEX.W, VEX.vvvv[3] and bit 7 of a register immediate mean nothing in 32-bit code";
        }

        if (instruction.Mnemonic is Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq
            && test.InstructionCount > 1)
        {
            return "a masked load after VZEROUPPER brings old upper halves back";
        }

        string name = instruction.Mnemonic.ToString();
        if (name.Contains("gather", System.StringComparison.Ordinal))
        {
            return expected.Faulted ? "a gather that faults leaves its mask canonical and the destination's upper half" : null;
        }

        bool idiom = instruction.Mnemonic is Mnemonic.Xor or Mnemonic.Sub or Mnemonic.Xorps or Mnemonic.Xorpd
            || name.Contains("psub", System.StringComparison.OrdinalIgnoreCase)
            || name.Contains("pcmp", System.StringComparison.OrdinalIgnoreCase)
            || name.Contains("pxor", System.StringComparison.OrdinalIgnoreCase)
            || name.Contains("pandn", System.StringComparison.OrdinalIgnoreCase)
            || name.StartsWith("Vxorp", System.StringComparison.Ordinal);
        return idiom && test.SliceLength > 0 ? "the plan of XOR r,r is used for XOR r,[m]" : null;
    }
}
