using System;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>IRET in every mode. SDM vol. 2A, "IRET/IRETD/IRETQ".</summary>
internal static unsafe class InterruptReturn
{
    private const ulong ArithmeticAndDirection = CpuState.ArithmeticMask | Rflags.Df;

    /// <summary>IRET, IRETD, IRETQ.</summary>
    internal static AssistResult Execute(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int width = instruction.Code switch
        {
            Code.Iretw => 2,
            Code.Iretd => 4,
            _ => 8,
        };

        // NMIs are possible again even if this IRET faults.
        cpu->NmiBlocked = 0;
        bool done = !CpuMode.IsProtected(cpu) ? ReturnReal(vcpu, width)
            : CpuMode.IsVirtual8086(cpu) ? ReturnInVirtual8086(vcpu, width)
            : ReturnProtected(vcpu, width, CpuMode.Next(cpu, instruction.Length));
        return done ? AssistResult.Jump : AssistResult.Fault;
    }

    /// <summary>Merges popped flags into RFLAGS: only bits of <paramref name="mask"/> (16-bit pops: of its low half) change.</summary>
    internal static void MergeFlags(CpuState* cpu, ulong popped, ulong mask, int width)
    {
        if (width == 2)
        {
            mask &= 0xFFFF;
        }

        cpu->Rflags = (cpu->Rflags & ~mask) | (popped & mask);
    }

    private static bool ReturnReal(SoftVcpu vcpu, int width)
    {
        const ulong mask = ArithmeticAndDirection | Rflags.Tf | Rflags.If | Rflags.Iopl | Rflags.Nt | Rflags.Rf | Rflags.Ac
            | Rflags.Id;
        return PopReal(vcpu, width, out ulong flags) && Merge(vcpu.Cpu, flags, mask, width);
    }

    private static bool ReturnInVirtual8086(SoftVcpu vcpu, int width)
    {
        CpuState* cpu = vcpu.Cpu;
        const ulong common = ArithmeticAndDirection | Rflags.Tf | Rflags.Nt | Rflags.Rf | Rflags.Ac | Rflags.Id;
        if (CpuMode.Iopl(cpu) == 3)
        {
            return PopReal(vcpu, width, out ulong flags) && Merge(cpu, flags, common | Rflags.If, width);
        }

        Span<ulong> popped = stackalloc ulong[3];
        if (width != 2 || (cpu->Cr4 & Cr4.Vme) == 0)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!CurrentStack.Peek(vcpu, width, 0, popped))
        {
            return false;
        }

