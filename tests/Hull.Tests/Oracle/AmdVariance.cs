using System;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// Where AMD's CPUs differ from Intel's and Hull does as Intel's do on either: corners that the manuals give away, or that
/// no program can want.
/// </summary>
internal static class AmdVariance
{
    private const byte BoundRange = 5;
    private const byte StackFault = 12;
    private const byte Protection = 13;
    private const byte PageFault = 14;

    /// <summary>What to leave out after an instruction, if it is one of these.</summary>
    internal static Variance? Find(TestCase test, in Instruction instruction, TestResult expected)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Int1:
                // A host whose hypervisor catches ICEBP sees it as a fault; APM vol. 3, "INT1", makes it a trap.
                return new Variance { Rip = true };
            case Mnemonic.Pause when HasRexB(test):
                // F3 49 90 is XCHG R8 on AMD's CPUs; SDM vol. 2, "PAUSE", and the decoder have PAUSE. APM vol. 3, "NOP".
                return new Variance { Registers = 0x101 };
            case Mnemonic.Ud1:
                // APM vol. 3, "UD0, UD1, UD2": the ModRM byte need not be fetched; SDM vol. 2, "UD", fetches it.
                return new Variance { OtherVector = PageFault };
            case Mnemonic.Vpinsrd or Mnemonic.Vpextrd when test.Mode32 && HasVexW(test):
                // VEX.W outside 64-bit mode: SDM vol. 2, "VEX.W", ignores it; AMD's CPUs raise #UD.
                return new Variance { Everything = true };
            case Mnemonic.Bound when expected.Faulted && expected.Vector is PageFault or StackFault or Protection:
                // Both bounds are read before the first is judged; SDM vol. 2, "BOUND", gives no order.
                return new Variance { OtherVector = BoundRange };
            case Mnemonic.Retf when expected.Faulted && expected.Vector is PageFault or StackFault:
                // The outer stack, behind the selector and imm16, is read before the selector is judged; SDM vol. 2, "RET",
                // judges first. APM vol. 3, "RET (Far)".
                return new Variance { OtherVector = Protection, Address = AddressRule.SameOperand };
            case Mnemonic.Sha1msg1 or Mnemonic.Sha1msg2 or Mnemonic.Sha1nexte or Mnemonic.Sha1rnds4 or Mnemonic.Sha256msg1
                or Mnemonic.Sha256msg2 or Mnemonic.Sha256rnds2 when expected.Vector is PageFault or StackFault:
                // A misaligned operand on a missing page or behind a limit: that fault first, where other SSE instructions
                // raise #GP first. APM vol. 2, "Priority", leaves it open.
                return new Variance { OtherVector = Protection };
            case Mnemonic.Call when FarSegment.IsFar(instruction.Code) && expected.Faulted && expected.Vector == StackFault:
                // CS stays below ESP when IP does not fit any more. SDM vol. 2, "CALL", looks first whether both do.
                return new Variance { Memory = true };
            case Mnemonic.Xsave or Mnemonic.Xsavec or Mnemonic.Xrstor or Mnemonic.Fxsave or Mnemonic.Fxrstor or Mnemonic.Fldenv
                or Mnemonic.Fnstenv or Mnemonic.Fnsave or Mnemonic.Frstor or Mnemonic.Maskmovq or Mnemonic.Maskmovdqu
                or Mnemonic.Vmaskmovdqu or Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd
                or Mnemonic.Vpmaskmovq when expected.Faulted && expected.Vector == PageFault:
                // The first words lie on a page that faults, later ones behind the limit. Hull looks at the whole operand's
                // limit first; SDM vol. 3A, "Priority Among Concurrent Events", has both in one class, and no manual says in
                // which words such an operand is touched.
                return new Variance
                {
                    OtherVector = instruction.MemorySegment == Register.SS ? StackFault : Protection,
                    Address = AddressRule.SameOperand,
                    X87 = instruction.Mnemonic == Mnemonic.Maskmovq,
                };
            case Mnemonic.Pusha or Mnemonic.Pushad when expected.Faulted && expected.Vector == StackFault:
                // Registers that were pushed before the limit stay in memory below ESP, or not: they are pushed again. SDM
                // vol. 3A, "Exception Classifications", asks only that the instruction can be restarted.
                return new Variance { Memory = true };
            default:
                return null;
        }
    }

    // The byte before the opcode.
    private static bool HasRexB(TestCase test) => !test.Mode32 && (test.Code[test.CodeLength - 2] & 0xF1) == 0x41;

    // Bit 7 of the third byte of a VEX prefix, which nothing but a segment's or a size prefix precedes.
    private static bool HasVexW(TestCase test)
    {
        int at = test.Code.AsSpan(0, test.CodeLength).IndexOf((byte)0xC4);
        return at >= 0 && at + 2 < test.CodeLength && (test.Code[at + 2] & 0x80) != 0;
    }
}
