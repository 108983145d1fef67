using Hull.Engine;
using Iced.Intel;

namespace Hull.Cpu.Decode;

/// <summary>
/// Encodings that an older CPU runs as something else instead of refusing them: F3 before BSF and BSR is ignored where
/// TZCNT and LZCNT do not exist, and LAHF and SAHF are invalid in the first 64-bit CPUs. SDM vol. 2, "TZCNT", "LZCNT",
/// "LAHF", "SAHF".
/// </summary>
internal static class OlderDecoding
{
    /// <summary>True when a set of features makes a difference to any instruction here.</summary>
    internal static bool Differs(CpuFeatureSet features) =>
        !features.Has(CpuFeature.Bmi1) || !features.Has(CpuFeature.Lzcnt) || !features.Has(CpuFeature.LahfLm);

    /// <summary>0F 0D is a prefetch to AMD's CPUs, of memory only. APM vol. 3, "PREFETCHlevel".</summary>
    internal static void ApplyAmd(ref Instruction instruction)
    {
        bool isPrefetch = instruction.Code is Code.Reservednop_rm16_r16_0F0D or Code.Reservednop_rm32_r32_0F0D
            or Code.Reservednop_rm64_r64_0F0D;
        if (isPrefetch && instruction.Op0Kind == OpKind.Register)
        {
            instruction.Code = Code.INVALID;
        }
    }

    /// <summary>Changes the form of an instruction to what the older CPU sees; bytes and length stay.</summary>
    internal static void Apply(ref Instruction instruction, CpuFeatureSet features)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Tzcnt when !features.Has(CpuFeature.Bmi1):
                instruction.Code = instruction.Code switch
                {
                    Code.Tzcnt_r16_rm16 => Code.Bsf_r16_rm16,
                    Code.Tzcnt_r32_rm32 => Code.Bsf_r32_rm32,
                    _ => Code.Bsf_r64_rm64,
                };
                break;
            case Mnemonic.Lzcnt when !features.Has(CpuFeature.Lzcnt):
                instruction.Code = instruction.Code switch
                {
                    Code.Lzcnt_r16_rm16 => Code.Bsr_r16_rm16,
                    Code.Lzcnt_r32_rm32 => Code.Bsr_r32_rm32,
                    _ => Code.Bsr_r64_rm64,
                };
                break;
            case Mnemonic.Lahf or Mnemonic.Sahf
                when instruction.CodeSize == CodeSize.Code64 && !features.Has(CpuFeature.LahfLm):
                instruction.Code = Code.INVALID;
                break;
            default:
                break;
        }
    }
}
