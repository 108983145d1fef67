using System;
using Hull.Cpu.Assist;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;

namespace Hull.Cpu.Exceptions;

/// <summary>Delivery through a 64-bit IDT. SDM vol. 3A, "Exception and Interrupt Handling in 64-bit Mode".</summary>
internal static unsafe class LongModeDelivery
{
    /// <summary>Delivers, or records a fault and returns false with nothing changed.</summary>
    internal static bool Deliver(SoftVcpu vcpu, PendingFault fault, EventKind kind, ulong returnRip)
    {
        CpuState* cpu = vcpu.Cpu;
        if (!LoadGate(vcpu, fault.Vector, kind, out Descriptor gate)
            || !ExceptionDelivery.FindHandler(vcpu, gate.GateSelector, mustBeLong: true, out Descriptor code))
        {
            return false;
        }

        int cpl = code.IsConforming ? cpu->Cpl : code.Dpl;
        if (!FindStack(vcpu, gate, cpl, out ulong rsp))
        {
            return false;
        }

        if (!CpuMode.IsCanonical(gate.GateOffset64))
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        Span<ulong> storage = stackalloc ulong[6];
        StackTarget target = new()
        {
            Pointer = rsp & ~15UL,
            Mask = ulong.MaxValue,
            Is64Bit = true,
            Access = cpl == cpu->Cpl ? Access.Stack : Access.Stack | Access.System,
        };
        StackFrame frame = new(target, 8, storage);
        frame.Push(cpu->Segments[Seg.Ss].Selector);
        frame.Push(cpu->Gpr[Gpr.Rsp]);
        ExceptionDelivery.PushReturn(ref frame, cpu, fault, kind, returnRip);

        if (!frame.Commit(vcpu) || !SegmentTables.SetAccessed(vcpu, gate.GateSelector, ref code))
        {
            return false;
        }

        if (cpl != cpu->Cpl)
        {
            cpu->Segments[Seg.Ss] = Descriptor.Null((ushort)cpl, cpl);
        }

        cpu->Segments[Seg.Cs] = code.ToSegment((ushort)((gate.GateSelector & ~3) | cpl));
        cpu->Cpl = (byte)cpl;
        cpu->Gpr[Gpr.Rsp] = frame.Pointer;
        cpu->Rip = gate.GateOffset64;
        ExceptionDelivery.ClearFlags(cpu, gate.Type == Descriptor.InterruptGate);
        return true;
    }

    private static bool LoadGate(SoftVcpu vcpu, byte vector, EventKind kind, out Descriptor gate)
    {
        CpuState* cpu = vcpu.Cpu;
        gate = default;
        uint offset = vector * 16u;
        if (offset + 15 > cpu->Idtr.Limit)
        {
            return vcpu.Raise(Vector.GeneralProtection, ExceptionDelivery.GateError(vector));
        }

        Span<byte> bytes = stackalloc byte[16];
        if (!vcpu.Mmu.Load(cpu->Idtr.Base + offset, bytes, Access.System))
        {
            return false;
        }

        gate = new Descriptor(BitConverter.ToUInt64(bytes), BitConverter.ToUInt64(bytes[8..]));
        if (!gate.IsSystem || gate.Type is not (Descriptor.InterruptGate or Descriptor.TrapGate)
            || (ExceptionDelivery.ChecksGatePrivilege(kind) && gate.Dpl < cpu->Cpl))
        {
            return vcpu.Raise(Vector.GeneralProtection, ExceptionDelivery.GateError(vector));
        }

        return gate.IsPresent || vcpu.Raise(Vector.NotPresent, ExceptionDelivery.GateError(vector));
    }

    private static bool FindStack(SoftVcpu vcpu, in Descriptor gate, int cpl, out ulong rsp)
    {
        int ist = (int)(gate.Low >> 32) & 7;
        if (ist != 0)
        {
            return TaskState.LoadIst(vcpu, ist, out rsp);
        }

        if (cpl != vcpu.Cpu->Cpl)
        {
            return TaskState.LoadRsp(vcpu, cpl, out rsp);
        }

        rsp = vcpu.Cpu->Gpr[Gpr.Rsp];
        return true;
    }
}
