using System;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>PUSHF, POPF, CLI, STI, CLAC, STAC. SDM vol. 2; vol. 3B, "8086 Emulation" for VIF and VIP.</summary>
internal static unsafe class Flags
{
    /// <summary>PUSHF, PUSHFD, PUSHFQ.</summary>
    internal static AssistResult Push(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int width = Width(instruction.Code);
        ulong flags = cpu->Rflags & ~(Rflags.Rf | Rflags.Vm);
        if (CpuMode.IsVirtual8086(cpu) && CpuMode.Iopl(cpu) < 3)
        {
            if (width != 2 || (cpu->Cr4 & Cr4.Vme) == 0)
            {
                return Outcome.Protection(vcpu);
            }

            flags = (flags & ~Rflags.If) | Rflags.Iopl | ((flags & Rflags.Vif) != 0 ? Rflags.If : 0);
        }

        return Outcome.NextIf(CurrentStack.Push(vcpu, width, flags));
    }

    /// <summary>POPF, POPFD, POPFQ.</summary>
    internal static AssistResult Pop(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int width = Width(instruction.Code);
        ulong flags = 0;
        bool virtual8086 = CpuMode.IsVirtual8086(cpu);
        bool extended = virtual8086 && CpuMode.Iopl(cpu) < 3;
        if (extended && (width != 2 || (cpu->Cr4 & Cr4.Vme) == 0))
        {
            return Outcome.Protection(vcpu);
        }

        if (!CurrentStack.Peek(vcpu, width, 0, new Span<ulong>(ref flags)))
        {
            return AssistResult.Fault;
        }

        ulong mask = CpuState.ArithmeticMask | Rflags.Df | Rflags.Tf | Rflags.Nt | Rflags.Ac | Rflags.Id;
        if (extended)
        {
            bool enables = (flags & Rflags.If) != 0;
            if ((enables && (cpu->SystemFlags & Rflags.Vip) != 0) || (flags & Rflags.Tf) != 0)
            {
                return Outcome.Protection(vcpu);
            }

            cpu->SystemFlags = (cpu->SystemFlags & ~Rflags.Vif) | (enables ? Rflags.Vif : 0);
        }
        else if (cpu->Cpl <= CpuMode.Iopl(cpu))
        {
            mask |= Rflags.If;
        }

        if (cpu->Cpl == 0)
        {
            mask |= Rflags.Iopl;
        }

        CurrentStack.Release(cpu, (uint)width);
        InterruptReturn.MergeFlags(cpu, flags, mask, width);
        cpu->SystemFlags &= ~Rflags.Rf;
        return Outcome.Leave(vcpu, instruction);
    }

    /// <summary>CLI.</summary>
    internal static AssistResult Cli(SoftVcpu vcpu)
    {
        CpuState* cpu = vcpu.Cpu;
        switch (Allowed(cpu))
        {
            case Interrupts.Real:
                cpu->InterruptFlag = 0;
                return AssistResult.Next;
            case Interrupts.Virtual:
                cpu->SystemFlags &= ~Rflags.Vif;
                return AssistResult.Next;
            default:
                return Outcome.Protection(vcpu);
        }
    }

    /// <summary>STI: no interrupt is taken before the end of the next instruction.</summary>
    internal static AssistResult Sti(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        switch (Allowed(cpu))
        {
            case Interrupts.Real:
                if (cpu->InterruptFlag != 0)
                {
                    return AssistResult.Next;
                }

                cpu->InterruptFlag = 1;
                cpu->InterruptShadow = 1;
                return Outcome.Leave(vcpu, instruction);
            case Interrupts.Virtual when (cpu->SystemFlags & Rflags.Vip) == 0:
                cpu->SystemFlags |= Rflags.Vif;
                return AssistResult.Next;
            default:
                return Outcome.Protection(vcpu);
        }
    }

    /// <summary>CLAC and STAC.</summary>
    internal static AssistResult SetAlignmentCheck(SoftVcpu vcpu, in Instruction instruction, bool set)
    {
        CpuState* cpu = vcpu.Cpu;
        if (cpu->Cpl != 0)
        {
            return Outcome.Undefined(vcpu);
        }

        ulong flags = (cpu->SystemFlags & ~Rflags.Ac) | (set ? Rflags.Ac : 0);
        if (flags == cpu->SystemFlags)
        {
            return AssistResult.Next;
        }

        cpu->SystemFlags = flags;
        return Outcome.Leave(vcpu, instruction);
    }

    /// <summary>What CLI and STI act on.</summary>
    private static Interrupts Allowed(CpuState* cpu)
    {
        bool virtual8086 = CpuMode.IsVirtual8086(cpu);
        if (!CpuMode.IsProtected(cpu) || CpuMode.Iopl(cpu) >= cpu->Cpl)
        {
            return Interrupts.Real;
        }

        ulong extension = virtual8086 ? Cr4.Vme : Cr4.Pvi;
        return cpu->Cpl == 3 && (cpu->Cr4 & extension) != 0 ? Interrupts.Virtual : Interrupts.Forbidden;
    }

    private static int Width(Code code) => code switch
    {
        Code.Pushfw or Code.Popfw => 2,
        Code.Pushfd or Code.Popfd => 4,
        _ => 8,
    };

    private enum Interrupts
    {
        Forbidden,
        Real,
        Virtual,
    }
}
