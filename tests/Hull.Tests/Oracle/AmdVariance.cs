using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// Where AMD's CPUs differ from Intel's and Hull does as Intel's do on either: corners that the manuals give away, or that
/// no program can want.
/// </summary>
internal static class AmdVariance
{
    /// <summary>What to leave out after an instruction, if it is one of these.</summary>
    internal static Variance? Find(TestCase test, in Instruction instruction, TestResult expected)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Int1:
                // A host whose hypervisor catches ICEBP sees it as a fault; APM vol. 3, "INT1", makes it a trap.
                return Variance.All;
            case Mnemonic.Pause when HasRexB(test):
                // F3 49 90 is XCHG R8 on AMD's CPUs; SDM vol. 2, "PAUSE", and the decoder have PAUSE. APM vol. 3, "NOP".
                return Variance.All;
            case Mnemonic.Ud1:
                // APM vol. 3, "UD0, UD1, UD2": the ModRM byte need not be fetched; SDM vol. 2, "UD", fetches it.
                return Variance.All;
            case Mnemonic.Reservednop when instruction.Op0Kind == OpKind.Register:
                // 0F 0D with a register: APM vol. 3, "PREFETCH", #UD; SDM vol. 2, "Opcode Map", reserved NOP.
                return Variance.All;
            case Mnemonic.Vpinsrd or Mnemonic.Vpextrd when test.Mode32:
                // VEX.W outside 64-bit mode: SDM vol. 2, "VEX.W", ignores it; AMD's CPUs raise #UD.
                return Variance.All;
            case Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64 when expected.Faulted:
                // Parts of the area that no component asks for are touched as well, or not: APM vol. 4, "XSAVE", is silent.
                return Variance.All;
            case Mnemonic.Bound when expected.Faulted:
                // Both bounds are read before the first is judged; SDM vol. 2, "BOUND", gives no order.
                return Variance.All;
            case Mnemonic.Retf when expected.Faulted:
                // The selector is judged before or after RSP + imm16 is found to be readable; APM vol. 3, "RET (Far)", and
                // SDM vol. 2, "RET", have different orders.
                return Variance.All;
            case Mnemonic.Sha1msg1 or Mnemonic.Sha1msg2 or Mnemonic.Sha1nexte or Mnemonic.Sha1rnds4 or Mnemonic.Sha256msg1
                or Mnemonic.Sha256msg2 or Mnemonic.Sha256rnds2 when expected.Vector == 14:
                // A misaligned operand on a missing page: #PF first, where other SSE instructions raise #GP first. APM
                // vol. 2, "Priority", leaves it open.
                return Variance.All;
            default:
                return null;
        }
    }

    // The byte before the opcode.
    private static bool HasRexB(TestCase test) => !test.Mode32 && (test.Code[test.CodeLength - 2] & 0xF1) == 0x41;
}
