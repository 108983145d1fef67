using Hull.Cpu.Decode;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>Which instructions of a block have a use for flags in the host's, so that a memory access leaves them there.</summary>
internal sealed class FlagLiveness(InstructionPlans plans)
{
    private readonly bool[] _needed = new bool[Translator.MaximumInstructions + 1];

    /// <summary>
    /// True when this instruction, or a later one before all flags are written anew, takes flags from the host's.
    /// </summary>
    internal bool IsNeeded(int instruction) => _needed[instruction];

    /// <summary>Looks through a block, from its end.</summary>
    internal void Find(BlockDecoder decoder, int count)
    {
        bool needed = false;
        for (int i = count - 1; i >= 0; i--)
        {
            ref readonly Instruction instruction = ref decoder.Instructions[i];
            ref readonly InstructionPlan plan = ref plans.For(instruction);
            switch (plan.Kind)
            {
                case PlanKind.Nop:
                    break;
                case PlanKind.Copy:
                    FlagEffect effect = FlagEffects.Of(instruction, plan);
                    needed = effect switch
                    {
                        FlagEffect.None => needed,
                        FlagEffect.WritesAll => false,
                        _ => true,
                    };
                    break;
                case PlanKind.Lower when instruction.IsJccShortOrNear:
                    needed = true;
                    break;
                case PlanKind.Lower when instruction.Mnemonic is Mnemonic.Lea or Mnemonic.Mov:
                    break;
                default:
                    needed = false;
                    break;
            }

            _needed[i] = needed;
        }
    }

    /// <summary>
    /// Where the first instruction that cares wants the old flags; Both when they are overwritten first, and nothing before that can
    /// fault and show them.
    /// </summary>
    /// <param name="decoder">The block's instructions.</param>
    /// <param name="count">How many.</param>
    /// <param name="windows">Accesses leave the flags alone: <see cref="WindowLowering"/>.</param>
    /// <param name="usual">Where the flags are when the block is mostly come to, as far as that is known.</param>
    internal FlagPlace FirstInterest(BlockDecoder decoder, int count, bool windows, FlagPlace usual)
    {
        bool mayFault = false;
        for (int i = 0; i < count; i++)
        {
            ref readonly Instruction instruction = ref decoder.Instructions[i];
            ref readonly InstructionPlan plan = ref plans.For(instruction);
            if (plan.Kind == PlanKind.Nop)
            {
                continue;
            }

            if (plan.Kind != PlanKind.Copy)
            {
                if (plan.Kind == PlanKind.Lower && instruction.IsJccShortOrNear)
                {
                    return FlagPlace.Host;
                }

                if (instruction.Mnemonic is Mnemonic.Lea or Mnemonic.Cld or Mnemonic.Std or Mnemonic.Cli)
                {
                    continue;
                }

                if (windows && instruction.Mnemonic is (Mnemonic.Push or Mnemonic.Pop or Mnemonic.Mov))
                {
                    mayFault = true;
                    continue;
                }

                return FlagPlace.Memory;
            }

            bool access = instruction.HasMemoryOperand();
            if (plan.MayTrap || (access && !windows))
            {
                return FlagPlace.Memory;
            }

            mayFault |= access;

            switch (FlagEffects.Of(instruction, plan))
            {
                case FlagEffect.None:
                    break;
                case FlagEffect.WritesAll:
                    return mayFault ? usual : FlagPlace.Both;
                default:
                    return FlagPlace.Host;
            }
        }

        return FlagPlace.Memory;
    }
}
