using System;
using Hull.Cpu.Assist;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;

namespace Hull.Cpu.Exceptions;

/// <summary>
/// Delivery through the interrupt vector table, in real mode and for INT n in virtual-8086 mode extensions.
/// SDM vol. 3B, "8086 Emulation".
/// </summary>
internal static unsafe class RealModeDelivery
{
    /// <summary>Delivers in real mode, or records a fault and returns false with nothing changed.</summary>
    internal static bool Deliver(SoftVcpu vcpu, byte vector, ulong returnRip)
    {
        CpuState* cpu = vcpu.Cpu;
        uint offset = vector * 4u;
        if (offset + 3 > cpu->Idtr.Limit)
        {
            return vcpu.Raise(Vector.GeneralProtection, ExceptionDelivery.GateError(vector));
        }

        if (!vcpu.Mmu.Load(cpu->Idtr.Base + offset, out uint entry, Access.System)
            || !Enter(vcpu, entry, cpu->Rflags, returnRip))
        {
            return false;
        }

        cpu->Segments[Seg.Cs].Selector = entry >> 16;
        cpu->Segments[Seg.Cs].Base = (entry >> 16) << 4;
        cpu->InterruptFlag = 0;
        cpu->SystemFlags &= ~(Rflags.Tf | Rflags.Ac | Rflags.Rf);
        return true;
    }

    /// <summary>
    /// INT n in virtual-8086 mode that the TSS redirects to the program's own table at linear 0.
    /// SDM vol. 3B, "Handling Software Interrupts With Virtual-8086 Extensions".
    /// </summary>
    internal static bool DeliverRedirected(SoftVcpu vcpu, byte vector, ulong returnRip)
    {
        CpuState* cpu = vcpu.Cpu;
        bool virtualInterrupts = CpuMode.Iopl(cpu) < 3;
        ulong flags = cpu->Rflags;
        if (virtualInterrupts)
        {
            flags = (flags & ~Rflags.If) | Rflags.Iopl | ((flags & Rflags.Vif) != 0 ? Rflags.If : 0);
        }

        if (!vcpu.Mmu.Load(vector * 4u, out uint entry) || !Enter(vcpu, entry, flags, returnRip))
        {
            return false;
        }

        cpu->Segments[Seg.Cs] = Descriptor.Virtual8086((ushort)(entry >> 16));
        cpu->SystemFlags &= ~(Rflags.Tf | Rflags.Rf | Rflags.Nt);
        if (virtualInterrupts)
        {
            cpu->SystemFlags &= ~Rflags.Vif;
        }
        else
        {
            cpu->InterruptFlag = 0;
        }

        return true;
    }

    private static bool Enter(SoftVcpu vcpu, uint entry, ulong flags, ulong returnRip)
    {
        CpuState* cpu = vcpu.Cpu;
        Span<ulong> storage = stackalloc ulong[3];
        StackFrame frame = new(StackTarget.Current(cpu), 2, storage);
        frame.Push(flags);
        frame.Push(cpu->Segments[Seg.Cs].Selector);
        frame.Push(returnRip);
        if (!frame.Commit(vcpu))
        {
            return false;
        }

        CurrentStack.SetPointer(cpu, frame.Pointer);
        cpu->Rip = entry & 0xFFFF;
        return true;
    }
}
