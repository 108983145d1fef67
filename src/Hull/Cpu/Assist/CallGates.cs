using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;

namespace Hull.Cpu.Assist;

/// <summary>Far JMP and CALL through a call gate, to the same level or an inner one. SDM vol. 3A, "Call Gates".</summary>
internal static unsafe class CallGates
{
    /// <summary>Goes through a gate that the caller has checked.</summary>
    internal static bool Transfer(SoftVcpu vcpu, in Descriptor gate, bool call, ulong next)
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

        if (!CodeSegments.CheckOffset(vcpu, code, ref offset) || (call && !FarTransfer.PushReturn(vcpu, width, next, isLong)))
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
}
