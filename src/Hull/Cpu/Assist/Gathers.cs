using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// The AVX2 gathers. An element that was loaded is in the destination and its mask element is clear before the next one
/// is tried, so that a fault leaves a restartable instruction. SDM vol. 2C, "VPGATHERDD/VPGATHERQD".
/// </summary>
internal static unsafe class Gathers
{
    /// <summary>Any gather.</summary>
    internal static AssistResult Execute(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        Register target = instruction.Op0Register;
        Register index = instruction.MemoryIndex;
        Register selector = instruction.Op2Register;
        if (target.GetNumber() == index.GetNumber() || target.GetNumber() == selector.GetNumber()
            || index.GetNumber() == selector.GetNumber())
        {
            return Outcome.Undefined(vcpu);
        }

        bool wideIndex = instruction.Mnemonic is Mnemonic.Vgatherqps or Mnemonic.Vgatherqpd
            or Mnemonic.Vpgatherqd or Mnemonic.Vpgatherqq;
        int size = instruction.Mnemonic is Mnemonic.Vgatherdps or Mnemonic.Vgatherqps
            or Mnemonic.Vpgatherdd or Mnemonic.Vpgatherqd ? 4 : 8;
        Span<byte> data = stackalloc byte[32];
        Span<byte> mask = stackalloc byte[32];
        Span<byte> indexes = stackalloc byte[32];
        int length = VectorRegisters.Read(cpu, target, data);
        VectorRegisters.Read(cpu, selector, mask);
        int indexLength = VectorRegisters.Read(cpu, index, indexes);
        int count = Math.Min(length / size, indexLength / (wideIndex ? 8 : 4));
        bool done = true;
        for (int element = 0; element < count && done; element++)
        {
            int at = element * size;
            if (mask[at + size - 1] >= 0x80)
            {
                long distance = wideIndex
                    ? BitConverter.ToInt64(indexes[(element * 8)..])
                    : BitConverter.ToInt32(indexes[(element * 4)..]);
                done = LoadElement(vcpu, instruction, distance, data.Slice(at, size));
            }

            if (done)
            {
                mask.Slice(at, size).Clear();
            }
        }

        if (!done)
        {
            if (vcpu.Cpuid.IsIntel)
            {
                SpreadSigns(mask[..length], size);
            }

            VectorRegisters.Merge(cpu, target, data[..length]);
            VectorRegisters.Write(cpu, selector, mask[..length]);
            return AssistResult.Fault;
        }

        mask.Clear();
        data[(count * size)..].Clear();
        VectorRegisters.Write(cpu, target, data[..length]);
        VectorRegisters.Write(cpu, selector, mask[..length]);
        return AssistResult.Next;
    }

    // What Intel's CPUs leave in the mask after a fault: all bits of an element like its sign, which alone counts. AMD's
    // leave what is not done as it was.
    private static void SpreadSigns(Span<byte> mask, int size)
    {
        for (int at = 0; at < mask.Length; at += size)
        {
            mask.Slice(at, size).Fill(mask[at + size - 1] >= 0x80 ? (byte)0xFF : (byte)0);
        }
    }

    private static bool LoadElement(SoftVcpu vcpu, in Instruction instruction, long distance, Span<byte> element)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong offset = instruction.MemoryDisplacement64 + ((ulong)distance * (uint)instruction.MemoryIndexScale);
        Register origin = instruction.MemoryBase;
        if (origin != Register.None)
        {
            offset += cpu->Gpr[origin.GetNumber()];
        }

        bool narrow = origin is >= Register.EAX and <= Register.R15D
            || (origin == Register.None && instruction.MemoryDisplSize == 4);
        offset = narrow ? (uint)offset : offset;
        int segment = Segmentation.OperandSegment(cpu, instruction);
        return Segmentation.TryLinear(vcpu, segment, offset, (uint)element.Length, Access.Load, out ulong linear)
            && vcpu.Mmu.Load(linear, element);
    }
}
