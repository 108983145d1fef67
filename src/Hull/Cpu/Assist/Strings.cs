using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// MOVS, STOS, LODS, SCAS, CMPS, INS, OUTS with and without REP. Elements are done in runs that stay inside one page on
/// each side (<see cref="StringRuns"/>) where that is RAM, one at a time elsewhere. Between runs the registers are
/// exact, so a fault or a poll leaves a restartable instruction. SDM vol. 2, "REP/REPE/REPZ/REPNE/REPNZ"; vol. 1,
/// "String Operations".
/// </summary>
internal static unsafe class Strings
{
    /// <summary>MOVS.</summary>
    internal static AssistResult Movs(SoftVcpu vcpu, in Instruction instruction, int size) =>
        Run(vcpu, instruction, StringOperation.Move, size, instruction.Op0Kind);

    /// <summary>STOS.</summary>
    internal static AssistResult Stos(SoftVcpu vcpu, in Instruction instruction, int size) =>
        Run(vcpu, instruction, StringOperation.Fill, size, instruction.Op0Kind);

    /// <summary>LODS.</summary>
    internal static AssistResult Lods(SoftVcpu vcpu, in Instruction instruction, int size) =>
        Run(vcpu, instruction, StringOperation.Load, size, instruction.Op1Kind);

    /// <summary>SCAS.</summary>
    internal static AssistResult Scas(SoftVcpu vcpu, in Instruction instruction, int size) =>
        Run(vcpu, instruction, StringOperation.Scan, size, instruction.Op1Kind);

    /// <summary>CMPS.</summary>
    internal static AssistResult Cmps(SoftVcpu vcpu, in Instruction instruction, int size) =>
        Run(vcpu, instruction, StringOperation.Compare, size, instruction.Op0Kind);

    /// <summary>INS.</summary>
    internal static AssistResult Ins(SoftVcpu vcpu, in Instruction instruction, int size) =>
        Run(vcpu, instruction, StringOperation.Input, size, instruction.Op0Kind);

    /// <summary>OUTS.</summary>
    internal static AssistResult Outs(SoftVcpu vcpu, in Instruction instruction, int size) =>
        Run(vcpu, instruction, StringOperation.Output, size, instruction.Op1Kind);

    /// <summary>The mask of the address size that a string operand has.</summary>
    internal static ulong AddressMask(OpKind kind) => kind switch
    {
        OpKind.MemorySegSI or OpKind.MemorySegDI or OpKind.MemoryESDI => 0xFFFF,
        OpKind.MemorySegESI or OpKind.MemorySegEDI or OpKind.MemoryESEDI => uint.MaxValue,
        _ => ulong.MaxValue,
    };

    private static AssistResult Run(
        SoftVcpu vcpu, in Instruction instruction, StringOperation operation, int size, OpKind memoryKind)
    {
        CpuState* cpu = vcpu.Cpu;
        bool repeats = instruction.HasRepPrefix || instruction.HasRepnePrefix;
        StringContext context = new()
        {
            Operation = operation,
            Size = size,
            Mask = AddressMask(memoryKind),
            Source = Segmentation.OperandSegment(cpu, instruction),
            Backward = cpu->DirectionFlag != 0,
            StopsWhenEqual = repeats && instruction.HasRepnePrefix,
            StopsWhenDifferent = repeats && !instruction.HasRepnePrefix,
        };
        ulong count = repeats ? cpu->Gpr[Gpr.Rcx] & context.Mask : 1;
        if (operation >= StringOperation.Input && !TaskState.MayUsePort(vcpu, (ushort)cpu->Gpr[Gpr.Rdx], size))
        {
            return AssistResult.Fault;
        }

        if (count == 0)
        {
            return AssistResult.Next;
        }

        bool singleSteps = (cpu->SystemFlags & Rflags.Tf) != 0;
        while (true)
        {
            ulong done = StringRuns.Step(vcpu, context, singleSteps ? 1 : count, out bool stop);
            if (done == 0)
            {
                return AssistResult.Fault;
            }

            Advance(cpu, context, done);
            count -= done;
            if (repeats)
            {
                Operands.WriteMasked(cpu, Gpr.Rcx, count, context.Mask);
            }

            if (count == 0 || stop)
            {
                RememberPages(vcpu, context);
                return AssistResult.Next;
            }

            if (singleSteps || vcpu.Debug.IsPending || System.Threading.Volatile.Read(ref cpu->AttentionBits) != 0)
            {
                // Between iterations RF holds off a breakpoint on the instruction, which has been reported.
                cpu->SystemFlags |= Rflags.Rf;
                return AssistResult.Jump;
            }
        }
    }

    // Generated code does the next one itself when it goes on in the same pages.
    private static void RememberPages(SoftVcpu vcpu, in StringContext context)
    {
        CpuState* cpu = vcpu.Cpu;
        if (context.Operation > StringOperation.Fill || context.Mask != ulong.MaxValue || context.Backward)
        {
            return;
        }

        bool user = cpu->Cpl == 3;
        vcpu.Tlb.FillSlot(cpu->Gpr[Gpr.Rdi] - 1, user, true, Gpr.Rdi);
        if (context.UsesSource && context.Source is not (Seg.Fs or Seg.Gs))
        {
            vcpu.Tlb.FillSlot(cpu->Gpr[Gpr.Rsi] - 1, user, false, Gpr.Rsi);
        }
    }

    private static void Advance(CpuState* cpu, in StringContext context, ulong elements)
    {
        ulong distance = elements * (uint)context.Size;
        if (context.Backward)
        {
            distance = 0 - distance;
        }

        if (context.UsesSource)
        {
            Operands.WriteMasked(cpu, Gpr.Rsi, cpu->Gpr[Gpr.Rsi] + distance, context.Mask);
        }

        if (context.UsesDestination)
        {
            Operands.WriteMasked(cpu, Gpr.Rdi, cpu->Gpr[Gpr.Rdi] + distance, context.Mask);
        }
    }
}

/// <summary>What a string instruction does with each element. Port operations come last.</summary>
internal enum StringOperation
{
    /// <summary>MOVS.</summary>
    Move,

    /// <summary>STOS.</summary>
    Fill,

    /// <summary>LODS.</summary>
    Load,

    /// <summary>SCAS.</summary>
    Scan,

    /// <summary>CMPS.</summary>
    Compare,

    /// <summary>INS.</summary>
    Input,

    /// <summary>OUTS.</summary>
    Output,
}

/// <summary>One string instruction, decoded.</summary>
internal struct StringContext
{
    /// <summary>What happens to each element.</summary>
    internal StringOperation Operation;

    /// <summary>Bytes of an element.</summary>
    internal int Size;

    /// <summary>The address size, as a mask.</summary>
    internal ulong Mask;

    /// <summary>The segment of the source; the destination's is ES.</summary>
    internal int Source;

    /// <summary>DF is set.</summary>
    internal bool Backward;

    /// <summary>REPNE of SCAS and CMPS.</summary>
    internal bool StopsWhenEqual;

    /// <summary>REPE of SCAS and CMPS.</summary>
    internal bool StopsWhenDifferent;

    internal readonly bool UsesSource =>
        Operation is StringOperation.Move or StringOperation.Load or StringOperation.Compare or StringOperation.Output;

    internal readonly bool UsesDestination =>
        Operation is not (StringOperation.Load or StringOperation.Output);
}
