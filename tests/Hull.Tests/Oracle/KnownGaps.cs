using Hull.Cpu;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// Differences that depend on both results, and so cannot be a <see cref="Variance"/>. All are orders of faults that the manuals
/// leave to the CPU: Hull takes AMD's on either, and an Intel host may show another. On AMD's the table is empty. A row that is
/// mended goes in the same commit.
/// </summary>
/// <remarks>
/// SDM vol. 3A, "Priority Among Concurrent Events": page faults, x87 and SIMD exceptions of an instruction are one class, and
/// "exceptions within each class are implementation-dependent".
/// </remarks>
internal static class KnownGaps
{
    /// <summary>The gap that explains a difference, or null.</summary>
    internal static string? Find(in Instruction instruction, TestResult expected, TestResult actual) =>
        HostCpu.IsIntel ? FindIntel(instruction, expected, actual) : null;

    private static string? FindIntel(in Instruction instruction, TestResult expected, TestResult actual)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Vcvtps2ph when expected.Vector == 19 && actual.Vector is 12 or 13 or 14:
                return "VCVTPS2PH raises #XM before it stores";
            case Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp or Mnemonic.Fbstp
                when actual.Faulted && !expected.Faulted:
                return "a store that an unmasked x87 exception suppresses cannot fault";
            case Mnemonic.Fstp or Mnemonic.Fbstp
                when actual.Faulted && expected.Faulted && instruction.MemorySize.GetSize() == 10:
                // SDM vol. 3A, "Guaranteed Atomic Operations": of an x87 store larger than a quadword "some of the accesses may
                // complete (writing to memory) while another causes the operation to fault".
                return "a ten-byte store whose second page faults has written to its first";
            case Mnemonic.Xrstor or Mnemonic.Xrstor64 when (expected.Vector == 14) != (actual.Vector == 14):
                // SDM vol. 1, "Memory Access by the XSAVE Feature Set": any byte of the components may be touched.
                return "which pages XRSTOR of a compacted image touches before it judges the header";
            default:
                return null;
        }
    }
}
