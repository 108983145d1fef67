using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>MOV CR, CLTS, LMSW, SMSW, XSETBV. SDM vol. 3A, "Control Registers".</summary>
internal static unsafe class ControlRegisters
{
    /// <summary>MOV r, CRn.</summary>
    internal static AssistResult MovFromControl(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int number = instruction.Op1Register - Register.CR0;
        if (number is not (0 or 2 or 3 or 4 or 8))
        {
            return Outcome.Undefined(vcpu);
        }

        if (cpu->Cpl != 0)
        {
            return Outcome.Protection(vcpu);
        }

        ulong value = number switch
        {
            0 => cpu->Cr0,
            2 => cpu->Cr2,
            3 => cpu->Cr3,
            4 => cpu->Cr4,
            _ => vcpu.Apic.TaskPriority,
        };
        Operands.Write(cpu, instruction.Op0Register, value);
        return AssistResult.Next;
    }

    /// <summary>MOV CRn, r.</summary>
    internal static AssistResult MovToControl(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int number = instruction.Op0Register - Register.CR0;
        if (number is not (0 or 2 or 3 or 4 or 8))
        {
            return Outcome.Undefined(vcpu);
        }

        if (cpu->Cpl != 0)
        {
            return Outcome.Protection(vcpu);
        }

        ulong value = Operands.Read(cpu, instruction.Op1Register);
        switch (number)
        {
            case 0:
                return Outcome.LeaveIf(vcpu, instruction, WriteCr0(vcpu, value));
            case 2:
                cpu->Cr2 = value;
                return AssistResult.Next;
            case 3:
                return Outcome.LeaveIf(vcpu, instruction, WriteCr3(vcpu, value));
            case 4:
                return Outcome.LeaveIf(vcpu, instruction, WriteCr4(vcpu, value));
            default:
                if ((value & ~0xFUL) != 0)
                {
                    return Outcome.Protection(vcpu);
                }

                vcpu.Apic.TaskPriority = (byte)value;
                return AssistResult.Next;
        }
    }

    /// <summary>Writes CR0 with all its checks; false when #GP was recorded.</summary>
    internal static bool WriteCr0(SoftVcpu vcpu, ulong value)
    {
        CpuState* cpu = vcpu.Cpu;
        bool paging = (value & Cr0.Pg) != 0;
        if (value >> 32 != 0 || (paging && (value & Cr0.Pe) == 0) || (value & (Cr0.Nw | Cr0.Cd)) == Cr0.Nw)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        ulong changed = cpu->Cr0 ^ value;
        ulong efer = cpu->Efer;
        bool pae = (cpu->Cr4 & Cr4.Pae) != 0;
        if ((changed & Cr0.Pg) != 0)
        {
            if (!paging)
            {
                if (CpuMode.Is64Bit(cpu) || (cpu->Cr4 & Cr4.Pcide) != 0)
                {
                    return vcpu.Raise(Vector.GeneralProtection, 0);
                }

                efer &= ~Efer.Lma;
            }
            else if ((efer & Efer.Lme) != 0)
            {
                if (!pae || (cpu->Segments[Seg.Cs].Attributes & SegmentAttributes.Long) != 0)
                {
                    return vcpu.Raise(Vector.GeneralProtection, 0);
                }

                efer |= Efer.Lma;
            }
        }

        if (paging && pae && (efer & Efer.Lma) == 0 && (changed & (Cr0.Pg | Cr0.Cd | Cr0.Nw)) != 0
            && !vcpu.Mmu.TryLoadPdptes(cpu->Cr3))
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        cpu->Cr0 = (value & Cr0.Defined) | Cr0.Et;
        cpu->Efer = efer;
        if ((changed & (Cr0.Pg | Cr0.Pe | Cr0.Wp)) != 0)
        {
            vcpu.Mmu.FlushAll();
        }

        return true;
    }

    /// <summary>CLTS.</summary>
    internal static AssistResult Clts(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        if (cpu->Cpl != 0)
        {
            return Outcome.Protection(vcpu);
        }

        if ((cpu->Cr0 & Cr0.Ts) == 0)
        {
            return AssistResult.Next;
        }

        cpu->Cr0 &= ~Cr0.Ts;
        return Outcome.Leave(vcpu, instruction);
    }

