using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>Which instruction of the XSAVE family.</summary>
internal enum ExtendedStateKind
{
    /// <summary>XSAVE, XRSTOR: standard form.</summary>
    Standard,

    /// <summary>XSAVEOPT: components in their initial state are not written.</summary>
    Optimized,

    /// <summary>XSAVEC: compacted form.</summary>
    Compacted,

    /// <summary>XSAVES, XRSTORS: compacted, privileged.</summary>
    Supervisor,
}

/// <summary>
/// XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR, XRSTORS for x87, SSE and AVX. SDM vol. 1, "Managing State Using the XSAVE
/// Feature Set".
/// </summary>
internal static unsafe class ExtendedState
{
    private const ulong X87 = 1;
    private const ulong Sse = 2;
    private const ulong Avx = 4;
    private const ulong CompactedBit = 1UL << 63;
    private const int LegacyBytes = 512;
    private const int AvxOffset = 576;
    private const int AreaBytes = 832;
    private const uint MxcsrDefault = 0x1F80;

    /// <summary>XINUSE: the components that are not in their initial state. x87 must have been captured.</summary>
    internal static ulong InUse(CpuState* cpu)
    {
        ulong used = 0;
        byte* image = X87State.Image(cpu);
        bool x87Used = *(ushort*)image != 0x37F || *(ushort*)(image + X87State.StatusWord) != 0
            || image[X87State.Tags] != 0 || !IsZero(image + X87State.Stack, 128);
        used |= x87Used ? X87 : 0;
        used |= cpu->Mxcsr != MxcsrDefault || !IsZero((byte*)&cpu->Xmm, 256) ? Sse : 0;
        return used | (cpu->YmmDirty != 0 && !IsZero((byte*)&cpu->YmmHigh, 256) ? Avx : 0);
    }

    /// <summary>XSAVE, XSAVEOPT, XSAVEC, XSAVES.</summary>
    internal static AssistResult Save(SoftVcpu vcpu, in Instruction instruction, ExtendedStateKind kind)
    {
        if (!Locate(vcpu, instruction, kind, Access.Store, out ulong at, out ulong requested))
        {
            return AssistResult.Fault;
        }

        CpuState* cpu = vcpu.Cpu;
        Span<byte> area = stackalloc byte[AreaBytes];
        area.Clear();
        FpuState.FillLegacy(vcpu, area);
        VectorRegisters.Settle(cpu);
        ulong used = InUse(cpu) & requested;
        bool compact = kind >= ExtendedStateKind.Compacted;
        ulong written = kind == ExtendedStateKind.Standard ? requested : used;
        // MXCSR goes with SSE or AVX in the standard form, with SSE alone in the compacted one.
        bool withMxcsr = compact ? (written & Sse) != 0 : (requested & (Sse | Avx)) != 0;
        ulong header = used;
        // AMD's CPUs ask for the whole area in front of AVX, whatever is saved.
        if (((written & Avx) != 0 && !IsWholeInside(vcpu, instruction, Access.Store))
            || (!vcpu.Cpuid.IsIntel && !vcpu.Mmu.Probe(at, AvxOffset, Access.Store))
            || !vcpu.Mmu.Probe(at + LegacyBytes, 64, Access.Store)
            || ((written & X87) != 0 && !vcpu.Mmu.Probe(at, FpuState.XmmOffset, Access.Store))
            || (withMxcsr && !vcpu.Mmu.Probe(at + 24, 8, Access.Store))
            || ((written & Sse) != 0 && !vcpu.Mmu.Probe(at + FpuState.XmmOffset, 256, Access.Store)))
        {
            return AssistResult.Fault;
        }

        if (!compact)
        {
            if (!vcpu.Mmu.Load(at + LegacyBytes, out ulong old))
            {
                return AssistResult.Fault;
            }

            header = (old & ~requested) | used;
        }

        // Of the header only XSTATE_BV and, in the compacted form, XCOMP_BV are written.
        bool done = ((written & Avx) == 0 || vcpu.Mmu.Probe(at + AvxOffset, 256, Access.Store))
            && ((written & X87) == 0 || (vcpu.Mmu.Store(at, area[..24]) && vcpu.Mmu.Store(at + 32, area[32..160])))
            && (!withMxcsr || vcpu.Mmu.Store(at + 24, area[24..32]))
            && ((written & Sse) == 0 || StoreHalf(vcpu, at + FpuState.XmmOffset, (byte*)&cpu->Xmm))
            && ((written & Avx) == 0 || StoreHalf(vcpu, at + AvxOffset, (byte*)&cpu->YmmHigh))
            && vcpu.Mmu.Store(at + LegacyBytes, header)
            && (!compact || vcpu.Mmu.Store(at + LegacyBytes + 8, requested | CompactedBit));
        return Outcome.NextIf(done);
    }

