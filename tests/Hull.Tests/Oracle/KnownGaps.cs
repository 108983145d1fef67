using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// Differences of the soft engine that are known and not mended yet, one row each: the tests in <c>./check</c> pass over
/// them, <c>tests/Hull.Oracle</c> prints them. A mended gap loses its row in the same commit.
/// </summary>
internal static class KnownGaps
{
    /// <summary>The gap that explains a difference, or null.</summary>
    internal static string? Find(in Instruction instruction, TestResult expected, TestResult actual)
    {
        if (expected.Faulted && actual.Vector is 12 or 13 or 14)
        {
            switch (expected.Vector)
            {
                case 5:
                    return "BOUND looks at the upper limit only when the lower one is kept";
                case 13 when instruction.Mnemonic is Mnemonic.Pop or Mnemonic.Retf:
                    return "POP FS, POP GS and RETF read two bytes of a selector's slot";
                case 19:
                    return "VCVTPS2PH raises #XM before it stores";
                case 16:
                    return "a pending x87 exception comes before the operand's fault";
                default:
                    break;
            }
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp or Mnemonic.Fbstp:
                return "a store that an unmasked x87 exception suppresses must leave memory, and cannot fault";
            case Mnemonic.Jmp or Mnemonic.Call or Mnemonic.Ret when expected.Vector == 13:
                return "a near branch to an address that is not canonical faults at the branch";
            case Mnemonic.Fxsave or Mnemonic.Fxsave64 when expected.Faulted:
                return "FXSAVE checks all of its 512 bytes";
            case Mnemonic.Xrstor or Mnemonic.Xrstor64 when expected.Faulted:
                return "XRSTOR reads the legacy area also where the header says that its parts are in their initial state";
            case Mnemonic.Cldemote:
                return "CLDEMOTE is a NOP where it is not supported";
            case Mnemonic.Arpl:
                return "ARPL reads first and writes only what it changes";
            default:
                return null;
        }
    }
}
