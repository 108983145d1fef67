using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// Far JMP and CALL: real mode, code segments, what leads to gates and tasks. SDM vol. 2A, "CALL", "JMP".
/// </summary>
internal static unsafe class FarTransfer
{
    /// <summary>JMP and CALL with a far pointer, direct or in memory.</summary>
    internal static AssistResult JumpOrCall(SoftVcpu vcpu, in Instruction instruction, bool call)
    {
        int width = instruction.Code switch
        {
            Code.Jmp_ptr1616 or Code.Call_ptr1616 or Code.Jmp_m1616 or Code.Call_m1616 => 2,
            Code.Jmp_m1664 or Code.Call_m1664 => 8,
            _ => 4,
        };
        if (!LoadTarget(vcpu, instruction, width, out ushort selector, out ulong offset))
        {
            return AssistResult.Fault;
        }

        ulong next = CpuMode.Next(vcpu.Cpu, instruction.Length);
        bool done = CpuMode.IsRealLike(vcpu.Cpu)
            ? TransferReal(vcpu, selector, offset, width, call, next)
            : TransferProtected(vcpu, selector, offset, width, call, next);
        return done ? AssistResult.Jump : AssistResult.Fault;
    }

    /// <summary>Pushes CS and the return address.</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="width">Bytes of a slot.</param>
    /// <param name="next">The return address.</param>
    /// <param name="wideStack">The pushes are those of 64-bit mode, whatever the mode is.</param>
    internal static bool PushReturn(SoftVcpu vcpu, int width, ulong next, bool wideStack = false)
    {
        CpuState* cpu = vcpu.Cpu;
        StackTarget target = StackTarget.Current(cpu);
        if (wideStack && !target.Is64Bit)
        {
            // A call gate from compatibility mode at the same level: the pushes are already those of 64-bit mode.
            target = target with { Is64Bit = true, Mask = ulong.MaxValue };
        }

        Span<ulong> storage = stackalloc ulong[2];
        StackFrame frame = new(target, width, storage);
        frame.Push(cpu->Segments[Seg.Cs].Selector);
        frame.Push(next);
        if (!frame.Commit(vcpu))
        {
            return false;
        }

        Operands.WriteMasked(cpu, Gpr.Rsp, frame.Pointer, target.Mask);
        return true;
    }

    private static bool LoadTarget(
        SoftVcpu vcpu, in Instruction instruction, int width, out ushort selector, out ulong offset)
    {
        selector = 0;
        offset = 0;
        switch (instruction.Op0Kind)
        {
            case OpKind.FarBranch16:
                selector = instruction.FarBranchSelector;
                offset = instruction.FarBranch16;
                return true;
            case OpKind.FarBranch32:
                selector = instruction.FarBranchSelector;
                offset = instruction.FarBranch32;
                return true;
            default:
                return Segmentation.TryLinear(vcpu, instruction, (uint)width + 2, Access.Load, out ulong at)
                    && Operands.LoadSized(vcpu, at, width, Access.Load, out offset)
                    && vcpu.Mmu.Load(at + (uint)width, out selector);
        }
    }

    private static bool TransferReal(
        SoftVcpu vcpu, ushort selector, ulong offset, int width, bool call, ulong next)
    {
        CpuState* cpu = vcpu.Cpu;
        if (offset > cpu->Segments[Seg.Cs].Limit)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (call && !PushReturn(vcpu, width, next))
        {
            return false;
        }

        CodeSegments.LoadRealCs(cpu, selector);
        cpu->Rip = offset;
        return true;
    }

    private static bool TransferProtected(
        SoftVcpu vcpu, ushort selector, ulong offset, int width, bool call, ulong next)
    {
        CpuState* cpu = vcpu.Cpu;
        if (SegmentTables.IsNull(selector))
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!SegmentTables.Read(vcpu, selector, Vector.GeneralProtection, out Descriptor target))
        {
            return false;
        }

        if (target.IsSystem)
        {
            return TransferThroughSystem(vcpu, selector, target, call, next);
        }

        int cpl = cpu->Cpl;
        bool allowed = target.IsCode && !(CpuMode.IsLong(cpu) && target.IsLong && target.IsBig)
            && (target.IsConforming ? target.Dpl <= cpl : (selector & 3) <= cpl && target.Dpl == cpl);
        if (!allowed)
        {
            return vcpu.Raise(Vector.GeneralProtection, selector & 0xFFFCu);
        }

        if (!target.IsPresent)
        {
            return vcpu.Raise(Vector.NotPresent, selector & 0xFFFCu);
        }

        if (!CodeSegments.CheckOffset(vcpu, target, ref offset)
            || !SegmentTables.SetAccessed(vcpu, selector, ref target)
            || (call && !PushReturn(vcpu, width, next)))
        {
            return false;
        }

        CodeSegments.LoadCs(cpu, selector, target, cpl);
        cpu->Rip = offset;
        return true;
    }

    private static bool TransferThroughSystem(
        SoftVcpu vcpu, ushort selector, in Descriptor target, bool call, ulong next)
    {
        bool isLong = CpuMode.IsLong(vcpu.Cpu);
        bool known = target.Type == Descriptor.CallGate || (!isLong && target.Type is Descriptor.CallGate16
            or Descriptor.TaskGate or Descriptor.Tss16Available or Descriptor.TssAvailable);
        if (!known || target.Dpl < vcpu.Cpu->Cpl || target.Dpl < (selector & 3))
        {
            return vcpu.Raise(Vector.GeneralProtection, selector & 0xFFFCu);
        }

        if (!target.IsPresent)
        {
            return vcpu.Raise(Vector.NotPresent, selector & 0xFFFCu);
        }

        TaskSwitchCause cause = call ? TaskSwitchCause.Call : TaskSwitchCause.Jump;
        return target.Type switch
        {
            Descriptor.CallGate or Descriptor.CallGate16 => CallGates.Transfer(vcpu, target, call, next),
            Descriptor.TaskGate => TaskSwitch.Switch(vcpu, target.GateSelector, cause, next),
            _ => TaskSwitch.Switch(vcpu, selector, cause, next),
        };
    }
}
