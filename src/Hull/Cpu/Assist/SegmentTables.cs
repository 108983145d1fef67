using Hull.Cpu.Mmu;
using Hull.Cpu.State;

namespace Hull.Cpu.Assist;

/// <summary>
/// Reads descriptors from the GDT and LDT and loads data segment registers. A method that returns false has recorded
/// the fault. SDM vol. 3A, "Protection".
/// </summary>
internal static unsafe class SegmentTables
{
    /// <summary>True for the null selectors 0-3.</summary>
    internal static bool IsNull(ushort selector) => selector < 4;

    /// <summary>Finds a descriptor of <paramref name="bytes"/> bytes; false (nothing recorded) when it is outside its table.</summary>
    internal static bool TryFind(CpuState* cpu, ushort selector, uint bytes, out ulong linear)
    {
        uint offset = selector & 0xFFF8u;
        ulong limit = cpu->Gdtr.Limit;
        linear = cpu->Gdtr.Base + offset;
        if ((selector & 4) != 0)
        {
            linear = cpu->Ldtr.Base + offset;
            limit = cpu->Ldtr.Limit;
            if ((cpu->Ldtr.Attributes & (SegmentAttributes.Unusable | SegmentAttributes.Present)) != SegmentAttributes.Present)
            {
                return false;
            }
        }

        return offset + bytes - 1 <= limit;
    }

    /// <summary>
    /// Reads the descriptor of a selector that is not null; system descriptors have 16 bytes in IA-32e mode. Outside
    /// its table it raises <paramref name="vector"/> with the selector.
    /// </summary>
    internal static bool Read(SoftVcpu vcpu, ushort selector, byte vector, out Descriptor descriptor)
    {
        descriptor = default;
        if (!TryFind(vcpu.Cpu, selector, 8, out ulong linear))
        {
            return vcpu.Raise(vector, selector & 0xFFFCu);
        }

        if (!vcpu.Mmu.Load(linear, out ulong low, Access.System))
        {
            return false;
        }

        ulong high = 0;
        descriptor = new Descriptor(low, 0);
        if (descriptor.IsSystem && CpuMode.IsLong(vcpu.Cpu))
        {
            if (!TryFind(vcpu.Cpu, selector, 16, out _))
            {
                return vcpu.Raise(vector, selector & 0xFFFCu);
            }

            if (!vcpu.Mmu.Load(linear + 8, out high, Access.System))
            {
                return false;
            }
        }

        descriptor = new Descriptor(low, high);
        return true;
    }

    /// <summary>Sets the accessed bit of a segment descriptor in its table, if it is not yet.</summary>
    internal static bool SetAccessed(SoftVcpu vcpu, ushort selector, ref Descriptor descriptor)
    {
        if (descriptor.IsAccessed)
        {
            return true;
        }

        descriptor = descriptor with { Low = descriptor.Low | (1UL << 40) };
        return !TryFind(vcpu.Cpu, selector, 8, out ulong linear)
            || vcpu.Mmu.Store(linear + 5, (byte)(descriptor.Low >> 40), Access.System | Access.Store);
    }

    /// <summary>Changes the type of a TSS in its table to busy or available.</summary>
    internal static bool SetBusy(SoftVcpu vcpu, ushort selector, Descriptor descriptor, bool busy)
    {
        ulong low = busy ? descriptor.Low | (2UL << 40) : descriptor.Low & ~(2UL << 40);
        return !TryFind(vcpu.Cpu, selector, 8, out ulong linear)
            || vcpu.Mmu.Store(linear + 5, (byte)(low >> 40), Access.System | Access.Store);
    }

    /// <summary>Loads ES, SS, DS, FS or GS as MOV, POP and the far-pointer loads do, in every mode.</summary>
    internal static bool LoadData(SoftVcpu vcpu, int register, ushort selector)
    {
        if (!FindData(vcpu, register, selector, out CpuSegment segment))
        {
            return false;
        }

        vcpu.Cpu->Segments[register] = segment;
        return true;
    }