    /// <summary>LMSW: PE, MP, EM, TS; it cannot clear PE.</summary>
    internal static AssistResult Lmsw(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        if (cpu->Cpl != 0)
        {
            return Outcome.Protection(vcpu);
        }

        if (!Operands.Load(vcpu, instruction, 0, 2, out ulong value))
        {
            return AssistResult.Fault;
        }

        const ulong low = Cr0.Mp | Cr0.Em | Cr0.Ts;
        ulong cr0 = (cpu->Cr0 & ~low) | (value & (low | Cr0.Pe));
        return Outcome.LeaveIf(vcpu, instruction, WriteCr0(vcpu, cr0));
    }

    /// <summary>SMSW: the low 16 bits to memory, the operand size to a register.</summary>
    internal static AssistResult Smsw(SoftVcpu vcpu, in Instruction instruction) =>
        IsHiddenByUmip(vcpu.Cpu)
            ? Outcome.Protection(vcpu)
            : Outcome.NextIf(Operands.Store(vcpu, instruction, 0, 2, vcpu.Cpu->Cr0));

    /// <summary>CR4.UMIP keeps the descriptor-table registers and CR0 from user code.</summary>
    internal static bool IsHiddenByUmip(CpuState* cpu) => (cpu->Cr4 & Cr4.Umip) != 0 && cpu->Cpl != 0;

    /// <summary>XSETBV: XCR0.</summary>
    internal static AssistResult Xsetbv(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        if ((cpu->Cr4 & Cr4.Osxsave) == 0)
        {
            return Outcome.Undefined(vcpu);
        }

        ulong value = (uint)cpu->Gpr[Gpr.Rax] | (cpu->Gpr[Gpr.Rdx] << 32);
        if (cpu->Cpl != 0 || (uint)cpu->Gpr[Gpr.Rcx] != 0 || (value & 1) == 0
            || (value & ~vcpu.Cpuid.SupportedXcr0) != 0 || (value & 6) == 4)
        {
            return Outcome.Protection(vcpu);
        }

        cpu->Xcr0 = value;
        return Outcome.Leave(vcpu, instruction);
    }

    /// <summary>The PCID that is current; 0 without PCIDs.</summary>
    internal static int Pcid(CpuState* cpu) => (cpu->Cr4 & Cr4.Pcide) != 0 ? (int)cpu->Cr3 & 0xFFF : 0;

    private static bool WriteCr3(SoftVcpu vcpu, ulong value)
    {
        CpuState* cpu = vcpu.Cpu;
        int from = Pcid(cpu);
        bool keeps = false;
        if (CpuMode.IsLong(cpu))
        {
            // With PCIDs bit 63 asks to keep the new context's translations; it is not stored.
            ulong keep = (cpu->Cr4 & Cr4.Pcide) != 0 ? 1UL << 63 : 0;
            if (((value & ~keep) >> vcpu.Cpuid.PhysicalBits) != 0)
            {
                return vcpu.Raise(Vector.GeneralProtection, 0);
            }

            keeps = (value & keep) != 0;
            value &= ~keep;
        }
        else if ((cpu->Cr0 & Cr0.Pg) != 0 && (cpu->Cr4 & Cr4.Pae) != 0
            && !vcpu.Mmu.TryLoadPdptes(value))
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        cpu->Cr3 = value;
        vcpu.Mmu.SwitchSpace(from, Pcid(cpu), keeps);
        return true;
    }

    private static bool WriteCr4(SoftVcpu vcpu, ulong value)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong changed = value ^ cpu->Cr4;
        bool isLong = CpuMode.IsLong(cpu);
        bool turnsPcideOn = (changed & value & Cr4.Pcide) != 0;
        bool loadsPdptes = (changed & (Cr4.Pae | Cr4.Pge | Cr4.Pse | Cr4.Smep)) != 0 && (value & Cr4.Pae) != 0
            && !isLong && (cpu->Cr0 & Cr0.Pg) != 0;
        if ((value & ~vcpu.Cpuid.SupportedCr4) != 0
            || (isLong && (value & Cr4.Pae) == 0)
            || (turnsPcideOn && (!isLong || (cpu->Cr3 & 0xFFF) != 0))
            || (loadsPdptes && !vcpu.Mmu.TryLoadPdptes(cpu->Cr3)))
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        cpu->Cr4 = value;
        if ((changed & Cr4.De) != 0)
        {
            vcpu.Debug.Recompute();
        }

        if ((changed & (Cr4.Pse | Cr4.Pae | Cr4.Pge | Cr4.Pcide | Cr4.Smep | Cr4.Smap)) != 0)
        {
            vcpu.Mmu.FlushAll();
        }

        return true;
    }
}
