using System;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>Far RET: real mode, the same level, an outer one. SDM vol. 2B, "RET".</summary>
internal static unsafe class FarReturn
{
    /// <summary>RETF, with or without an immediate.</summary>
    internal static AssistResult Execute(SoftVcpu vcpu, in Instruction instruction)
    {
        int width = instruction.Code switch
        {
            Code.Retfw or Code.Retfw_imm16 => 2,
            Code.Retfd or Code.Retfd_imm16 => 4,
            _ => 8,
        };
        uint release = instruction.OpCount == 0 ? 0u : instruction.Immediate16;
        Span<ulong> popped = stackalloc ulong[2];

        // Two bytes of the selector's slot are read, whatever the operand size; the limit must hold the whole slot.
        // SDM vol. 2, "RET".
        if (!CurrentStack.IsInside(vcpu, (uint)(2 * width))
            || !CurrentStack.Peek(vcpu, width, 0, popped[..1])
            || !CurrentStack.Peek(vcpu, 2, (uint)width, popped[1..]))
        {
            return AssistResult.Fault;
        }

        bool done = CpuMode.IsRealLike(vcpu.Cpu)
            ? ReturnReal(vcpu, popped, width, release)
            : ReturnProtected(vcpu, popped, width, release);
        return done ? AssistResult.Jump : AssistResult.Fault;
    }

    private static bool ReturnReal(SoftVcpu vcpu, ReadOnlySpan<ulong> popped, int width, uint release)
    {
        CpuState* cpu = vcpu.Cpu;
        if (popped[0] > cpu->Segments[Seg.Cs].Limit)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        CurrentStack.Release(cpu, (uint)(2 * width) + release);
        CodeSegments.LoadRealCs(cpu, (ushort)popped[1]);
        cpu->Rip = popped[0];
        return true;
    }

    private static bool ReturnProtected(SoftVcpu vcpu, ReadOnlySpan<ulong> popped, int width, uint release)
    {
        CpuState* cpu = vcpu.Cpu;
        ushort selector = (ushort)popped[1];
        ulong offset = popped[0];
        if (!CodeSegments.FindForReturn(vcpu, selector, out Descriptor code))
        {
            return false;
        }

        int rpl = selector & 3;
        if (rpl == cpu->Cpl)
        {
            if (!CodeSegments.CheckOffset(vcpu, code, ref offset)
                || !SegmentTables.SetAccessed(vcpu, selector, ref code))
            {
                return false;
            }

            CurrentStack.Release(cpu, (uint)(2 * width) + release);
            CodeSegments.LoadCs(cpu, selector, code, rpl);
            cpu->Rip = offset;
            return true;
        }

        Span<ulong> outer = stackalloc ulong[2];
        if (!CurrentStack.Peek(vcpu, width, (uint)(2 * width) + release, outer)
            || !CodeSegments.FindReturnStack(vcpu, (ushort)outer[1], rpl, code, out CpuSegment stack)
            || !CodeSegments.CheckOffset(vcpu, code, ref offset)
            || !SegmentTables.SetAccessed(vcpu, selector, ref code))
        {
            return false;
        }

        CodeSegments.LoadCs(cpu, selector, code, rpl);
        cpu->Segments[Seg.Ss] = stack;
        CurrentStack.SetPointer(cpu, outer[0] + release);
        SegmentTables.DropInaccessible(cpu);
        cpu->Rip = offset;
        return true;
    }
}
