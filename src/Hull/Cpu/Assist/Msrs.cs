using System;
using Hull.Cpu.State;
using Hull.Engine;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// RDMSR and WRMSR: what the CPU itself acts on is here, the local APIC's go to the APIC, the rest to
/// <see cref="MsrPolicy"/>, then to the personality, then #GP. SDM vol. 4.
/// </summary>
internal static unsafe class Msrs
{
    private const uint Tsc = 0x10;
    private const uint ApicBase = 0x1B;
    private const uint TscAdjust = 0x3B;
    private const uint SysenterCs = 0x174;
    private const uint SysenterEsp = 0x175;
    private const uint SysenterEip = 0x176;
    private const uint TscDeadline = 0x6E0;
    private const uint X2ApicFirst = 0x800;
    private const uint X2ApicLast = 0x8FF;
    private const uint Xss = 0xDA0;
    private const uint EferIndex = 0xC000_0080;
    private const uint Star = 0xC000_0081;
    private const uint Lstar = 0xC000_0082;
    private const uint Cstar = 0xC000_0083;
    private const uint Sfmask = 0xC000_0084;
    private const uint FsBase = 0xC000_0100;
    private const uint GsBase = 0xC000_0101;
    private const uint KernelGsBase = 0xC000_0102;
    private const uint TscAux = 0xC000_0103;

    /// <summary>RDMSR.</summary>
    internal static AssistResult Rdmsr(SoftVcpu vcpu)
    {
        CpuState* cpu = vcpu.Cpu;
        if (cpu->Cpl != 0 || !TryRead(vcpu, (uint)cpu->Gpr[Gpr.Rcx], out ulong value))
        {
            return Outcome.Protection(vcpu);
        }

        cpu->Gpr[Gpr.Rax] = (uint)value;
        cpu->Gpr[Gpr.Rdx] = value >> 32;
        return AssistResult.Next;
    }

    /// <summary>WRMSR.</summary>
    internal static AssistResult Wrmsr(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        uint index = (uint)cpu->Gpr[Gpr.Rcx];
        ulong value = (uint)cpu->Gpr[Gpr.Rax] | (cpu->Gpr[Gpr.Rdx] << 32);
        if (cpu->Cpl != 0 || !TryWrite(vcpu, index, value))
        {
            return Outcome.Protection(vcpu);
        }

        // EFER changes the mode of translation, APIC_BASE where the APIC's page is; personalities may map pages.
        bool stays = index is not (EferIndex or ApicBase) && index is < 0x4000_0000 or > 0x4FFF_FFFF;
        return stays ? AssistResult.Next : Outcome.Leave(vcpu, instruction);
    }

    /// <summary>Reads an MSR, privilege aside.</summary>
    /// <returns>False for #GP.</returns>
    internal static bool TryRead(SoftVcpu vcpu, uint index, out ulong value)
    {
        CpuState* cpu = vcpu.Cpu;
        value = 0;
        if (IsHidden(vcpu.Cpuid.Features, index))
        {
            return false;
        }

        switch (index)
        {
            case Tsc:
                value = vcpu.BaseTsc + cpu->TscOffset;
                return true;
            case TscAdjust:
                value = cpu->TscAdjust;
                return true;
            case ApicBase or TscDeadline or (>= X2ApicFirst and <= X2ApicLast):
                return vcpu.Apic.TryReadMsr(index, out value);
            case SysenterCs:
                value = cpu->SysenterCs;
                return true;
            case SysenterEsp:
                value = cpu->SysenterEsp;
                return true;
            case SysenterEip:
                value = cpu->SysenterEip;
                return true;
            case Xss:
                value = cpu->Xss;
                return true;
            case EferIndex:
                value = cpu->Efer;
                return true;
            case Star:
                value = cpu->Star;
                return true;
            case Lstar:
                value = cpu->Lstar;
                return true;
            case Cstar:
                value = cpu->Cstar;
                return true;
            case Sfmask:
                value = cpu->Sfmask;
                return true;
            case FsBase:
                value = cpu->Segments[Seg.Fs].Base;
                return true;
            case GsBase:
                value = cpu->Segments[Seg.Gs].Base;
                return true;
            case KernelGsBase:
                value = cpu->KernelGsBase;
                return true;
            case TscAux:
                value = cpu->TscAux;
                return true;
            default:
                // SAFETY: Msrs has exactly SlotCount elements; the state block outlives the call.
                ReadOnlySpan<ulong> slots = new(cpu->Msrs, MsrPolicy.SlotCount);
                return MsrPolicy.TryRead(index, vcpu.Cpuid, slots, out value)
                    || (vcpu.Personality is { } personality && personality.TryReadMsr(vcpu.Index, index, out value));
        }
    }

