using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// SYSCALL, SYSRET, SYSENTER, SYSEXIT. SDM vol. 3A, "Fast System Calls in 64-Bit Mode"; APM vol. 2, "Fast System Call and
/// Return", for what AMD does otherwise.
/// </summary>
internal static unsafe class FastCalls
{
    private const uint Code64 = 0xA09B;
    private const uint Code32 = 0xC09B;
    private const uint Data = 0xC093;

    /// <summary>SYSCALL.</summary>
    internal static AssistResult Syscall(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        bool wide = CpuMode.Is64Bit(cpu);
        if ((cpu->Efer & Efer.Sce) == 0 || (!wide && vcpu.Cpuid.IsIntel) || !CpuMode.IsProtected(cpu))
        {
            return Outcome.Undefined(vcpu);
        }

        ulong next = CpuMode.Next(cpu, instruction.Length);
        cpu->Gpr[Gpr.Rcx] = next;
        ushort selector = (ushort)((cpu->Star >> 32) & 0xFFFC);
        if (CpuMode.IsLong(cpu))
        {
            ulong flags = cpu->Rflags & ~Rflags.Rf;
            cpu->Gpr[Gpr.R11] = flags;
            cpu->Rflags = flags & ~cpu->Sfmask;
            cpu->Rip = wide ? cpu->Lstar : cpu->Cstar;
            Enter(cpu, selector, Code64, 0);
        }
        else
        {
            cpu->Gpr[Gpr.Rcx] = (uint)next;
            cpu->InterruptFlag = 0;
            cpu->SystemFlags &= ~(Rflags.Vm | Rflags.Rf);
            cpu->Rip = (uint)cpu->Star;
            Enter(cpu, selector, Code32, 0);
        }

        vcpu.Debug.StepByResult();
        return AssistResult.Jump;
    }

    /// <summary>SYSRET.</summary>
    internal static AssistResult Sysret(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        bool wide = CpuMode.Is64Bit(cpu);
        if ((cpu->Efer & Efer.Sce) == 0 || (!wide && vcpu.Cpuid.IsIntel) || !CpuMode.IsProtected(cpu))
        {
            return Outcome.Undefined(vcpu);
        }

        bool to64Bit = instruction.Code == Code.Sysretq;
        ulong target = cpu->Gpr[Gpr.Rcx];
        if (cpu->Cpl != 0 || (to64Bit && vcpu.Cpuid.IsIntel && !CpuMode.IsCanonical(target)))
        {
            return Outcome.Protection(vcpu);
        }

        if (CpuMode.IsLong(cpu))
        {
            cpu->Rflags = cpu->Gpr[Gpr.R11] & 0x3C_7FD7;
        }
        else
        {
            cpu->InterruptFlag = 1;
        }

        ushort user = (ushort)(cpu->Star >> 48);
        cpu->Rip = to64Bit ? target : (uint)target;
        ushort code = (ushort)((to64Bit ? user + 16 : user) | 3);
        Load(cpu, code, (ushort)((user + 8) | 3), to64Bit ? Code64 : Code32, 3);
        vcpu.Debug.StepByResult();
        return AssistResult.Jump;
    }

    /// <summary>SYSENTER.</summary>
    internal static AssistResult Sysenter(SoftVcpu vcpu)
    {
        CpuState* cpu = vcpu.Cpu;
        bool isLong = CpuMode.IsLong(cpu);
        if (isLong && !vcpu.Cpuid.IsIntel)
        {
            return Outcome.Undefined(vcpu);
        }

        ushort selector = (ushort)(cpu->SysenterCs & 0xFFFC);
        if (!CpuMode.IsProtected(cpu) || selector == 0)
        {
            return Outcome.Protection(vcpu);
        }

        cpu->SystemFlags &= ~(Rflags.Vm | Rflags.Rf);
        cpu->InterruptFlag = 0;
        cpu->Gpr[Gpr.Rsp] = isLong ? cpu->SysenterEsp : (uint)cpu->SysenterEsp;
        cpu->Rip = isLong ? cpu->SysenterEip : (uint)cpu->SysenterEip;
        Enter(cpu, selector, isLong ? Code64 : Code32, 0);
        return AssistResult.Jump;
    }

    /// <summary>SYSEXIT.</summary>
    internal static AssistResult Sysexit(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        if (CpuMode.IsLong(cpu) && !vcpu.Cpuid.IsIntel)
        {
            return Outcome.Undefined(vcpu);
        }

        bool to64Bit = instruction.Code == Code.Sysexitq;
        ushort selector = (ushort)(cpu->SysenterCs & 0xFFFC);
        ulong rip = cpu->Gpr[Gpr.Rdx];
        ulong rsp = cpu->Gpr[Gpr.Rcx];
        if (!CpuMode.IsProtected(cpu) || selector == 0 || cpu->Cpl != 0
            || (to64Bit && !(CpuMode.IsCanonical(rip) && CpuMode.IsCanonical(rsp))))
        {
            return Outcome.Protection(vcpu);
        }

        int code = selector + (to64Bit ? 32 : 16);
        cpu->Rip = to64Bit ? rip : (uint)rip;
        cpu->Gpr[Gpr.Rsp] = to64Bit ? rsp : (uint)rsp;
        Load(cpu, (ushort)(code | 3), (ushort)((code + 8) | 3), to64Bit ? Code64 : Code32, 3);
        return AssistResult.Jump;
    }

    private static void Enter(CpuState* cpu, ushort selector, uint code, int cpl) =>
        Load(cpu, selector, (ushort)(selector + 8), code, cpl);

    /// <summary>Loads flat CS and SS without looking into the descriptor tables.</summary>
    private static void Load(CpuState* cpu, ushort codeSelector, ushort stackSelector, uint code, int cpl)
    {
        uint privilege = (uint)cpl << 5;
        cpu->Segments[Seg.Cs] = new CpuSegment
        {
            Selector = codeSelector,
            Limit = uint.MaxValue,
            Attributes = code | privilege,
        };
        cpu->Segments[Seg.Ss] = new CpuSegment
        {
            Selector = stackSelector,
            Limit = uint.MaxValue,
            Attributes = Data | privilege,
        };
        cpu->Cpl = (byte)cpl;
    }
}