    /// <summary>XRSTOR and XRSTORS.</summary>
    internal static AssistResult Restore(SoftVcpu vcpu, in Instruction instruction, ExtendedStateKind kind)
    {
        if (!Locate(vcpu, instruction, kind, Access.Load, out ulong at, out ulong requested))
        {
            return AssistResult.Fault;
        }

        CpuState* cpu = vcpu.Cpu;
        Span<byte> area = stackalloc byte[AreaBytes];
        if (!vcpu.Mmu.Load(at + LegacyBytes, area[LegacyBytes..AvxOffset]))
        {
            return AssistResult.Fault;
        }

        ulong present = BitConverter.ToUInt64(area[LegacyBytes..]);
        ulong layout = BitConverter.ToUInt64(area[(LegacyBytes + 8)..]);
        bool compact = (layout & CompactedBit) != 0;

        // The legacy area is read for what is in its initial state, too, before the header is judged; on Intel's CPUs only
        // as far as components are asked for, and not for a compacted image that has nothing at all.
        bool isIntel = vcpu.Cpuid.IsIntel;
        uint first = isIntel && (requested & X87) == 0 ? 24u : 0;
        if ((!isIntel || ((requested & (X87 | Sse)) != 0 && (!compact || present != 0)))
            && !vcpu.Mmu.Probe(at + first, LegacyBytes - (int)first, Access.Load))
        {
            return AssistResult.Fault;
        }

        if (!IsHeaderValid(cpu, area, present, layout, kind))
        {
            return Outcome.Protection(vcpu);
        }

        // The limit is that of all that is asked for in the standard form, and of what there is in the compacted one.
        bool needsAvx = (requested & Avx) != 0 && (!compact || (present & Avx) != 0);
        if (needsAvx && !IsWholeInside(vcpu, instruction, Access.Load))
        {
            return AssistResult.Fault;
        }

        bool loadsMxcsr = compact ? (requested & present & Sse) != 0 : (requested & (Sse | Avx)) != 0;
        if (!LoadLegacyParts(vcpu, at, area, requested & present, loadsMxcsr))
        {
            return AssistResult.Fault;
        }

        uint mxcsr = BitConverter.ToUInt32(area[24..]);
        if (loadsMxcsr && (mxcsr & ~vcpu.Cpuid.MxcsrMask) != 0)
        {
            return Outcome.Protection(vcpu);
        }

        bool loadsAvx = (requested & present & Avx) != 0;
        if (loadsAvx && !vcpu.Mmu.Load(at + AvxOffset, area[AvxOffset..]))
        {
            return AssistResult.Fault;
        }

        if (loadsMxcsr)
        {
            cpu->Mxcsr = mxcsr;
        }
        else if (compact && (requested & Sse) != 0)
        {
            cpu->Mxcsr = MxcsrDefault;
        }

        TakeComponents(vcpu, area, requested, present);
        return AssistResult.Next;
    }

    // Only what is wanted may fault.
    private static bool LoadLegacyParts(SoftVcpu vcpu, ulong at, Span<byte> area, ulong parts, bool withMxcsr) =>
        ((parts & X87) == 0 || (vcpu.Mmu.Load(at, area[..24]) && vcpu.Mmu.Load(at + 32, area[32..FpuState.XmmOffset])))
        && (!withMxcsr || vcpu.Mmu.Load(at + 24, area[24..32]))
        && ((parts & Sse) == 0 || vcpu.Mmu.Load(at + FpuState.XmmOffset, area[FpuState.XmmOffset..416]));