    /// <summary>Writes an MSR, privilege aside.</summary>
    /// <returns>False for #GP.</returns>
    internal static bool TryWrite(SoftVcpu vcpu, uint index, ulong value)
    {
        CpuState* cpu = vcpu.Cpu;
        if (IsHidden(vcpu.Cpuid.Features, index))
        {
            return false;
        }

        switch (index)
        {
            case Tsc:
                ulong offset = value - vcpu.BaseTsc;
                cpu->TscAdjust += offset - cpu->TscOffset;
                cpu->TscOffset = offset;
                return true;
            case TscAdjust:
                cpu->TscOffset += value - cpu->TscAdjust;
                cpu->TscAdjust = value;
                return true;
            case ApicBase when (value & 0x400) != 0 && !vcpu.Cpuid.Features.Has(CpuFeature.X2Apic):
            case ApicBase when value >> vcpu.Cpuid.PhysicalBits != 0:
                return false; // EXTD is reserved then, and what no address has
            case ApicBase:
                // The APIC's page may cover RAM, or uncover it.
                vcpu.Mmu.FlushAll();
                return vcpu.Apic.TryWriteMsr(index, value);
            case TscDeadline or (>= X2ApicFirst and <= X2ApicLast):
                return vcpu.Apic.TryWriteMsr(index, value);
            case SysenterCs:
                cpu->SysenterCs = (uint)value;
                return true;
            case SysenterEsp:
                return StoreCanonical(ref cpu->SysenterEsp, value);
            case SysenterEip:
                return StoreCanonical(ref cpu->SysenterEip, value);
            case Xss:
                return value == 0;
            case EferIndex:
                return WriteEfer(vcpu, value);
            case Star:
                cpu->Star = value;
                return true;
            case Lstar:
                return StoreCanonical(ref cpu->Lstar, value);
            case Cstar:
                return StoreCanonical(ref cpu->Cstar, value);
            case Sfmask:
                return StoreLow(ref cpu->Sfmask, value);
            case FsBase:
                return StoreCanonical(ref cpu->Segments[Seg.Fs].Base, value);
            case GsBase:
                return StoreCanonical(ref cpu->Segments[Seg.Gs].Base, value);
            case KernelGsBase:
                return StoreCanonical(ref cpu->KernelGsBase, value);
            case TscAux:
                return StoreLow(ref cpu->TscAux, value);
            default:
                // SAFETY: Msrs has exactly SlotCount elements; the state block outlives the call.
                Span<ulong> slots = new(cpu->Msrs, MsrPolicy.SlotCount);
                return MsrPolicy.TryWrite(index, vcpu.Cpuid, slots, value, out bool known)
                    || (!known && vcpu.Personality is { } personality
                        && personality.TryWriteMsr(vcpu.Index, index, value));
        }
    }

    /// <summary>True for an MSR that comes with a feature that the guest has not.</summary>
    private static bool IsHidden(CpuFeatureSet features, uint index) => index switch
    {
        TscAdjust => !features.Has(CpuFeature.TscAdjust),
        TscDeadline => !features.Has(CpuFeature.TscDeadlineTimer),
        >= X2ApicFirst and <= X2ApicLast => !features.Has(CpuFeature.X2Apic),
        Xss => !features.Has(CpuFeature.Xsaves),
        TscAux => !features.Has(CpuFeature.Rdtscp) && !features.Has(CpuFeature.Rdpid),
        _ => false,
    };

    private static bool StoreCanonical(ref ulong field, ulong value)
    {
        if (!CpuMode.IsCanonical(value))
        {
            return false;
        }

        field = value;
        return true;
    }

    // Bits 32-63 are reserved.
    private static bool StoreLow(ref ulong field, ulong value)
    {
        if (value >> 32 != 0)
        {
            return false;
        }

        field = value;
        return true;
    }

    private static bool WriteEfer(SoftVcpu vcpu, ulong value)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong changed = value ^ cpu->Efer;
        if ((value & ~vcpu.Cpuid.SupportedEfer) != 0
            || ((changed & Efer.Lme) != 0 && (cpu->Cr0 & Cr0.Pg) != 0))
        {
            return false;
        }

        cpu->Efer = (value & ~Efer.Lma) | (cpu->Efer & Efer.Lma);
        if ((changed & Efer.Nxe) != 0)
        {
            vcpu.Mmu.FlushAll();
        }

        return true;
    }
}
