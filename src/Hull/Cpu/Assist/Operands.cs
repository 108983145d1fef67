using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>General registers and memory operands of a decoded instruction.</summary>
internal static unsafe class Operands
{
    /// <summary>Reads a general register of any size, zero-extended.</summary>
    internal static ulong Read(CpuState* cpu, Register register) => register switch
    {
        >= Register.RAX and <= Register.R15 => cpu->Gpr[register - Register.RAX],
        >= Register.EAX and <= Register.R15D => (uint)cpu->Gpr[register - Register.EAX],
        >= Register.AX and <= Register.R15W => (ushort)cpu->Gpr[register - Register.AX],
        >= Register.AL and <= Register.BL => (byte)cpu->Gpr[register - Register.AL],
        >= Register.AH and <= Register.BH => (byte)(cpu->Gpr[register - Register.AH] >> 8),
        >= Register.SPL and <= Register.R15L => (byte)cpu->Gpr[register - Register.SPL + 4],
        _ => 0,
    };

    /// <summary>Writes a general register of any size; 32-bit writes clear the upper half.</summary>
    internal static void Write(CpuState* cpu, Register register, ulong value)
    {
        switch (register)
        {
            case >= Register.RAX and <= Register.R15:
                cpu->Gpr[register - Register.RAX] = value;
                break;
            case >= Register.EAX and <= Register.R15D:
                cpu->Gpr[register - Register.EAX] = (uint)value;
                break;
            case >= Register.AX and <= Register.R15W:
                WriteLow(cpu, register - Register.AX, value, 0xFFFF);
                break;
            case >= Register.AL and <= Register.BL:
                WriteLow(cpu, register - Register.AL, value, 0xFF);
                break;
            case >= Register.AH and <= Register.BH:
                WriteLow(cpu, register - Register.AH, value << 8, 0xFF00);
                break;
            case >= Register.SPL and <= Register.R15L:
                WriteLow(cpu, register - Register.SPL + 4, value, 0xFF);
                break;
        }
    }

    /// <summary>Writes the bits of a register that <paramref name="mask"/> has; a 32-bit mask clears the upper half.</summary>
    internal static void WriteMasked(CpuState* cpu, int register, ulong value, ulong mask)
    {
        if (mask >= uint.MaxValue)
        {
            cpu->Gpr[register] = value & mask;
        }
        else
        {
            WriteLow(cpu, register, value, mask);
        }
    }

    /// <summary>Writes the accumulator at an operand size of 1, 2, 4 or 8 bytes.</summary>
    internal static void WriteAccumulator(CpuState* cpu, ulong value, int size) =>
        WriteMasked(cpu, Gpr.Rax, value, SizeMask(size));

    /// <summary>All ones in <paramref name="size"/> bytes.</summary>
    internal static ulong SizeMask(int size) => size >= 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1;

    /// <summary>Loads operand <paramref name="index"/>, a general register or memory, zero-extended.</summary>
    internal static bool Load(SoftVcpu vcpu, in Instruction instruction, int index, int size, out ulong value)
    {
        if (instruction.GetOpKind(index) == OpKind.Register)
        {
            value = Read(vcpu.Cpu, instruction.GetOpRegister(index)) & SizeMask(size);
            return true;
        }

        value = 0;
        return Segmentation.TryLinear(vcpu, instruction, (uint)size, Access.Load, out ulong linear)
            && LoadSized(vcpu, linear, size, Access.Load, out value);
    }

    /// <summary>Stores to operand <paramref name="index"/>, a general register or memory.</summary>
    internal static bool Store(SoftVcpu vcpu, in Instruction instruction, int index, int size, ulong value)
    {
        if (instruction.GetOpKind(index) == OpKind.Register)
        {
            Write(vcpu.Cpu, instruction.GetOpRegister(index), value);
            return true;
        }

        return Segmentation.TryLinear(vcpu, instruction, (uint)size, Access.Store, out ulong linear)
            && StoreSized(vcpu, linear, size, value, Access.Store);
    }

    /// <summary>Loads 1, 2, 4 or 8 bytes from a linear address, zero-extended.</summary>
    internal static bool LoadSized(SoftVcpu vcpu, ulong linear, int size, Access access, out ulong value)
    {
        bool done;
        switch (size)
        {
            case 1:
                done = vcpu.Mmu.Load(linear, out byte b, access);
                value = b;
                return done;
            case 2:
                done = vcpu.Mmu.Load(linear, out ushort w, access);
                value = w;
                return done;
            case 4:
                done = vcpu.Mmu.Load(linear, out uint d, access);
                value = d;
                return done;
            default:
                return vcpu.Mmu.Load(linear, out value, access);
        }
    }

    /// <summary>Stores 1, 2, 4 or 8 bytes at a linear address.</summary>
    internal static bool StoreSized(SoftVcpu vcpu, ulong linear, int size, ulong value, Access access) => size switch
    {
        1 => vcpu.Mmu.Store(linear, (byte)value, access),
        2 => vcpu.Mmu.Store(linear, (ushort)value, access),
        4 => vcpu.Mmu.Store(linear, (uint)value, access),
        _ => vcpu.Mmu.Store(linear, value, access),
    };

    private static void WriteLow(CpuState* cpu, int register, ulong value, ulong mask) =>
        cpu->Gpr[register] = (cpu->Gpr[register] & ~mask) | (value & mask);
}
