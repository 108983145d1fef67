using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>INVLPG and INVPCID. SDM vol. 3A, "Invalidation of TLBs and Paging-Structure Caches".</summary>
internal static unsafe class Invalidations
{
    /// <summary>INVLPG. An address that is not canonical is no fault.</summary>
    internal static AssistResult Invlpg(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        if (cpu->Cpl != 0)
        {
            return Outcome.Protection(vcpu);
        }

        int segment = Segmentation.OperandSegment(cpu, instruction);
        ulong linear = Segmentation.Offset(cpu, instruction);
        if (!CpuMode.Is64Bit(cpu))
        {
            linear = (uint)(linear + cpu->Segments[segment].Base);
        }
        else if (segment >= Seg.Fs)
        {
            linear += cpu->Segments[segment].Base;
        }

        vcpu.Mmu.FlushPage(linear);
        return Outcome.Leave(vcpu, instruction);
    }

    /// <summary>INVPCID: one address, one PCID, all, all but global.</summary>
    internal static AssistResult Invpcid(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        if (cpu->Cpl != 0)
        {
            return Outcome.Protection(vcpu);
        }

        if (!Segmentation.TryLinear(vcpu, instruction, 16, Access.Load, out ulong at)
            || !vcpu.Mmu.Load(at, out ulong pcid)
            || !vcpu.Mmu.Load(at + 8, out ulong linear))
        {
            return AssistResult.Fault;
        }

        ulong type = Operands.Read(cpu, instruction.Op0Register);
        bool pcide = (cpu->Cr4 & Cr4.Pcide) != 0;
        if (type > 3 || (type < 2 && ((pcid >> 12) != 0 || (pcid != 0 && !pcide)))
            || (type == 0 && !CpuMode.IsCanonical(linear)) || (type >= 2 && (pcid >> 12) != 0))
        {
            return Outcome.Protection(vcpu);
        }

        switch (type)
        {
            case 0 or 1 when pcid != (uint)ControlRegisters.Pcid(cpu):
                vcpu.Tlb.ForgetSpace((int)pcid);
                break;
            case 0:
                vcpu.Mmu.FlushPage(linear);
                break;
            case 2:
                vcpu.Mmu.FlushAll();
                break;
            default:
                vcpu.Mmu.FlushNonGlobal();
                break;
        }

        return Outcome.Leave(vcpu, instruction);
    }
}
