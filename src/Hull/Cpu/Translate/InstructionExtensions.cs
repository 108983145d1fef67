using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>Small questions to Iced's instructions.</summary>
internal static class InstructionExtensions
{
    /// <summary>True for a read-modify-write that is atomic: LOCK, and XCHG with memory.</summary>
    internal static bool IsLocked(this in Instruction instruction) =>
        instruction.HasLockPrefix || (instruction.Mnemonic == Mnemonic.Xchg && instruction.HasMemoryOperand());

    /// <summary>True when an operand is in memory.</summary>
    internal static bool HasMemoryOperand(this in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory)
            {
                return true;
            }
        }

        return false;
    }
}
