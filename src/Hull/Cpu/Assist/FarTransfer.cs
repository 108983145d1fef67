using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// Far JMP, CALL and RET: real mode, code segments, call gates, tasks.
/// SDM vol. 2A, "CALL", "JMP"; vol. 2B, "RET"; vol. 3A, "Call Gates".
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

    /// <summary>RETF, with or without an immediate.</summary>
    internal static AssistResult Return(SoftVcpu vcpu, in Instruction instruction)
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
            Descriptor.CallGate or Descriptor.CallGate16 => TransferThroughGate(vcpu, target, call, next),
            Descriptor.TaskGate => TaskSwitch.Switch(vcpu, target.GateSelector, cause, next),
            _ => TaskSwitch.Switch(vcpu, selector, cause, next),
        };
    }

    private static bool TransferThroughGate(SoftVcpu vcpu, in Descriptor gate, bool call, ulong next)
    {
        CpuState* cpu = vcpu.Cpu;
        ushort selector = gate.GateSelector;
        if (SegmentTables.IsNull(selector))
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!SegmentTables.Read(vcpu, selector, Vector.GeneralProtection, out Descriptor code))
        {
            return false;
        }

        bool isLong = CpuMode.IsLong(cpu);
        bool inner = call && !code.IsConforming && code.Dpl < cpu->Cpl;
        bool allowed = code.IsCode && code.Dpl <= cpu->Cpl
            && (call || code.IsConforming || code.Dpl == cpu->Cpl)
            && (!isLong || (code.IsLong && !code.IsBig));
        if (!allowed)
        {
            return vcpu.Raise(Vector.GeneralProtection, selector & 0xFFFCu);
        }

        if (!code.IsPresent)
        {
            return vcpu.Raise(Vector.NotPresent, selector & 0xFFFCu);
        }

        int width = isLong ? 8 : gate.Type == Descriptor.CallGate ? 4 : 2;
        ulong offset = isLong ? gate.GateOffset64 : width == 4 ? gate.GateOffset : gate.GateOffset & 0xFFFF;
        if (!SegmentTables.SetAccessed(vcpu, selector, ref code))
        {
            return false;
        }

        if (inner)
        {
            return isLong
                ? CallInnerLong(vcpu, selector, code, offset, next)
                : CallInner(vcpu, gate, selector, code, offset, width, next);
        }

        if (!CodeSegments.CheckOffset(vcpu, code, ref offset) || (call && !PushReturn(vcpu, width, next, isLong)))
        {
            return false;
        }

        CodeSegments.LoadCs(cpu, selector, code, cpu->Cpl);
        cpu->Rip = offset;
        return true;
    }

    private static bool CallInnerLong(SoftVcpu vcpu, ushort selector, in Descriptor code, ulong offset, ulong next)
    {
        CpuState* cpu = vcpu.Cpu;
        int cpl = code.Dpl;
        if (!TaskState.LoadRsp(vcpu, cpl, out ulong rsp) || !CodeSegments.CheckOffset(vcpu, code, ref offset))
        {
            return false;
        }

        StackTarget target = new()
        {
            Pointer = rsp,
            Mask = ulong.MaxValue,
            Is64Bit = true,
            Access = Access.Stack | Access.System,
        };
        Span<ulong> storage = stackalloc ulong[4];
        StackFrame frame = new(target, 8, storage);
        frame.Push(cpu->Segments[Seg.Ss].Selector);
        frame.Push(cpu->Gpr[Gpr.Rsp]);
        frame.Push(cpu->Segments[Seg.Cs].Selector);
        frame.Push(next);
        if (!frame.Commit(vcpu))
        {
            return false;
        }

        cpu->Segments[Seg.Ss] = Descriptor.Null((ushort)cpl, cpl);
        CodeSegments.LoadCs(cpu, selector, code, cpl);
        cpu->Gpr[Gpr.Rsp] = frame.Pointer;
        cpu->Rip = offset;
        return true;
    }

    private static bool CallInner(
        SoftVcpu vcpu, in Descriptor gate, ushort selector, in Descriptor code, ulong offset, int width, ulong next)
    {
        CpuState* cpu = vcpu.Cpu;
        int cpl = code.Dpl;
        int count = gate.GateParameters;
        Span<ulong> parameters = stackalloc ulong[31];
        parameters = parameters[..count];
        if (!TaskState.LoadInnerStack(vcpu, cpl, out ushort ss, out uint esp)
            || !SegmentTables.FindStack(vcpu, ss, cpl, Vector.InvalidTss, out CpuSegment segment)
            || (count != 0 && !CurrentStack.Peek(vcpu, width, 0, parameters))
            || !CodeSegments.CheckOffset(vcpu, code, ref offset))
        {
            return false;
        }

        Span<ulong> storage = stackalloc ulong[35];
        StackFrame frame = new(StackTarget.Inner(segment, esp), width, storage);
        frame.Push(cpu->Segments[Seg.Ss].Selector);
        frame.Push(cpu->Gpr[Gpr.Rsp]);
        for (int index = count - 1; index >= 0; index--)
        {
            frame.Push(parameters[index]);
        }

        frame.Push(cpu->Segments[Seg.Cs].Selector);
        frame.Push(next);
        if (!frame.Commit(vcpu))
        {
            return false;
        }

        cpu->Segments[Seg.Ss] = segment;
        CodeSegments.LoadCs(cpu, selector, code, cpl);
        CurrentStack.SetPointer(cpu, frame.Pointer);
        cpu->Rip = offset;
        return true;
    }

    private static bool PushReturn(SoftVcpu vcpu, int width, ulong next, bool wideStack = false)
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