        bool enables = (popped[2] & Rflags.If) != 0;
        if ((enables && (cpu->SystemFlags & Rflags.Vip) != 0) || (popped[2] & Rflags.Tf) != 0)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!PopReal(vcpu, width, out ulong virtualFlags))
        {
            return false;
        }

        MergeFlags(cpu, virtualFlags, common, width);
        cpu->SystemFlags = (cpu->SystemFlags & ~Rflags.Vif) | (enables ? Rflags.Vif : 0);
        return true;
    }

    private static bool PopReal(SoftVcpu vcpu, int width, out ulong flags)
    {
        CpuState* cpu = vcpu.Cpu;
        Span<ulong> popped = stackalloc ulong[3];
        flags = 0;
        if (!CurrentStack.Peek(vcpu, width, 0, popped))
        {
            return false;
        }

        if (popped[0] > cpu->Segments[Seg.Cs].Limit)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        CurrentStack.Release(cpu, (uint)(3 * width));
        CodeSegments.LoadRealCs(cpu, (ushort)popped[1]);
        cpu->Rip = popped[0];
        flags = popped[2];
        return true;
    }

    private static bool Merge(CpuState* cpu, ulong flags, ulong mask, int width)
    {
        MergeFlags(cpu, flags, mask, width);
        return true;
    }

    private static bool ReturnProtected(SoftVcpu vcpu, int width, ulong next)
    {
        CpuState* cpu = vcpu.Cpu;
        bool from64Bit = CpuMode.Is64Bit(cpu);
        if ((cpu->SystemFlags & Rflags.Nt) != 0)
        {
            return CpuMode.IsLong(cpu)
                ? vcpu.Raise(Vector.GeneralProtection, 0)
                : TaskSwitch.Return(vcpu, next);
        }

        Span<ulong> popped = stackalloc ulong[5];
        if (!CurrentStack.Peek(vcpu, width, 0, popped[..(from64Bit ? 5 : 3)]))
        {
            return false;
        }

        ulong flags = popped[2];
        if ((flags & Rflags.Vm) != 0 && cpu->Cpl == 0 && width == 4 && !CpuMode.IsLong(cpu))
        {
            return ReturnToVirtual8086(vcpu, popped);
        }

        ushort selector = (ushort)popped[1];
        ulong offset = popped[0];
        if (!CodeSegments.FindForReturn(vcpu, selector, out Descriptor code))
        {
            return false;
        }

        int rpl = selector & 3;
        bool outer = rpl > cpu->Cpl;
        CpuSegment stack = default;
        if (outer || from64Bit)
        {
            if ((!from64Bit && !CurrentStack.Peek(vcpu, width, (uint)(3 * width), popped[3..]))
                || !CodeSegments.FindReturnStack(vcpu, (ushort)popped[4], rpl, code, out stack))
            {
                return false;
            }
        }

        if (!CodeSegments.CheckOffset(vcpu, code, ref offset) || !SegmentTables.SetAccessed(vcpu, selector, ref code))
        {
            return false;
        }

        ulong mask = FlagsMask(cpu);
        if (!outer && !from64Bit)
        {
            CurrentStack.Release(cpu, (uint)(3 * width));
        }

        CodeSegments.LoadCs(cpu, selector, code, rpl);
        if (outer || from64Bit)
        {
            cpu->Segments[Seg.Ss] = stack;
            CurrentStack.SetPointer(cpu, popped[3]);
        }

        MergeFlags(cpu, flags, mask, width);
        if (outer)
        {
            SegmentTables.DropInaccessible(cpu);
        }

        cpu->Rip = offset;
        if (from64Bit)
        {
            // Generated code does the next one itself: InterruptReturnThunk.
            vcpu.Tlb.FillDescriptorSlot(cpu->Gdtr.Base + (selector & 0xFFF8u));
        }

        return true;
    }

    /// <summary>The flags that IRET may change at the level that executes it.</summary>
    private static ulong FlagsMask(CpuState* cpu)
    {
        ulong mask = ArithmeticAndDirection | Rflags.Tf | Rflags.Nt | Rflags.Rf | Rflags.Ac | Rflags.Id;
        if (cpu->Cpl <= CpuMode.Iopl(cpu))
        {
            mask |= Rflags.If;
        }

        return cpu->Cpl == 0 ? mask | Rflags.Iopl | Rflags.Vif | Rflags.Vip : mask;
    }

    private static bool ReturnToVirtual8086(SoftVcpu vcpu, ReadOnlySpan<ulong> popped)
    {
        CpuState* cpu = vcpu.Cpu;
        Span<ulong> outer = stackalloc ulong[6];
        if (!CurrentStack.Peek(vcpu, 4, 12, outer))
        {
            return false;
        }

        if (popped[0] > 0xFFFF)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        cpu->Rflags = popped[2];
        cpu->Cpl = 3;
        cpu->Segments[Seg.Cs] = Descriptor.Virtual8086((ushort)popped[1]);
        cpu->Segments[Seg.Ss] = Descriptor.Virtual8086((ushort)outer[1]);
        cpu->Segments[Seg.Es] = Descriptor.Virtual8086((ushort)outer[2]);
        cpu->Segments[Seg.Ds] = Descriptor.Virtual8086((ushort)outer[3]);
        cpu->Segments[Seg.Fs] = Descriptor.Virtual8086((ushort)outer[4]);
        cpu->Segments[Seg.Gs] = Descriptor.Virtual8086((ushort)outer[5]);
        cpu->Gpr[Gpr.Rsp] = outer[0];
        cpu->Rip = popped[0];
        return true;
    }
}
