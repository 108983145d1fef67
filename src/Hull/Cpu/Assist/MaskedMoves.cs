using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// MASKMOVQ, MASKMOVDQU, VMASKMOVDQU: bytes that a mask selects go to DS:rDI. VMASKMOVPS and its kin: elements that a
/// mask selects go to or come from memory, and only those can fault. SDM vol. 2.
/// </summary>
internal static unsafe class MaskedMoves
{
    /// <summary>MASKMOVDQU and VMASKMOVDQU.</summary>
    internal static AssistResult Xmm(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        byte* registers = (byte*)&cpu->Xmm;
        // SAFETY: register numbers are 0-15 and the file is 16 x 16 bytes.
        ReadOnlySpan<byte> source = new(registers + ((instruction.Op1Register - Register.XMM0) * 16), 16);
        ReadOnlySpan<byte> mask = new(registers + ((instruction.Op2Register - Register.XMM0) * 16), 16);
        return Outcome.NextIf(Store(vcpu, instruction, source, mask));
    }

    /// <summary>MASKMOVQ: also switches the x87 stack to MMX, as every MMX instruction does.</summary>
    internal static AssistResult Mmx(SoftVcpu vcpu, in Instruction instruction)
    {
        X87State.Capture(vcpu);
        byte* image = X87State.Image(vcpu.Cpu);
        ushort* status = (ushort*)(image + X87State.StatusWord);
        int top = X87State.Top(image);
        byte* source = MmxRegister(image, top, instruction.Op1Register);
        byte* mask = MmxRegister(image, top, instruction.Op2Register);
        // SAFETY: both lie in the eight stack slots of the 512-byte image.
        if (!Store(vcpu, instruction, new ReadOnlySpan<byte>(source, 8), new ReadOnlySpan<byte>(mask, 8)))
        {
            return AssistResult.Fault;
        }

        X87State.Renumber(image, top, 0);
        *status &= unchecked((ushort)~0x3800);
        image[X87State.Tags] = 0xFF;
        X87State.Load(vcpu);
        return AssistResult.Next;
    }

    /// <summary>VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ, in both directions.</summary>
    internal static AssistResult Avx(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int size = instruction.Mnemonic is Mnemonic.Vmaskmovps or Mnemonic.Vpmaskmovd ? 4 : 8;
        bool store = instruction.Op0Kind == OpKind.Memory;
        Span<byte> data = stackalloc byte[32];
        Span<byte> mask = stackalloc byte[32];
        int length = VectorRegisters.Read(cpu, instruction.Op1Register, mask);
        if (store)
        {
            VectorRegisters.Read(cpu, instruction.Op2Register, data);
        }
        else
        {
            data.Clear();
        }

        if (!ForEachSelected(vcpu, instruction, mask[..length], data, size, store))
        {
            return AssistResult.Fault;
        }

        if (!store)
        {
            VectorRegisters.Write(cpu, instruction.Op0Register, data[..length]);
        }

        return AssistResult.Next;
    }

    /// <summary>Stores are all or nothing: a first pass checks, a second one writes.</summary>
    private static bool ForEachSelected(
        SoftVcpu vcpu, in Instruction instruction, ReadOnlySpan<byte> mask, Span<byte> data, int size, bool store)
    {
        int segment = Segmentation.OperandSegment(vcpu.Cpu, instruction);
        ulong offset = Segmentation.Offset(vcpu.Cpu, instruction);
        ulong addressMask = Segmentation.AddressMask(instruction);
        Access access = store ? Access.Store : Access.Load;
        for (int pass = store ? 0 : 1; pass < 2; pass++)
        {
            for (int at = 0; at < mask.Length; at += size)
            {
                if (mask[at + size - 1] < 0x80)
                {
                    continue;
                }

                ulong element = (offset + (uint)at) & addressMask;
                bool done = Segmentation.TryLinear(vcpu, segment, element, (uint)size, access, out ulong linear)
                    && (pass == 0 ? vcpu.Mmu.Probe(linear, size, access)
                        : store ? vcpu.Mmu.Store(linear, data.Slice(at, size))
                        : vcpu.Mmu.Load(linear, data.Slice(at, size)));
                if (!done)
                {
                    return false;
                }
            }
        }

        return true;
    }

    private static byte* MmxRegister(byte* image, int top, Register register) =>
        image + X87State.Stack + (((register - Register.MM0 - top) & 7) * 16);

    // All bytes are checked, whatever the mask selects: Intel's CPUs fault with a mask of zeros too, and SDM vol. 2,
    // "MASKMOVDQU", leaves that to the implementation.
    private static bool Store(
        SoftVcpu vcpu, in Instruction instruction, ReadOnlySpan<byte> source, ReadOnlySpan<byte> mask)
    {
        OpKind kind = instruction.Op0Kind;
        ulong offset = vcpu.Cpu->Gpr[Gpr.Rdi] & Strings.AddressMask(kind);
        int segment = Segmentation.OperandSegment(vcpu.Cpu, instruction);
        int length = source.Length;
        if (!Segmentation.TryLinear(vcpu, segment, offset, (uint)length, Access.Store, out ulong linear)
            || !vcpu.Mmu.Probe(linear, length, Access.Store))
        {
            return false;
        }

        for (int index = 0; index < length; index++)
        {
            if (mask[index] >= 0x80 && !vcpu.Mmu.Store(linear + (uint)index, source[index]))
            {
                return false;
            }
        }

        return true;
    }
}
