using Hull.Engine;
using Iced.Intel;

namespace Hull.Cpu.Decode;

/// <summary>What the translator does with an instruction.</summary>
internal enum PlanKind : byte
{
    /// <summary>Not yet looked at.</summary>
    Unknown,

    /// <summary>The guest's own bytes, with registers renamed and the memory operand replaced.</summary>
    Copy,

    /// <summary>A lowering of its own, chosen by mnemonic.</summary>
    Lower,

    /// <summary>A call of <see cref="Assist.SystemAssists"/>; the block goes on when it says so.</summary>
    Assist,

    /// <summary>An assist after which the block ends: it changes RIP or what translations depend on.</summary>
    AssistEnd,

    /// <summary>No effect.</summary>
    Nop,

    /// <summary>#UD: not an instruction of the guest's CPU.</summary>
    Undefined,
}

/// <summary>What sits in a register field of the encoding.</summary>
internal enum FieldKind : byte
{
    /// <summary>Nothing that is renamed: an opcode extension, an XMM, MMX, x87 or segment register.</summary>
    Other,

    /// <summary>A general register of 16, 32 or 64 bits.</summary>
    General,

    /// <summary>A general register of 8 bits: without REX, 4-7 mean AH-BH.</summary>
    Byte,
}

/// <summary>What an instruction does with the register that a field names.</summary>
[System.Flags]
internal enum FieldUse : byte
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Its old value matters: it is read, written in part, or written only under a condition.</summary>
    Read = 1,

    /// <summary>It may be written.</summary>
    Write = 2,
}

/// <summary>Which unit an instruction needs; decides #UD and #NM by CR0, CR4 and XCR0.</summary>
internal enum UnitKind : byte
{
    /// <summary>The integer unit.</summary>
    Integer,

    /// <summary>x87 (CR0.EM, CR0.TS give #NM) and WAIT.</summary>
    X87,

    /// <summary>MMX (CR0.EM gives #UD).</summary>
    Mmx,

    /// <summary>SSE (CR4.OSFXSR).</summary>
    Sse,

    /// <summary>AVX (CR4.OSXSAVE and XCR0).</summary>
    Avx,
}

/// <summary>
/// One row of the table that the translator, its tests and its documentation read: how an instruction form (an Iced
/// <see cref="Code"/>) is translated. Rows are made at first use, so a boot pays for the forms that it meets.
/// </summary>
internal struct InstructionPlan
{
    internal PlanKind Kind;
    internal UnitKind Unit;

    /// <summary>The ModRM.reg field.</summary>
    internal FieldKind RegField;

    /// <summary>The ModRM.rm field when it names a register.</summary>
    internal FieldKind RmField;

    /// <summary>The VEX.vvvv field.</summary>
    internal FieldKind VvvvField;

    /// <summary>The low three bits of the opcode.</summary>
    internal FieldKind OpcodeField;

    /// <summary>What is done with those registers.</summary>
    internal FieldUse RegUse;
    internal FieldUse RmUse;
    internal FieldUse VvvvUse;
    internal FieldUse OpcodeUse;

    /// <summary>The memory operand is read.</summary>
    internal bool Loads;

    /// <summary>The memory operand is written (also when only under a condition: the architecture checks it anyway).</summary>
    internal bool Stores;

    /// <summary>16, 32, 64 or 0 where the operand size is not chosen by prefixes.</summary>
    internal byte OperandSize;

    /// <summary>Writes the upper half of a YMM register.</summary>
    internal bool DirtiesYmm;

    /// <summary>How it meets the arithmetic flags.</summary>
    internal FlagEffect Flags;

    /// <summary>May raise an exception from the host's own execution: division, SSE and x87 exceptions, alignment.</summary>
    internal bool MayTrap;
}

/// <summary>The table of plans, one for each engine (what is allowed depends on the CPU that the guest sees).</summary>
internal sealed class InstructionPlans
{
    private readonly InstructionPlan[] _plans = new InstructionPlan[IcedConstants.CodeCount];
    private readonly InstructionInfoFactory _info = new();
    private readonly CpuFeatureSet _features;
    private readonly bool _olderDecoding;
    private readonly bool _isIntel;

    internal InstructionPlans(CpuFeatureSet features, bool isIntel)
    {
        _features = features;
        _isIntel = isIntel;
        _olderDecoding = OlderDecoding.Differs(features);
    }

    /// <summary>Reads an instruction as a CPU of this vendor, without the hidden features, reads its bytes.</summary>
    internal void ShowAsOlder(ref Instruction instruction)
    {
        if (!_isIntel && instruction.Mnemonic == Mnemonic.Reservednop)
        {
            OlderDecoding.ApplyAmd(ref instruction);
        }

        if (_olderDecoding)
        {
            OlderDecoding.Apply(ref instruction, _features);
        }
    }

    /// <summary>The row for an instruction's form.</summary>
    internal ref readonly InstructionPlan For(in Instruction instruction)
    {
        ref InstructionPlan plan = ref _plans[(int)instruction.Code];
        if (plan.Kind == PlanKind.Unknown)
        {
            plan = Make(instruction);
        }

        return ref plan;
    }

