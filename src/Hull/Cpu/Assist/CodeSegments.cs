using Hull.Cpu.State;

namespace Hull.Cpu.Assist;

/// <summary>
/// What far transfers share: checks of the target's code segment and offset, loading CS, the outer stack of a return.
/// SDM vol. 3A, "Privilege Level Checking When Transferring Program Control Between Code Segments".
/// </summary>
internal static unsafe class CodeSegments
{
    /// <summary>Reads the code segment that a RET or IRET returns to; false when a fault was recorded.</summary>
    internal static bool FindForReturn(SoftVcpu vcpu, ushort selector, out Descriptor code)
    {
        code = default;
        int rpl = selector & 3;
        if (SegmentTables.IsNull(selector))
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!SegmentTables.Read(vcpu, selector, Vector.GeneralProtection, out code))
        {
            return false;
        }

        bool allowed = rpl >= vcpu.Cpu->Cpl && code.IsCode
            && (code.IsConforming ? code.Dpl <= rpl : code.Dpl == rpl)
            && !(CpuMode.IsLong(vcpu.Cpu) && code.IsLong && code.IsBig);
        if (!allowed)
        {
            return vcpu.Raise(Vector.GeneralProtection, selector & 0xFFFCu);
        }

        return code.IsPresent || vcpu.Raise(Vector.NotPresent, selector & 0xFFFCu);
    }

    /// <summary>True when code in a segment runs in 64-bit mode.</summary>
    internal static bool Is64Bit(CpuState* cpu, in Descriptor code) => CpuMode.IsLong(cpu) && code.IsLong;

    /// <summary>Checks the target offset: canonical in 64-bit mode, else within the limit. Raises #GP(0).</summary>
    internal static bool CheckOffset(SoftVcpu vcpu, in Descriptor code, ref ulong offset)
    {
        if (Is64Bit(vcpu.Cpu, code))
        {
            return CpuMode.IsCanonical(offset) || vcpu.Raise(Vector.GeneralProtection, 0);
        }

        offset = (uint)offset;
        return offset <= code.Limit || vcpu.Raise(Vector.GeneralProtection, 0);
    }

    /// <summary>Loads CS and the privilege level.</summary>
    internal static void LoadCs(CpuState* cpu, ushort selector, in Descriptor code, int cpl)
    {
        cpu->Segments[Seg.Cs] = code.ToSegment((ushort)((selector & ~3) | cpl));
        cpu->Cpl = (byte)cpl;
    }

    /// <summary>Loads CS in real or virtual-8086 mode.</summary>
    internal static void LoadRealCs(CpuState* cpu, ushort selector)
    {
        if (CpuMode.IsVirtual8086(cpu))
        {
            cpu->Segments[Seg.Cs] = Descriptor.Virtual8086(selector);
            return;
        }

        cpu->Segments[Seg.Cs].Selector = selector;
        cpu->Segments[Seg.Cs].Base = (ulong)selector << 4;
    }

    /// <summary>Checks SS of a return to level <paramref name="rpl"/>; null is good for 64-bit code above level 3.</summary>
    internal static bool FindReturnStack(
        SoftVcpu vcpu, ushort selector, int rpl, in Descriptor code, out CpuSegment segment)
    {
        segment = Descriptor.Null(selector, rpl);
        if (SegmentTables.IsNull(selector))
        {
            return (Is64Bit(vcpu.Cpu, code) && rpl != 3 && (selector & 3) == rpl)
                || vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!SegmentTables.Read(vcpu, selector, Vector.GeneralProtection, out Descriptor descriptor))
        {
            return false;
        }

        if ((selector & 3) != rpl || !descriptor.IsWritableData || descriptor.Dpl != rpl)
        {
            return vcpu.Raise(Vector.GeneralProtection, selector & 0xFFFCu);
        }

        if (!descriptor.IsPresent)
        {
            return vcpu.Raise(Vector.Stack, selector & 0xFFFCu);
        }

        if (!SegmentTables.SetAccessed(vcpu, selector, ref descriptor))
        {
            return false;
        }

        segment = descriptor.ToSegment(selector);
        return true;
    }
}
