using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// LGDT, LIDT, SGDT, SIDT, LLDT, LTR, SLDT, STR and the questions about selectors: LAR, LSL, VERR, VERW, ARPL.
/// SDM vol. 3A, "System Instructions", "Pointer Validation".
/// </summary>
internal static unsafe class DescriptorTables
{
    /// <summary>LGDT and LIDT.</summary>
    internal static AssistResult LoadTable(SoftVcpu vcpu, in Instruction instruction, bool interrupts)
    {
        CpuState* cpu = vcpu.Cpu;
        if (cpu->Cpl != 0)
        {
            return Outcome.Protection(vcpu);
        }

        bool wide = CpuMode.Is64Bit(cpu);
        if (!Segmentation.TryLinear(vcpu, instruction, wide ? 10u : 6u, Access.Load, out ulong at)
            || !vcpu.Mmu.Load(at, out ushort limit)
            || !Operands.LoadSized(vcpu, at + 2, wide ? 8 : 4, Access.Load, out ulong origin))
        {
            return AssistResult.Fault;
        }

        if (!CpuMode.IsCanonical(origin))
        {
            return Outcome.Protection(vcpu);
        }

        if (instruction.Code is Code.Lgdt_m1632_16 or Code.Lidt_m1632_16)
        {
            origin &= 0xFF_FFFF;
        }

        CpuTable table = new() { Base = origin, Limit = limit };
        if (interrupts)
        {
            cpu->Idtr = table;
        }
        else
        {
            cpu->Gdtr = table;
        }

        return AssistResult.Next;
    }

    /// <summary>SGDT and SIDT.</summary>
    internal static AssistResult StoreTable(SoftVcpu vcpu, in Instruction instruction, in CpuTable table)
    {
        CpuState* cpu = vcpu.Cpu;
        if (ControlRegisters.IsHiddenByUmip(cpu))
        {
            return Outcome.Protection(vcpu);
        }

        bool wide = CpuMode.Is64Bit(cpu);
        uint size = wide ? 10u : 6u;
        return Outcome.NextIf(
            Segmentation.TryLinear(vcpu, instruction, size, Access.Store, out ulong at)
            && vcpu.Mmu.Probe(at, (int)size, Access.Store)
            && vcpu.Mmu.Store(at, (ushort)table.Limit)
            && Operands.StoreSized(vcpu, at + 2, wide ? 8 : 4, table.Base, Access.Store));
    }

    /// <summary>SLDT and STR.</summary>
    internal static AssistResult StoreSelector(SoftVcpu vcpu, in Instruction instruction, ulong selector)
    {
        if (CpuMode.IsRealLike(vcpu.Cpu))
        {
            return Outcome.Undefined(vcpu);
        }

        return ControlRegisters.IsHiddenByUmip(vcpu.Cpu)
            ? Outcome.Protection(vcpu)
            : Outcome.NextIf(Operands.Store(vcpu, instruction, 0, 2, selector));
    }

    /// <summary>LLDT.</summary>
    internal static AssistResult Lldt(SoftVcpu vcpu, in Instruction instruction)
    {
        if (!LoadSystemSelector(vcpu, instruction, out ushort selector))
        {
            return AssistResult.Fault;
        }

        if (SegmentTables.IsNull(selector))
        {
            vcpu.Cpu->Ldtr = Descriptor.Null(selector);
            return AssistResult.Next;
        }

        if (!LoadSystemDescriptor(vcpu, selector, out Descriptor descriptor))
        {
            return AssistResult.Fault;
        }

        if (descriptor.Type != Descriptor.LdtType)
        {
            return Outcome.Protection(vcpu, selector);
        }

        if (!descriptor.IsPresent)
        {
            return Outcome.Fault(vcpu, Vector.NotPresent, selector & 0xFFFCu);
        }

        if (!CpuMode.IsCanonical(descriptor.Base64))
        {
            return Outcome.Protection(vcpu, selector);
        }

        vcpu.Cpu->Ldtr = descriptor.ToSegment(selector);
        vcpu.Cpu->Ldtr.Base = descriptor.Base64;
        return AssistResult.Next;
    }

    /// <summary>LTR.</summary>
    internal static AssistResult Ltr(SoftVcpu vcpu, in Instruction instruction)
    {
        if (!LoadSystemSelector(vcpu, instruction, out ushort selector))
        {
            return AssistResult.Fault;
        }

        if (SegmentTables.IsNull(selector))
        {
            return Outcome.Protection(vcpu);
        }

        if (!LoadSystemDescriptor(vcpu, selector, out Descriptor descriptor))
        {
            return AssistResult.Fault;
        }

        bool narrow = descriptor.Type == Descriptor.Tss16Available && !CpuMode.IsLong(vcpu.Cpu);
        if (descriptor.Type != Descriptor.TssAvailable && !narrow)
        {
            return Outcome.Protection(vcpu, selector);
        }

        if (!descriptor.IsPresent)
        {
            return Outcome.Fault(vcpu, Vector.NotPresent, selector & 0xFFFCu);
        }

        if (!CpuMode.IsCanonical(descriptor.Base64))
        {
            return Outcome.Protection(vcpu, selector);
        }

        if (!SegmentTables.SetBusy(vcpu, selector, descriptor, true))
        {
            return AssistResult.Fault;
        }

        vcpu.Cpu->Tr = descriptor.ToSegment(selector);
        vcpu.Cpu->Tr.Base = descriptor.Base64;
        vcpu.Cpu->Tr.Attributes |= 2;
        return AssistResult.Next;
    }