    private InstructionPlan Make(in Instruction instruction)
    {
        Code code = instruction.Code;
        InstructionPlan plan = new()
        {
            Kind = PlanClassifier.Classify(code, _features),
            Unit = PlanClassifier.UnitOf(code),
        };
        if (plan.Kind == PlanKind.Undefined)
        {
            return plan;
        }

        OpCodeInfo form = code.ToOpCode();
        plan.OperandSize = (byte)form.OperandSize;
        Instruction general = WithMemory(instruction, form);
        plan.Flags = FlagEffects.OfForm(general, _isIntel);
        ref readonly InstructionInfo info = ref _info.GetInfo(general);
        for (int i = 0; i < form.OpCount; i++)
        {
            OpCodeOperandKind operand = form.GetOpKind(i);
            OpAccess access = info.GetOpAccess(i);
            PlaceOperand(ref plan, operand, UseOf(code, access));
            if (instruction.GetOpKind(i) == OpKind.Memory || IsRegisterOrMemory(operand))
            {
                plan.Loads |= access is OpAccess.Read or OpAccess.CondRead or OpAccess.ReadWrite or OpAccess.ReadCondWrite;
                plan.Stores |= access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite;
            }
        }

        plan.DirtiesYmm = form.Encoding == EncodingKind.VEX && form.L == 1 && plan.Unit == UnitKind.Avx;
        plan.MayTrap = plan.Unit != UnitKind.Integer || code.Mnemonic()
            is Mnemonic.Div or Mnemonic.Idiv or Mnemonic.Cmpxchg16b;
        return plan;
    }

    // The row serves all instructions of the form, so it is made from one with a memory operand: Iced says of SUB r,r and
    // its like that they do not read at all, because the result is always zero.
    private static Instruction WithMemory(Instruction instruction, OpCodeInfo form)
    {
        for (int i = 0; i < form.OpCount; i++)
        {
            if (IsRegisterOrMemory(form.GetOpKind(i)) && instruction.GetOpKind(i) == OpKind.Register)
            {
                instruction.SetOpKind(i, OpKind.Memory);
                instruction.MemoryBase = Register.RAX;
            }
        }

        return instruction;
    }

    private static bool IsRegisterOrMemory(OpCodeOperandKind kind) => kind is
        OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem
        or OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.ymm_or_mem
        or OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.r32_or_mem_mpx or OpCodeOperandKind.r64_or_mem_mpx;

    // BSF and BSR leave their destination alone where the source is 0.
    private static FieldUse UseOf(Code code, OpAccess access) => access switch
    {
        OpAccess.None or OpAccess.NoMemAccess => FieldUse.None,
        OpAccess.Read or OpAccess.CondRead => FieldUse.Read,
        OpAccess.Write when code.Mnemonic() is not (Mnemonic.Bsf or Mnemonic.Bsr) => FieldUse.Write,
        _ => FieldUse.Read | FieldUse.Write,
    };

    private static void PlaceOperand(ref InstructionPlan plan, OpCodeOperandKind kind, FieldUse use)
    {
        switch (kind)
        {
            case OpCodeOperandKind.r8_or_mem:
                plan.RmField = FieldKind.Byte;
                plan.RmUse = Partly(use);
                break;
            case OpCodeOperandKind.r16_or_mem:
            case OpCodeOperandKind.r16_rm:
                plan.RmField = FieldKind.General;
                plan.RmUse = Partly(use);
                break;
            case OpCodeOperandKind.r32_or_mem:
            case OpCodeOperandKind.r64_or_mem:
            case OpCodeOperandKind.r32_rm:
            case OpCodeOperandKind.r64_rm:
                plan.RmField = FieldKind.General;
                plan.RmUse = use;
                break;
            case OpCodeOperandKind.r8_reg:
                plan.RegField = FieldKind.Byte;
                plan.RegUse = Partly(use);
                break;
            case OpCodeOperandKind.r16_reg:
                plan.RegField = FieldKind.General;
                plan.RegUse = Partly(use);
                break;
            case OpCodeOperandKind.r32_reg:
            case OpCodeOperandKind.r64_reg:
                plan.RegField = FieldKind.General;
                plan.RegUse = use;
                break;
            case OpCodeOperandKind.r8_opcode:
                plan.OpcodeField = FieldKind.Byte;
                plan.OpcodeUse = Partly(use);
                break;
            case OpCodeOperandKind.r16_opcode:
                plan.OpcodeField = FieldKind.General;
                plan.OpcodeUse = Partly(use);
                break;
            case OpCodeOperandKind.r32_opcode:
            case OpCodeOperandKind.r64_opcode:
                plan.OpcodeField = FieldKind.General;
                plan.OpcodeUse = use;
                break;
            case OpCodeOperandKind.r32_vvvv:
            case OpCodeOperandKind.r64_vvvv:
                plan.VvvvField = FieldKind.General;
                plan.VvvvUse = use;
                break;
            default:
                break;
        }
    }

    // A register of 8 or 16 bits keeps the rest of its 64.
    private static FieldUse Partly(FieldUse use) => use == FieldUse.Write ? FieldUse.Read | FieldUse.Write : use;

    private static class IcedConstants
    {
        internal const int CodeCount = 4936;
    }
}
