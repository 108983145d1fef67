using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// Moves to and from segment registers: MOV, PUSH, POP, LDS and its kin, SWAPGS, RDFSBASE and its kin.
/// SDM vol. 3A, "Loading Segment Registers"; vol. 2.
/// </summary>
internal static unsafe class Segments
{
    /// <summary>MOV r/m, Sreg.</summary>
    internal static AssistResult MovFrom(SoftVcpu vcpu, in Instruction instruction) =>
        Outcome.NextIf(Operands.Store(
            vcpu, instruction, 0, 2, vcpu.Cpu->Segments[instruction.Op1Register - Register.ES].Selector));

    /// <summary>MOV Sreg, r/m.</summary>
    internal static AssistResult MovTo(SoftVcpu vcpu, in Instruction instruction)
    {
        int register = instruction.Op0Register - Register.ES;
        if (register == Seg.Cs)
        {
            return Outcome.Undefined(vcpu);
        }

        return Operands.Load(vcpu, instruction, 1, 2, out ulong selector)
            && SegmentTables.LoadData(vcpu, register, (ushort)selector)
                ? AfterLoad(vcpu, instruction, register)
                : AssistResult.Fault;
    }

    /// <summary>PUSH Sreg.</summary>
    internal static AssistResult Push(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int width = Width(instruction);
        ulong selector = cpu->Segments[instruction.Op0Register - Register.ES].Selector;
        if (width != 4 || !vcpu.Cpuid.IsIntel)
        {
            return Outcome.NextIf(CurrentStack.Push(vcpu, width, selector));
        }

        // Intel moves 16 bits and leaves the upper half of the slot alone.
        StackTarget target = StackTarget.Current(cpu);
        ulong pointer = (target.Pointer - 4) & target.Mask;
        if (!target.TryLinear(vcpu, pointer, 4, Access.Store, out ulong linear)
            || !vcpu.Mmu.Store(linear, (ushort)selector, Access.Store | Access.Stack))
        {
            return AssistResult.Fault;
        }

        CurrentStack.SetPointer(cpu, pointer);
        return AssistResult.Next;
    }

    /// <summary>POP Sreg.</summary>
    internal static AssistResult Pop(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int width = Width(instruction);
        int register = instruction.Op0Register - Register.ES;
        ulong selector = 0;
        // Intel's CPUs read two bytes, whatever the operand size; AMD's the whole slot.
        if (!CurrentStack.Peek(vcpu, vcpu.Cpuid.IsIntel ? 2 : width, 0, new Span<ulong>(ref selector)))
        {
            return AssistResult.Fault;
        }

        // The stack's size is that of the SS before the load.
        ulong mask = CpuMode.StackMask(cpu);
        if (!SegmentTables.LoadData(vcpu, register, (ushort)selector))
        {
            return AssistResult.Fault;
        }

        Operands.WriteMasked(cpu, Gpr.Rsp, cpu->Gpr[Gpr.Rsp] + (uint)width, mask);
        return AfterLoad(vcpu, instruction, register);
    }

    /// <summary>LDS, LES, LFS, LGS, LSS.</summary>
    internal static AssistResult LoadFarPointer(SoftVcpu vcpu, in Instruction instruction, int register)
    {
        int size = instruction.Op0Register.GetSize();
        if (!Segmentation.TryLinear(vcpu, instruction, (uint)size + 2, Access.Load, out ulong at)
            || !Operands.LoadSized(vcpu, at, size, Access.Load, out ulong offset)
            || !vcpu.Mmu.Load(at + (uint)size, out ushort selector)
            || !SegmentTables.LoadData(vcpu, register, selector))
        {
            return AssistResult.Fault;
        }

        Operands.Write(vcpu.Cpu, instruction.Op0Register, offset);
        return Outcome.Leave(vcpu, instruction);
    }

    /// <summary>SWAPGS.</summary>
    internal static AssistResult Swapgs(SoftVcpu vcpu)
    {
        CpuState* cpu = vcpu.Cpu;
        if (!CpuMode.Is64Bit(cpu))
        {
            return Outcome.Undefined(vcpu);
        }

        if (cpu->Cpl != 0)
        {
            return Outcome.Protection(vcpu);
        }

        (cpu->Segments[Seg.Gs].Base, cpu->KernelGsBase) = (cpu->KernelGsBase, cpu->Segments[Seg.Gs].Base);
        return AssistResult.Next;
    }

    /// <summary>RDFSBASE and RDGSBASE.</summary>
    internal static AssistResult ReadBase(SoftVcpu vcpu, in Instruction instruction, int register)
    {
        if (!MayUseBases(vcpu.Cpu))
        {
            return Outcome.Undefined(vcpu);
        }

        Operands.Write(vcpu.Cpu, instruction.Op0Register, vcpu.Cpu->Segments[register].Base);
        return AssistResult.Next;
    }

    /// <summary>WRFSBASE and WRGSBASE.</summary>
    internal static AssistResult WriteBase(SoftVcpu vcpu, in Instruction instruction, int register)
    {
        if (!MayUseBases(vcpu.Cpu))
        {
            return Outcome.Undefined(vcpu);
        }

        ulong value = Operands.Read(vcpu.Cpu, instruction.Op0Register);
        if (!CpuMode.IsCanonical(value))
        {
            return Outcome.Protection(vcpu);
        }

        vcpu.Cpu->Segments[register].Base = value;
        return AssistResult.Next;
    }

    private static bool MayUseBases(CpuState* cpu) => CpuMode.Is64Bit(cpu) && (cpu->Cr4 & Cr4.Fsgsbase) != 0;

    private static AssistResult AfterLoad(SoftVcpu vcpu, in Instruction instruction, int register)
    {
        if (register == Seg.Ss)
        {
            vcpu.Cpu->InterruptShadow = DebugUnit.StackSegmentShadow;
        }
        else if (CpuMode.Is64Bit(vcpu.Cpu))
        {
            return AssistResult.Next;
        }

        return Outcome.Leave(vcpu, instruction);
    }

    private static int Width(in Instruction instruction) => instruction.Code switch
    {
        Code.Pushw_ES or Code.Pushw_CS or Code.Pushw_SS or Code.Pushw_DS or Code.Pushw_FS or Code.Pushw_GS => 2,
        Code.Popw_ES or Code.Popw_CS or Code.Popw_SS or Code.Popw_DS or Code.Popw_FS or Code.Popw_GS => 2,
        Code.Pushq_FS or Code.Pushq_GS or Code.Popq_FS or Code.Popq_GS => 8,
        _ => 4,
    };
}