    /// <summary>LAR and LSL.</summary>
    internal static AssistResult LarLsl(SoftVcpu vcpu, in Instruction instruction, bool limit)
    {
        CpuState* cpu = vcpu.Cpu;
        if (CpuMode.IsRealLike(cpu))
        {
            return Outcome.Undefined(vcpu);
        }

        if (!Operands.Load(vcpu, instruction, 1, 2, out ulong selector)
            || !Examine(vcpu, (ushort)selector, out Descriptor descriptor, out bool valid))
        {
            return AssistResult.Fault;
        }

        if (valid && descriptor.IsSystem)
        {
            bool isLong = CpuMode.IsLong(cpu);
            bool both = descriptor.Type is 2 or 9 or 11 || (!isLong && descriptor.Type is 1 or 3);
            valid = both || (!limit && (descriptor.Type == 12 || (!isLong && descriptor.Type is 4 or 5)));
        }

        SetZero(cpu, valid);
        if (valid)
        {
            // SDM vol. 2, "LAR", leaves bits 19:16 undefined; AMD's CPUs show those of the limit.
            ulong rights = (descriptor.Low >> 32) & (vcpu.Cpuid.IsIntel ? 0x00F0_FF00u : 0x00FF_FF00u);
            ulong value = limit ? descriptor.Limit : rights;
            Operands.Write(cpu, instruction.Op0Register, value);
        }

        return AssistResult.Next;
    }

    /// <summary>VERR and VERW.</summary>
    internal static AssistResult Verify(SoftVcpu vcpu, in Instruction instruction, bool write)
    {
        if (CpuMode.IsRealLike(vcpu.Cpu))
        {
            return Outcome.Undefined(vcpu);
        }

        if (!Operands.Load(vcpu, instruction, 0, 2, out ulong selector)
            || !Examine(vcpu, (ushort)selector, out Descriptor descriptor, out bool valid))
        {
            return AssistResult.Fault;
        }

        SetZero(vcpu.Cpu, valid && (write ? descriptor.IsWritableData : descriptor.IsReadable));
        return AssistResult.Next;
    }

    /// <summary>ARPL.</summary>
    internal static AssistResult Arpl(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        if (CpuMode.IsRealLike(cpu))
        {
            return Outcome.Undefined(vcpu);
        }

        ulong wanted = Operands.Read(cpu, instruction.Op1Register) & 3;
        ulong at = 0;
        bool memory = instruction.Op0Kind != OpKind.Register;
        ulong selector;
        if (memory)
        {
            if (!Segmentation.TryLinear(vcpu, instruction, 2, Access.Load, out at)
                || !Operands.LoadSized(vcpu, at, 2, Access.Load, out selector))
            {
                return AssistResult.Fault;
            }
        }
        else
        {
            selector = (ushort)Operands.Read(cpu, instruction.Op0Register);
        }

        bool raise = (selector & 3) < wanted;
        if (raise)
        {
            selector = (selector & ~3UL) | wanted;
            if (!memory)
            {
                // A 32-bit operand size still writes 16 bits.
                Operands.WriteMasked(cpu, instruction.Op0Register.GetNumber(), selector, 0xFFFF);
            }
            else if (!Segmentation.TryLinear(vcpu, instruction, 2, Access.Store, out at)
                || !vcpu.Mmu.Store(at, (ushort)selector))
            {
                return AssistResult.Fault;
            }
        }

        SetZero(cpu, raise);
        return AssistResult.Next;
    }

    private static void SetZero(CpuState* cpu, bool zero) =>
        cpu->ArithmeticFlags = (cpu->ArithmeticFlags & ~Rflags.Zf) | (zero ? Rflags.Zf : 0);

    private static bool LoadSystemSelector(SoftVcpu vcpu, in Instruction instruction, out ushort selector)
    {
        selector = 0;
        if (CpuMode.IsRealLike(vcpu.Cpu))
        {
            return vcpu.Raise(Vector.InvalidOpcode);
        }

        if (vcpu.Cpu->Cpl != 0)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        bool done = Operands.Load(vcpu, instruction, 0, 2, out ulong value);
        selector = (ushort)value;
        return done;
    }

    /// <summary>Reads a system descriptor, which must be in the GDT.</summary>
    private static bool LoadSystemDescriptor(SoftVcpu vcpu, ushort selector, out Descriptor descriptor)
    {
        descriptor = default;
        if ((selector & 4) != 0)
        {
            return vcpu.Raise(Vector.GeneralProtection, selector & 0xFFFCu);
        }

        return SegmentTables.Read(vcpu, selector, Vector.GeneralProtection, out descriptor)
            && (descriptor.IsSystem || vcpu.Raise(Vector.GeneralProtection, selector & 0xFFFCu));
    }

    /// <summary>Reads a descriptor that may be anything; only a page fault is a failure.</summary>
    private static bool Examine(SoftVcpu vcpu, ushort selector, out Descriptor descriptor, out bool valid)
    {
        CpuState* cpu = vcpu.Cpu;
        descriptor = default;
        valid = false;
        if (SegmentTables.IsNull(selector) || !SegmentTables.TryFind(cpu, selector, 8, out ulong linear))
        {
            return true;
        }

        if (!vcpu.Mmu.Load(linear, out ulong low, Access.System))
        {
            return false;
        }

        descriptor = new Descriptor(low, 0);
        int privilege = int.Max(cpu->Cpl, selector & 3);
        valid = descriptor.IsConforming || privilege <= descriptor.Dpl;
        return true;
    }
}
