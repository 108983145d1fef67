using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// From an instruction's memory operand to a linear address: effective address, segment base, limit and type checks,
/// canonical check. SDM vol. 3A, "Limit Checking", "Type Checking"; vol. 1, "Canonical Addressing".
/// </summary>
internal static unsafe class Segmentation
{
    /// <summary>The linear address of the memory operand; false when a fault was recorded.</summary>
    internal static bool TryLinear(
        SoftVcpu vcpu, in Instruction instruction, uint size, Access access, out ulong linear) =>
        TryLinear(vcpu, OperandSegment(vcpu.Cpu, instruction), Offset(vcpu.Cpu, instruction), size, access, out linear);

    /// <summary>The linear address of [segment:offset, size bytes); false when a fault was recorded.</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="segment">The index of the segment register.</param>
    /// <param name="offset">The offset, truncated to the address size.</param>
    /// <param name="size">Bytes, at least 1.</param>
    /// <param name="access">Load or store, for the type check.</param>
    /// <param name="linear">The address.</param>
    internal static bool TryLinear(
        SoftVcpu vcpu, int segment, ulong offset, uint size, Access access, out ulong linear)
    {
        CpuState* cpu = vcpu.Cpu;
        if (CpuMode.Is64Bit(cpu))
        {
            linear = segment >= Seg.Fs ? cpu->Segments[segment].Base + offset : offset;
            if (!CpuMode.IsCanonical(linear) || !CpuMode.IsCanonical(linear + size - 1))
            {
                return Refuse(vcpu, segment);
            }
        }
        else
        {
            ref CpuSegment register = ref cpu->Segments[segment];
            linear = (uint)(register.Base + offset);
            if (!IsInside(cpu, register, offset, size, access))
            {
                return Refuse(vcpu, segment);
            }
        }

        return !ChecksAlignment(cpu) || IsAligned(vcpu, linear, size);
    }

    /// <summary>
    /// The same for an operand that must be aligned: #GP comes before the #SS of a limit, as on the CPUs that we measured.
    /// </summary>
    internal static bool TryAligned(
        SoftVcpu vcpu, in Instruction instruction, uint size, uint alignment, Access access, out ulong linear)
    {
        bool inside = TryLinear(vcpu, instruction, size, access, out linear);
        bool aligned = (linear & (alignment - 1)) == 0;
        return aligned || !(inside || vcpu.Pending.Vector == Vector.Stack)
            ? inside
            : vcpu.Raise(Vector.GeneralProtection, 0);
    }

    /// <summary>CPL 3 with CR0.AM and EFLAGS.AC: data accesses must be aligned.</summary>
    internal static bool ChecksAlignment(CpuState* cpu) =>
        (cpu->SystemFlags & Rflags.Ac) != 0 && cpu->Cpl == 3 && (cpu->Cr0 & Cr0.Am) != 0;

    /// <summary>
    /// Checks an operand's alignment; false when #AC was recorded. Operands of 16 bytes and more, and pseudo-descriptors,
    /// are not checked, as on the CPUs that we measured; x87 environments by 4 bytes. SDM vol. 3A, "Exception 17".
    /// </summary>
    internal static bool IsAligned(SoftVcpu vcpu, ulong linear, uint size)
    {
        uint mask = size switch
        {
            2 or 4 or 8 => size - 1,
            14 or 94 => 1,
            28 or 108 or 512 => 3,
            _ => 0,
        };
        return (linear & mask) == 0 || vcpu.Raise(Vector.Alignment, 0);
    }

    /// <summary>True when an access to a segment outside 64-bit mode passes the type and limit checks.</summary>
    internal static bool IsInside(CpuState* cpu, in CpuSegment register, ulong offset, uint size, Access access)
    {
        uint attributes = register.Attributes;
        if (!CpuMode.IsRealLike(cpu))
        {
            if ((attributes & SegmentAttributes.Unusable) != 0)
            {
                return false;
            }

            bool code = (attributes & SegmentAttributes.Code) != 0;
            bool second = (attributes & SegmentAttributes.WritableOrReadable) != 0;
            if ((access & Access.Store) != 0 ? code || !second : code && !second)
            {
                return false;
            }
        }

        return IsWithinLimit(register, offset, size);
    }

    /// <summary>The limit check alone.</summary>
    internal static bool IsWithinLimit(in CpuSegment register, ulong offset, uint size)
    {
        ulong last = offset + size - 1;
        const uint expandDown = SegmentAttributes.Code | SegmentAttributes.ExpandDownOrConforming;
        if ((register.Attributes & expandDown) == SegmentAttributes.ExpandDownOrConforming)
        {
            ulong top = (register.Attributes & SegmentAttributes.Big) != 0 ? uint.MaxValue : 0xFFFF;
            return offset > register.Limit && last <= top;
        }

        // A flat segment wraps at 4 GiB instead of faulting; the manual leaves that to the implementation.
        return last <= register.Limit || register.Limit == uint.MaxValue;
    }

    /// <summary>
    /// The segment of the memory operand. In 64-bit mode prefixes other than FS and GS mean nothing: RSP and RBP as base
    /// go through SS. SDM vol. 1, "Segmentation in 64-Bit Mode".
    /// </summary>
    internal static int OperandSegment(CpuState* cpu, in Instruction instruction)
    {
        int segment = instruction.MemorySegment - Register.ES;
        if (!CpuMode.Is64Bit(cpu) || segment >= Seg.Fs)
        {
            return segment;
        }

        return instruction.MemoryBase is Register.RSP or Register.RBP or Register.ESP or Register.EBP ? Seg.Ss : Seg.Ds;
    }

    /// <summary>The effective address: base + index * scale + displacement, truncated to the address size.</summary>
    internal static ulong Offset(CpuState* cpu, in Instruction instruction)
    {
        ulong offset = instruction.MemoryDisplacement64;
        Register baseRegister = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        if (baseRegister == Register.RIP)
        {
            return offset;
        }

        if (baseRegister is not (Register.None or Register.EIP))
        {
            offset += cpu->Gpr[baseRegister.GetNumber()];
        }

        if (index != Register.None)
        {
            offset += cpu->Gpr[index.GetNumber()] * (uint)instruction.MemoryIndexScale;
        }

        return offset & AddressMask(instruction);
    }

    /// <summary>The mask of the address size of an instruction with a ModRM or moffs memory operand.</summary>
    internal static ulong AddressMask(in Instruction instruction)
    {
        Register register = instruction.MemoryBase != Register.None ? instruction.MemoryBase : instruction.MemoryIndex;
        return register switch
        {
            >= Register.AX and <= Register.R15W => 0xFFFF,
            >= Register.EAX and <= Register.R15D or Register.EIP => uint.MaxValue,
            >= Register.RAX and <= Register.R15 or Register.RIP => ulong.MaxValue,
            _ => instruction.MemoryDisplSize switch
            {
                2 => 0xFFFF,
                4 => uint.MaxValue,
                _ => ulong.MaxValue,
            },
        };
    }

    private static bool Refuse(SoftVcpu vcpu, int segment) =>
        vcpu.Raise(segment == Seg.Ss ? Vector.Stack : Vector.GeneralProtection, 0);
}