    private static void TakeComponents(SoftVcpu vcpu, Span<byte> area, ulong requested, ulong present)
    {
        CpuState* cpu = vcpu.Cpu;
        if ((requested & X87) != 0)
        {
            if ((present & X87) == 0)
            {
                area[..FpuState.XmmOffset].Clear();
                BitConverter.TryWriteBytes(area, (ushort)0x37F);
            }

            FpuState.LoadLegacy(vcpu, area);
        }

        if ((requested & Sse) != 0)
        {
            LoadHalf(cpu, area[FpuState.XmmOffset..], (byte*)&cpu->Xmm, (present & Sse) != 0);
        }

        if ((requested & Avx) != 0)
        {
            VectorRegisters.Settle(cpu);
            LoadHalf(cpu, area[AvxOffset..], (byte*)&cpu->YmmHigh, (present & Avx) != 0);
            cpu->YmmDirty = IsZero((byte*)&cpu->YmmHigh, 256) ? 0 : 1u;
        }
    }

    private static bool Locate(
        SoftVcpu vcpu, in Instruction instruction, ExtendedStateKind kind, Access access, out ulong at, out ulong requested)
    {
        CpuState* cpu = vcpu.Cpu;
        at = 0;
        requested = 0;
        if ((cpu->Cr4 & Cr4.Osxsave) == 0)
        {
            return vcpu.Raise(Vector.InvalidOpcode);
        }

        if ((cpu->Cr0 & Cr0.Ts) != 0)
        {
            return vcpu.Raise(Vector.NotAvailable);
        }

        if (kind == ExtendedStateKind.Supervisor && cpu->Cpl != 0)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        ulong mask = (uint)cpu->Gpr[Gpr.Rax] | (cpu->Gpr[Gpr.Rdx] << 32);
        requested = mask & cpu->Xcr0;
        return Segmentation.TryAligned(vcpu, instruction, AvxOffset, 64, access, out at);
    }

    // The segment's limit must hold the AVX part too; false when a fault was recorded.
    private static bool IsWholeInside(SoftVcpu vcpu, in Instruction instruction, Access access) =>
        Segmentation.TryLinear(vcpu, instruction, AreaBytes, access, out _);

    private static bool IsHeaderValid(
        CpuState* cpu, ReadOnlySpan<byte> area, ulong present, ulong layout, ExtendedStateKind kind)
    {
        bool compact = (layout & CompactedBit) != 0;
        if ((present & ~cpu->Xcr0) != 0 || (kind == ExtendedStateKind.Supervisor && !compact))
        {
            return false;
        }

        if (compact)
        {
            ulong components = layout & ~CompactedBit;
            return (components & ~cpu->Xcr0) == 0 && (present & ~components) == 0
                && area.Slice(LegacyBytes + 16, 48).IndexOfAnyExcept((byte)0) < 0;
        }

        return area.Slice(LegacyBytes + 8, 16).IndexOfAnyExcept((byte)0) < 0;
    }

    private static bool StoreHalf(SoftVcpu vcpu, ulong at, byte* registers)
    {
        // SAFETY: the register file is 256 bytes in the state block.
        return vcpu.Mmu.Store(at, new ReadOnlySpan<byte>(registers, CpuMode.Is64Bit(vcpu.Cpu) ? 256 : 128));
    }

    private static void LoadHalf(CpuState* cpu, ReadOnlySpan<byte> source, byte* registers, bool present)
    {
        // SAFETY: the register file is 256 bytes in the state block.
        Span<byte> target = new(registers, CpuMode.Is64Bit(cpu) ? 256 : 128);
        if (present)
        {
            source[..target.Length].CopyTo(target);
        }
        else
        {
            target.Clear();
        }
    }

    private static bool IsZero(byte* at, int length)
    {
        // SAFETY: the callers name fields of the state block with their own sizes.
        return new ReadOnlySpan<byte>(at, length).IndexOfAnyExcept((byte)0) < 0;
    }
}
