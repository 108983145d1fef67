using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>Old and rare ones: BCD arithmetic, XLAT, SALC, BOUND, PUSHA, POPA, ENTER. SDM vol. 2.</summary>
internal static unsafe class Legacy
{
    private const ulong Aligned = Rflags.Af | Rflags.Cf;

    /// <summary>AAA and AAS. OF, SF, ZF, PF are undefined; they stay.</summary>
    internal static AssistResult AsciiAdjust(SoftVcpu vcpu, bool subtract)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong ax = (ushort)cpu->Gpr[Gpr.Rax];
        bool adjust = (ax & 15) > 9 || (cpu->ArithmeticFlags & Rflags.Af) != 0;
        if (adjust)
        {
            ax = subtract ? ax - 0x106 : ax + 0x106;
        }

        cpu->ArithmeticFlags = (cpu->ArithmeticFlags & ~Aligned) | (adjust ? Aligned : 0);
        Operands.WriteMasked(cpu, Gpr.Rax, ax & 0xFF0F, 0xFFFF);
        return AssistResult.Next;
    }

    /// <summary>DAA and DAS. OF is undefined; it stays.</summary>
    internal static AssistResult DecimalAdjust(SoftVcpu vcpu, bool subtract)
    {
        CpuState* cpu = vcpu.Cpu;
        uint al = (byte)cpu->Gpr[Gpr.Rax];
        uint old = al;
        bool carry = (cpu->ArithmeticFlags & Rflags.Cf) != 0;
        bool oldCarry = carry;
        bool half = (al & 15) > 9 || (cpu->ArithmeticFlags & Rflags.Af) != 0;
        if (half)
        {
            carry = oldCarry || (subtract ? al < 6 : al > 0xF9);
            al = (byte)(subtract ? al - 6 : al + 6);
        }

        if (old > 0x99 || oldCarry)
        {
            al = (byte)(subtract ? al - 0x60 : al + 0x60);
            carry = true;
        }
        else if (!half || !subtract)
        {
            carry = false;
        }

        ulong flags = FlagArithmetic.SignZeroParity(al, 1) | (half ? Rflags.Af : 0) | (carry ? Rflags.Cf : 0);
        cpu->ArithmeticFlags = (cpu->ArithmeticFlags & Rflags.Of) | flags;
        Operands.WriteMasked(cpu, Gpr.Rax, al, 0xFF);
        return AssistResult.Next;
    }

    /// <summary>AAM: #DE when the divisor is 0. OF, AF, CF are undefined; they stay.</summary>
    internal static AssistResult Aam(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        uint divisor = instruction.Immediate8;
        if (divisor == 0)
        {
            vcpu.Raise(Vector.DivideError);
            return AssistResult.Fault;
        }

        uint al = (byte)cpu->Gpr[Gpr.Rax];
        SetAdjusted(cpu, ((al / divisor) << 8) | (al % divisor));
        return AssistResult.Next;
    }

    /// <summary>AAD. OF, AF, CF are undefined; they stay.</summary>
    internal static AssistResult Aad(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        uint ax = (ushort)cpu->Gpr[Gpr.Rax];
        SetAdjusted(cpu, (byte)((ax & 0xFF) + ((ax >> 8) * instruction.Immediate8)));
        return AssistResult.Next;
    }

    /// <summary>SALC: AL becomes 0 or FFh by CF.</summary>
    internal static AssistResult Salc(SoftVcpu vcpu)
    {
        CpuState* cpu = vcpu.Cpu;
        Operands.WriteMasked(cpu, Gpr.Rax, (cpu->ArithmeticFlags & Rflags.Cf) != 0 ? 0xFFu : 0, 0xFF);
        return AssistResult.Next;
    }

    /// <summary>XLAT: AL = [rBX + AL].</summary>
    internal static AssistResult Xlat(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong offset = cpu->Gpr[Gpr.Rbx] + (byte)cpu->Gpr[Gpr.Rax];
        offset &= Segmentation.AddressMask(instruction);
        int segment = Segmentation.OperandSegment(cpu, instruction);
        if (!Segmentation.TryLinear(vcpu, segment, offset, 1, Access.Load, out ulong linear)
            || !vcpu.Mmu.Load(linear, out byte value))
        {
            return AssistResult.Fault;
        }

        Operands.WriteMasked(cpu, Gpr.Rax, value, 0xFF);
        return AssistResult.Next;
    }

    /// <summary>BOUND: #BR when the signed index is outside.</summary>
    internal static AssistResult Bound(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int size = instruction.Op0Register.GetSize();
        int segment = Segmentation.OperandSegment(cpu, instruction);
        ulong offset = Segmentation.Offset(cpu, instruction);
        ulong second = (offset + (uint)size) & Segmentation.AddressMask(instruction);
        long index = Extend(Operands.Read(cpu, instruction.Op0Register), size);
        if (!LoadBound(vcpu, segment, offset, size, out long low))
        {
            return AssistResult.Fault;
        }

        // The upper limit is looked at only when the lower one is kept.
        if (index >= low)
        {
            if (!LoadBound(vcpu, segment, second, size, out long high))
            {
                return AssistResult.Fault;
            }

            if (index <= high)
            {
                return AssistResult.Next;
            }
        }

        vcpu.Raise(Vector.Bound);
        return AssistResult.Fault;
    }

    private static bool LoadBound(SoftVcpu vcpu, int segment, ulong offset, int size, out long bound)
    {
        ulong value = 0;
        bool done = Segmentation.TryLinear(vcpu, segment, offset, (uint)size, Access.Load, out ulong linear)
            && Operands.LoadSized(vcpu, linear, size, Access.Load, out value);
        bound = Extend(value, size);
        return done;
    }

    /// <summary>PUSHA and PUSHAD.</summary>
    internal static AssistResult PushAll(SoftVcpu vcpu, int width)
    {
        CpuState* cpu = vcpu.Cpu;
        Span<ulong> storage = stackalloc ulong[8];
        StackFrame frame = new(StackTarget.Current(cpu), width, storage);
        for (int register = 0; register < 8; register++)
        {
            frame.Push(cpu->Gpr[register]);
        }

        if (!frame.Commit(vcpu))
        {
            return AssistResult.Fault;
        }

        CurrentStack.SetPointer(cpu, frame.Pointer);
        return AssistResult.Next;
    }

    /// <summary>POPA and POPAD: the slot of SP is skipped.</summary>
    internal static AssistResult PopAll(SoftVcpu vcpu, int width)
    {
        CpuState* cpu = vcpu.Cpu;
        Span<ulong> values = stackalloc ulong[8];
        if (!CurrentStack.Peek(vcpu, width, 0, values))
        {
            return AssistResult.Fault;
        }

        for (int register = 0; register < 8; register++)
        {
            if (register != Gpr.Rsp)
            {
                Operands.WriteMasked(cpu, register, values[7 - register], Operands.SizeMask(width));
            }
        }

        CurrentStack.Release(cpu, (uint)(8 * width));
        return AssistResult.Next;
    }

    /// <summary>
    /// ENTER, with its copies of outer frame pointers. Pushes happen one by one: a copy may read what was just pushed.
    /// The registers change last, so that a fault leaves a restartable instruction.
    /// </summary>
    internal static AssistResult Enter(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int width = instruction.Code switch
        {
            Code.Enterw_imm16_imm8 => 2,
            Code.Enterd_imm16_imm8 => 4,
            _ => 8,
        };
        uint allocate = instruction.Immediate16;
        int level = instruction.Immediate8_2nd & 31;
        StackTarget target = StackTarget.Current(cpu);
        ulong frameAt = (target.Pointer - (uint)width) & target.Mask;
        ulong pointer = frameAt;
        if (!StoreFrameWord(vcpu, target, pointer, width, cpu->Gpr[Gpr.Rbp]))
        {
            return AssistResult.Fault;
        }

        ulong bp = cpu->Gpr[Gpr.Rbp] & target.Mask;
        for (int index = 1; index <= level; index++)
        {
            ulong outer = frameAt;
            bp = (bp - (uint)width) & target.Mask;
            pointer = (pointer - (uint)width) & target.Mask;
            if ((index < level && !LoadFrameWord(vcpu, target, bp, width, out outer))
                || !StoreFrameWord(vcpu, target, pointer, width, outer))
            {
                return AssistResult.Fault;
            }
        }

        // The manual asks for a store to the new top of the stack to be possible, and makes none.
        ulong top = (pointer - allocate) & target.Mask;
        if (!target.TryLinear(vcpu, top, (uint)width, Access.Store, out ulong topLinear)
            || !vcpu.Mmu.Probe(topLinear, width, Access.Store | Access.Stack))
        {
            return AssistResult.Fault;
        }

        Operands.WriteMasked(cpu, Gpr.Rbp, frameAt, Operands.SizeMask(width) & target.Mask);
        CurrentStack.SetPointer(cpu, top);
        return AssistResult.Next;
    }

    private static bool LoadFrameWord(SoftVcpu vcpu, in StackTarget target, ulong offset, int width, out ulong value)
    {
        value = 0;
        return target.TryLinear(vcpu, offset, (uint)width, Access.Load, out ulong linear)
            && Operands.LoadSized(vcpu, linear, width, Access.Stack, out value);
    }

    private static bool StoreFrameWord(SoftVcpu vcpu, in StackTarget target, ulong offset, int width, ulong value) =>
        target.TryLinear(vcpu, offset, (uint)width, Access.Store, out ulong linear)
        && Operands.StoreSized(vcpu, linear, width, value, Access.Store | Access.Stack);

    private static void SetAdjusted(CpuState* cpu, uint ax)
    {
        const ulong kept = Rflags.Of | Rflags.Af | Rflags.Cf;
        cpu->ArithmeticFlags = (cpu->ArithmeticFlags & kept) | FlagArithmetic.SignZeroParity((byte)ax, 1);
        Operands.WriteMasked(cpu, Gpr.Rax, ax, 0xFFFF);
    }

    private static long Extend(ulong value, int size) => size == 2 ? (short)value : (int)value;
}
