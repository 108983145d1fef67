using System;
using Hull.Engine;

namespace Hull.Cpu.State;

/// <summary>
/// The state after power-on and after INIT. SDM vol. 3A, "Processor State After Reset". The fields that belong to the
/// translator (handles, scratch, TSC offset) are left alone.
/// </summary>
internal static unsafe class CpuReset
{
    /// <summary>Power-on: everything.</summary>
    internal static void PowerOn(CpuState* cpu, CpuidPolicy cpuid)
    {
        Init(cpu, cpuid);
        cpu->Cr0 = Cr0.Cd | Cr0.Nw | Cr0.Et;
        cpu->Xcr0 = 1;
        cpu->Xss = 0;
        cpu->TscAux = 0;
        cpu->TscAdjust = 0;
        cpu->Star = cpu->Lstar = cpu->Cstar = cpu->Sfmask = 0;
        cpu->SysenterCs = cpu->SysenterEsp = cpu->SysenterEip = 0;
        cpu->Mxcsr = 0x1F80;
        cpu->YmmDirty = 0;
        cpu->Xmm = default;
        cpu->YmmHigh = default;
        cpu->X87 = default;
        ulong* x87 = (ulong*)&cpu->X87;
        x87[0] = 0x40; // FCW: all exceptions unmasked, extended precision; tags empty
        x87[3] = 0xFFFF_0000_1F80; // MXCSR and its mask
        // SAFETY: Msrs has exactly SlotCount elements; the state block outlives the call.
        MsrPolicy.Reset(cpuid, new Span<ulong>(cpu->Msrs, MsrPolicy.SlotCount));
    }

    /// <summary>INIT: the FPU, the MTRRs and most MSRs stay.</summary>
    internal static void Init(CpuState* cpu, CpuidPolicy cpuid)
    {
        for (int index = 0; index < 16; index++)
        {
            cpu->Gpr[index] = 0;
        }

        cpu->Gpr[Gpr.Rdx] = cpuid.Query(1, 0).Eax;
        cpu->Rip = 0xFFF0;
        cpu->Rflags = 2;
        cpu->InterruptShadow = 0;
        cpu->NmiBlocked = 0;
        cpu->Cpl = 0;
        for (int index = 0; index < 6; index++)
        {
            cpu->Segments[index] = new CpuSegment { Limit = 0xFFFF, Attributes = 0x93 };
        }

        cpu->Segments[Seg.Cs].Selector = 0xF000;
        cpu->Segments[Seg.Cs].Base = 0xFFFF_0000;
        cpu->Segments[Seg.Cs].Attributes = 0x9B;
        cpu->Ldtr = new CpuSegment { Limit = 0xFFFF, Attributes = 0x82 };
        cpu->Tr = new CpuSegment { Limit = 0xFFFF, Attributes = 0x8B };
        cpu->Gdtr = new CpuTable { Limit = 0xFFFF };
        cpu->Idtr = new CpuTable { Limit = 0xFFFF };
        cpu->Cr0 = (cpu->Cr0 & (Cr0.Cd | Cr0.Nw)) | Cr0.Et;
        cpu->Cr2 = 0;
        cpu->Cr3 = 0;
        cpu->Cr4 = 0;
        cpu->Efer = 0;
        cpu->KernelGsBase = 0;
        for (int index = 0; index < 4; index++)
        {
            cpu->DebugRegisters[index] = 0;
        }

        cpu->DebugRegisters[6] = 0xFFFF_0FF0;
        cpu->DebugRegisters[7] = 0x400;
    }
}