    /// <summary>As <see cref="LoadData"/>, but only computes what the register becomes (the accessed bit is set).</summary>
    internal static bool FindData(SoftVcpu vcpu, int register, ushort selector, out CpuSegment segment)
    {
        CpuState* cpu = vcpu.Cpu;
        if (CpuMode.IsVirtual8086(cpu))
        {
            segment = Descriptor.Virtual8086(selector);
            return true;
        }

        if (!CpuMode.IsProtected(cpu))
        {
            // Limit and attributes stay: that is what makes "unreal mode".
            segment = cpu->Segments[register];
            segment.Selector = selector;
            segment.Base = (ulong)selector << 4;
            segment.Attributes &= ~SegmentAttributes.Unusable;
            return true;
        }

        return register == Seg.Ss
            ? FindStack(vcpu, selector, cpu->Cpl, Vector.GeneralProtection, out segment)
            : FindOrdinary(vcpu, selector, Vector.GeneralProtection, out segment);
    }

    /// <summary>
    /// Checks a selector for SS at a privilege level. <paramref name="vector"/> is #GP, or #TS where the selector comes from
    /// a TSS.
    /// </summary>
    internal static bool FindStack(SoftVcpu vcpu, ushort selector, int cpl, byte vector, out CpuSegment segment)
    {
        segment = default;
        if (IsNull(selector))
        {
            if (CpuMode.Is64Bit(vcpu.Cpu) && cpl != 3 && (selector & 3) == cpl && vector == Vector.GeneralProtection)
            {
                segment = Descriptor.Null(selector, cpl);
                return true;
            }

            return vcpu.Raise(vector, 0);
        }

        if (!Read(vcpu, selector, vector, out Descriptor descriptor))
        {
            return false;
        }

        if ((selector & 3) != cpl || !descriptor.IsWritableData || descriptor.Dpl != cpl)
        {
            return vcpu.Raise(vector, selector & 0xFFFCu);
        }

        if (!descriptor.IsPresent)
        {
            return vcpu.Raise(Vector.Stack, selector & 0xFFFCu);
        }

        if (!SetAccessed(vcpu, selector, ref descriptor))
        {
            return false;
        }

        segment = descriptor.ToSegment(selector);
        return true;
    }

    /// <summary>
    /// After a return to an outer level: data segments that the new level may not use become null.
    /// SDM vol. 2, "RET", RETURN-TO-OUTER-PRIVILEGE-LEVEL.
    /// </summary>
    internal static void DropInaccessible(CpuState* cpu)
    {
        DropInaccessible(cpu, Seg.Es);
        DropInaccessible(cpu, Seg.Ds);
        DropInaccessible(cpu, Seg.Fs);
        DropInaccessible(cpu, Seg.Gs);
    }

    private static void DropInaccessible(CpuState* cpu, int register)
    {
        uint attributes = cpu->Segments[register].Attributes;
        if ((attributes & SegmentAttributes.Unusable) != 0)
        {
            cpu->Segments[register].Selector = 0; // the privilege bits of a null selector go; FS and GS keep their base
            return;
        }

        const uint conforming = SegmentAttributes.Code | SegmentAttributes.ExpandDownOrConforming;
        if (((attributes >> 5) & 3) < cpu->Cpl && (attributes & conforming) != conforming)
        {
            cpu->Segments[register] = Descriptor.Null(0);
        }
    }

    /// <summary>
    /// Checks a selector for ES, DS, FS or GS. <paramref name="vector"/> is #GP, or #TS where the selector comes from a TSS.
    /// </summary>
    internal static bool FindOrdinary(SoftVcpu vcpu, ushort selector, byte vector, out CpuSegment segment)
    {
        segment = Descriptor.Null(selector);
        if (IsNull(selector))
        {
            return true;
        }

        if (!Read(vcpu, selector, vector, out Descriptor descriptor))
        {
            return false;
        }

        int privilege = int.Max(vcpu.Cpu->Cpl, selector & 3);
        if (!descriptor.IsReadable || (!descriptor.IsConforming && privilege > descriptor.Dpl))
        {
            return vcpu.Raise(vector, selector & 0xFFFCu);
        }

        if (!descriptor.IsPresent)
        {
            return vcpu.Raise(Vector.NotPresent, selector & 0xFFFCu);
        }

        if (!SetAccessed(vcpu, selector, ref descriptor))
        {
            return false;
        }

        segment = descriptor.ToSegment(selector);
        return true;
    }
}
