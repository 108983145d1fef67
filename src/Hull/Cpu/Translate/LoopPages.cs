using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// What a block that jumps back to its own start says about the pages that it reaches: one that walks through arrays stays in
/// a page for many turns; one that follows a list, goes down a column, or stores to places that it computes, does not. Only a
/// choice between two checks depends on it, see <see cref="PageSlot"/>.
/// </summary>
internal readonly struct LoopPages
{
    // Bytes a turn from which a page is left so soon that the latency of the other check is the lesser evil.
    private const long FarStep = 512;

    private readonly int _loaded;
    private readonly int _far;
    private readonly int _computed;

    /// <summary>The block jumps back to its own start.</summary>
    internal bool IsLoop { get; }

    /// <summary>Looks at a block's instructions.</summary>
    internal LoopPages(BlockDecoder decoder, int count, ulong rip)
    {
        IsLoop = decoder.Instructions[count - 1].NearBranchTarget == rip;
        for (int i = 0; i < count && IsLoop; i++)
        {
            ref readonly Instruction instruction = ref decoder.Instructions[i];
            if (instruction.Op0Kind != OpKind.Register || !(instruction.Op0Register.IsGPR64() || instruction.Op0Register.IsGPR32()))
            {
                continue;
            }

            int register = 1 << instruction.Op0Register.GetNumber();
            if (instruction.Code == Code.Mov_r64_rm64 && instruction.Op1Kind == OpKind.Memory)
            {
                _loaded |= register;
            }

            if (StepsFar(instruction))
            {
                _far |= register;
            }

            if (instruction.Mnemonic is not (Mnemonic.Inc or Mnemonic.Dec or Mnemonic.Add or Mnemonic.Sub or Mnemonic.Lea
                or Mnemonic.Cmp or Mnemonic.Test))
            {
                _computed |= register;
            }
        }
    }

    /// <summary>
    /// The next turn probably reaches the same page through this operand. A load through a computed index may be a table whose
    /// latency counts.
    /// </summary>
    internal bool StaysInPage(in Instruction instruction, bool store)
    {
        bool wanders = store && instruction.MemoryIndex.IsGPR64()
            && (_computed >> instruction.MemoryIndex.GetNumber() & 1) != 0;
        return IsLoop && !wanders && ((_loaded | _far) >> instruction.MemoryBase.GetNumber() & 1) == 0;
    }

    /// <summary>
    /// The next turn waits for this operand's address, which it computes, and will find it in the same page: the check whose latency is
    /// least is the best one.
    /// </summary>
    internal bool WaitsForAddress(in Instruction instruction, bool store) =>
        IsLoop && (IsComputed(instruction.MemoryBase) || IsComputed(instruction.MemoryIndex))
        && (!instruction.MemoryBase.IsGPR64() || StaysInPage(instruction, store));

    private bool IsComputed(Register register) => register.IsGPR64() && (_computed >> register.GetNumber() & 1) != 0;

    // A step that is not known now is seldom a small one: those the compiler knows.
    private static bool StepsFar(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Add or Mnemonic.Sub => instruction.Op1Kind switch
        {
            OpKind.Register => true,
            OpKind.Memory => false,
            _ => IsFar(instruction.GetImmediate(1)),
        },
        Mnemonic.Lea => instruction.MemoryBase == instruction.Op0Register
            && (instruction.MemoryIndex != Register.None || IsFar(instruction.MemoryDisplacement64)),
        _ => false,
    };

    private static bool IsFar(ulong step) => (long)step is >= FarStep or <= -FarStep;
}
