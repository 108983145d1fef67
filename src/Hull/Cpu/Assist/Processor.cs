using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Engine;
using Hull.Memory;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>CPUID, time-stamp counter, HLT, hypercalls, cache control, XGETBV. SDM vol. 2.</summary>
internal static unsafe class Processor
{
    /// <summary>CPUID: the personality may answer any leaf, then the policy.</summary>
    internal static AssistResult Cpuid(SoftVcpu vcpu)
    {
        CpuState* cpu = vcpu.Cpu;
        uint leaf = (uint)cpu->Gpr[Gpr.Rax];
        uint subleaf = (uint)cpu->Gpr[Gpr.Rcx];
        if (vcpu.Personality is not { } personality || !personality.TryCpuid(vcpu.Index, leaf, subleaf, out CpuidResult result))
        {
            CpuidContext context = new()
            {
                ApicEnabled = (vcpu.Apic.BaseMsr & 0x800) != 0,
                ApicId = (uint)vcpu.Index,
                Osxsave = (cpu->Cr4 & Cr4.Osxsave) != 0,
                Xcr0 = cpu->Xcr0,
            };
            result = vcpu.Cpuid.Query(leaf, subleaf, context);
        }

        cpu->Gpr[Gpr.Rax] = result.Eax;
        cpu->Gpr[Gpr.Rbx] = result.Ebx;
        cpu->Gpr[Gpr.Rcx] = result.Ecx;
        cpu->Gpr[Gpr.Rdx] = result.Edx;
        return AssistResult.Next;
    }

    /// <summary>RDTSC and RDTSCP.</summary>
    internal static AssistResult Rdtsc(SoftVcpu vcpu, bool withAux)
    {
        CpuState* cpu = vcpu.Cpu;
        if ((cpu->Cr4 & Cr4.Tsd) != 0 && cpu->Cpl != 0)
        {
            return Outcome.Protection(vcpu);
        }

        ulong tsc = vcpu.BaseTsc + cpu->TscOffset;
        cpu->Gpr[Gpr.Rax] = (uint)tsc;
        cpu->Gpr[Gpr.Rdx] = tsc >> 32;
        if (withAux)
        {
            cpu->Gpr[Gpr.Rcx] = (uint)cpu->TscAux;
        }

        return AssistResult.Next;
    }

    /// <summary>RDPID.</summary>
    internal static AssistResult Rdpid(SoftVcpu vcpu, in Instruction instruction)
    {
        Operands.Write(vcpu.Cpu, instruction.Op0Register, (uint)vcpu.Cpu->TscAux);
        return AssistResult.Next;
    }

    /// <summary>
    /// RDRAND and RDSEED in deterministic mode: a number made from the instruction count, so that runs are equal. Else
    /// they run on the host.
    /// </summary>
    internal static AssistResult Random(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        StateHash hash = default;
        hash.Add((ulong)(vcpu.Budget?.Executed ?? 0));
        Operands.Write(cpu, instruction.Op0Register, hash.Value);
        const ulong Carry = 1;
        cpu->ArithmeticFlags = Carry;
        return AssistResult.Next;
    }

    /// <summary>HLT.</summary>
    internal static AssistResult Hlt(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        if (cpu->Cpl != 0)
        {
            return Outcome.Protection(vcpu);
        }

        cpu->Rip = CpuMode.Next(cpu, instruction.Length);
        if (cpu->InterruptFlag == 0)
        {
            vcpu.Personality?.HaltedWithInterruptsOff(vcpu.Index);
        }

        return AssistResult.Halt;
    }

    /// <summary>VMCALL and VMMCALL: the personality's, else #UD.</summary>
    internal static AssistResult Hypercall(SoftVcpu vcpu, in Instruction instruction) =>
        vcpu.Personality is { } personality && personality.TryHypercall(vcpu.Index, vcpu.HypercallRegisters)
            ? Outcome.Leave(vcpu, instruction)
            : Outcome.Undefined(vcpu);

    /// <summary>INVD, WBINVD, WBNOINVD: caches are coherent, so nothing but the check.</summary>
    internal static AssistResult InvalidateCaches(SoftVcpu vcpu) =>
        vcpu.Cpu->Cpl != 0 ? Outcome.Protection(vcpu) : AssistResult.Next;

    /// <summary>CLFLUSH, CLFLUSHOPT, CLWB: checked like a load of one byte.</summary>
    internal static AssistResult FlushLine(SoftVcpu vcpu, in Instruction instruction) =>
        Outcome.NextIf(
            Segmentation.TryLinear(vcpu, instruction, 1, Access.Load, out ulong linear)
            && vcpu.Mmu.Translate(linear, Access.Load, out _));

    /// <summary>XGETBV: XCR0, or with ECX = 1 the components of it in use.</summary>
    internal static AssistResult Xgetbv(SoftVcpu vcpu)
    {
        CpuState* cpu = vcpu.Cpu;
        if ((cpu->Cr4 & Cr4.Osxsave) == 0)
        {
            return Outcome.Undefined(vcpu);
        }

        uint index = (uint)cpu->Gpr[Gpr.Rcx];
        if (index > 1 || (index == 1 && !vcpu.Cpuid.Features.Has(CpuFeature.Xgetbv1)))
        {
            return Outcome.Protection(vcpu);
        }

        ulong value = cpu->Xcr0;
        if (index == 1)
        {
            X87State.Capture(vcpu);
            value &= ExtendedState.InUse(cpu);
        }

        cpu->Gpr[Gpr.Rax] = (uint)value;
        cpu->Gpr[Gpr.Rdx] = value >> 32;
        return AssistResult.Next;
    }
}
