using System.Collections.Generic;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>What the operands of a form ask of its encoding; memory or register is already chosen.</summary>
internal sealed class Shape
{
    /// <summary>The shape of a form with memory or a register where both are allowed.</summary>
    internal Shape(OpCodeInfo opCode, bool memory)
    {
        for (int i = 0; i < opCode.OpCount; i++)
        {
            Add(opCode.GetOpKind(i), memory);
        }

        HasModRm |= (opCode.IsGroup || opCode.IsRmGroup) && opCode.OpCodeLength == 1;
    }

    /// <summary>A ModRM byte follows the opcode.</summary>
    internal bool HasModRm { get; private set; }

    /// <summary>ModRM names memory.</summary>
    internal bool IsMemory { get; private set; }

    /// <summary>The index is a vector register.</summary>
    internal bool IsVsib { get; private set; }

    /// <summary>An absolute address stands in the instruction (MOV with a memory offset).</summary>
    internal bool HasMemoryOffset { get; private set; }

    /// <summary>Strings and XLAT.</summary>
    internal bool HasImplicitMemory { get; private set; }

    /// <summary>VEX.vvvv names a register.</summary>
    internal bool UsesVvvv { get; private set; }

    /// <summary>Immediate operands in order.</summary>
    internal List<OpCodeOperandKind> Immediates { get; } = [];

    /// <summary>Bytes of an immediate or branch operand; of a far one, its offset.</summary>
    internal static int ImmediateSize(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.imm16 or OpCodeOperandKind.br16_2 or OpCodeOperandKind.farbr2_2 => 2,
        OpCodeOperandKind.imm32 or OpCodeOperandKind.imm32sex64 or OpCodeOperandKind.br32_4 or OpCodeOperandKind.br64_4
            or OpCodeOperandKind.farbr4_2 => 4,
        OpCodeOperandKind.imm64 => 8,
        _ => 1,
    };

    private void Add(OpCodeOperandKind kind, bool memory)
    {
        switch (kind)
        {
            case OpCodeOperandKind.mem_offs:
                HasMemoryOffset = true;
                break;
            case >= OpCodeOperandKind.mem and <= OpCodeOperandKind.mem_vsib64z:
                HasModRm = true;
                IsMemory = true;
                IsVsib |= kind >= OpCodeOperandKind.mem_vsib32x;
                break;
            case >= OpCodeOperandKind.r8_or_mem and <= OpCodeOperandKind.k_or_mem:
                HasModRm = true;
                IsMemory |= memory;
                break;
            case OpCodeOperandKind.r32_vvvv or OpCodeOperandKind.r64_vvvv or OpCodeOperandKind.xmm_vvvv
                or OpCodeOperandKind.ymm_vvvv:
                UsesVvvv = true;
                break;
            case OpCodeOperandKind.xmm_is4 or OpCodeOperandKind.ymm_is4 or (>= OpCodeOperandKind.imm4_m2z
                and <= OpCodeOperandKind.imm64) or (>= OpCodeOperandKind.br16_1 and <= OpCodeOperandKind.br64_4):
                if (kind != OpCodeOperandKind.imm8_const_1)
                {
                    Immediates.Add(kind);
                }

                break;
            case OpCodeOperandKind.farbr2_2 or OpCodeOperandKind.farbr4_2:
                Immediates.Add(kind);
                break;
            case >= OpCodeOperandKind.seg_rSI and <= OpCodeOperandKind.seg_rBX_al:
                HasImplicitMemory = true;
                break;
            case OpCodeOperandKind.r8_opcode or OpCodeOperandKind.r16_opcode or OpCodeOperandKind.r32_opcode
                or OpCodeOperandKind.r64_opcode or OpCodeOperandKind.sti_opcode:
                break;
            case >= OpCodeOperandKind.r8_reg and <= OpCodeOperandKind.dr_reg:
                HasModRm = true;
                break;
            default:
                break;
        }
    }
}
