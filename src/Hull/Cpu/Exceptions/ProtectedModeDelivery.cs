using System;
using Hull.Cpu.Assist;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;

namespace Hull.Cpu.Exceptions;

/// <summary>
/// Delivery through a 32-bit IDT: 16- and 32-bit gates, inner stacks, the way out of virtual-8086 mode, task gates.
/// SDM vol. 3A, "Exception- or Interrupt-Handler Procedures"; vol. 2A, "INT n".
/// </summary>
internal static unsafe class ProtectedModeDelivery
{
    /// <summary>Delivers, or records a fault and returns false with nothing changed.</summary>
    internal static bool Deliver(SoftVcpu vcpu, PendingFault fault, EventKind kind, ulong returnRip)
    {
        if (!LoadGate(vcpu, fault.Vector, kind, out Descriptor gate))
        {
            return false;
        }

        if (gate.Type == Descriptor.TaskGate)
        {
            return TaskSwitch.ThroughGate(vcpu, gate.GateSelector, fault, kind, returnRip);
        }

        if (!FindHandler(vcpu, gate.GateSelector, out Descriptor code))
        {
            return false;
        }

        CpuState* cpu = vcpu.Cpu;
        int cpl = code.IsConforming ? cpu->Cpl : code.Dpl;
        bool inner = cpl < cpu->Cpl;
        StackTarget target = StackTarget.Current(cpu);
        if (inner)
        {
            if (!TaskState.LoadInnerStack(vcpu, cpl, out ushort ss, out uint esp)
                || !SegmentTables.FindStack(vcpu, ss, cpl, Vector.InvalidTss, out CpuSegment segment))
            {
                return false;
            }

            target = StackTarget.Inner(segment, esp);
        }

        bool wide = (gate.Type & 8) != 0;
        ulong offset = wide ? gate.GateOffset : gate.GateOffset & 0xFFFF;
        if (offset > code.Limit)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        bool leavesVirtual8086 = CpuMode.IsVirtual8086(cpu);
        Span<ulong> storage = stackalloc ulong[10];
        StackFrame frame = new(target, wide ? 4 : 2, storage);
        Fill(ref frame, cpu, fault, kind, returnRip, inner, leavesVirtual8086);
        if (!frame.Commit(vcpu) || !SegmentTables.SetAccessed(vcpu, gate.GateSelector, ref code))
        {
            return false;
        }

        ExceptionDelivery.ClearFlags(cpu, gate.Type is Descriptor.InterruptGate or Descriptor.InterruptGate16);
        cpu->Cpl = (byte)cpl;
        if (inner)
        {
            cpu->Segments[Seg.Ss] = target.Segment;
        }

        if (leavesVirtual8086)
        {
            cpu->Segments[Seg.Es] = cpu->Segments[Seg.Ds] = Descriptor.Null(0);
            cpu->Segments[Seg.Fs] = cpu->Segments[Seg.Gs] = Descriptor.Null(0);
        }

        cpu->Segments[Seg.Cs] = code.ToSegment((ushort)((gate.GateSelector & ~3) | cpl));
        CurrentStack.SetPointer(cpu, frame.Pointer);
        cpu->Rip = offset;
        return true;
    }

    private static void Fill(
        ref StackFrame frame,
        CpuState* cpu,
        PendingFault fault,
        EventKind kind,
        ulong returnRip,
        bool inner,
        bool leavesVirtual8086)
    {
        if (leavesVirtual8086)
        {
            frame.Push(cpu->Segments[Seg.Gs].Selector);
            frame.Push(cpu->Segments[Seg.Fs].Selector);
            frame.Push(cpu->Segments[Seg.Ds].Selector);
            frame.Push(cpu->Segments[Seg.Es].Selector);
        }

        if (inner)
        {
            frame.Push(cpu->Segments[Seg.Ss].Selector);
            frame.Push(cpu->Gpr[Gpr.Rsp]);
        }

        ExceptionDelivery.PushReturn(ref frame, cpu, fault, kind, returnRip);
    }

    private static bool LoadGate(SoftVcpu vcpu, byte vector, EventKind kind, out Descriptor gate)
    {
        CpuState* cpu = vcpu.Cpu;
        gate = default;
        uint offset = vector * 8u;
        if (offset + 7 > cpu->Idtr.Limit)
        {
            return vcpu.Raise(Vector.GeneralProtection, ExceptionDelivery.GateError(vector));
        }

        if (!vcpu.Mmu.Load(cpu->Idtr.Base + offset, out ulong low, Access.System))
        {
            return false;
        }

        gate = new Descriptor(low, 0);
        bool known = gate.IsSystem && gate.Type is Descriptor.TaskGate or Descriptor.InterruptGate16
            or Descriptor.TrapGate16 or Descriptor.InterruptGate or Descriptor.TrapGate;
        if (!known || (ExceptionDelivery.ChecksGatePrivilege(kind) && gate.Dpl < cpu->Cpl))
        {
            return vcpu.Raise(Vector.GeneralProtection, ExceptionDelivery.GateError(vector));
        }

        return gate.IsPresent || vcpu.Raise(Vector.NotPresent, ExceptionDelivery.GateError(vector));
    }

    // Virtual-8086 code may only be interrupted into level 0.
    private static bool FindHandler(SoftVcpu vcpu, ushort selector, out Descriptor code) =>
        ExceptionDelivery.FindHandler(vcpu, selector, mustBeLong: false, out code)
        && (!CpuMode.IsVirtual8086(vcpu.Cpu) || (!code.IsConforming && code.Dpl == 0)
            || vcpu.Raise(Vector.GeneralProtection, selector & 0xFFFCu));
}
