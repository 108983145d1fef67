using Hull.Cpu.Exceptions;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>INT n, INT3, INTO, INT1. SDM vol. 2A, "INT n/INTO/INT3/INT1".</summary>
internal static unsafe class SoftwareInterrupts
{
    /// <summary>INT n.</summary>
    internal static AssistResult Int(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        byte vector = instruction.Immediate8;
        if (CpuMode.IsVirtual8086(cpu))
        {
            bool redirected = false;
            if ((cpu->Cr4 & Cr4.Vme) != 0 && !FindRedirection(vcpu, vector, out redirected))
            {
                return AssistResult.Fault;
            }

            if (redirected)
            {
                if (!RealModeDelivery.DeliverRedirected(vcpu, vector, CpuMode.Next(cpu, instruction.Length)))
                {
                    return AssistResult.Fault;
                }

                vcpu.Debug.SuppressStep();
                return AssistResult.Jump;
            }

            if (CpuMode.Iopl(cpu) < 3)
            {
                return Outcome.Protection(vcpu);
            }
        }

        return Deliver(vcpu, instruction, vector, EventKind.SoftwareInterrupt);
    }

    /// <summary>INT3.</summary>
    internal static AssistResult Int3(SoftVcpu vcpu, in Instruction instruction) =>
        Deliver(vcpu, instruction, Vector.Breakpoint, EventKind.SoftwareException);

    /// <summary>INTO.</summary>
    internal static AssistResult Into(SoftVcpu vcpu, in Instruction instruction) =>
        (vcpu.Cpu->ArithmeticFlags & Rflags.Of) == 0
            ? AssistResult.Next
            : Deliver(vcpu, instruction, Vector.Overflow, EventKind.SoftwareException);

    /// <summary>INT1, also called ICEBP.</summary>
    internal static AssistResult Int1(SoftVcpu vcpu, in Instruction instruction) =>
        Deliver(vcpu, instruction, Vector.Debug, EventKind.PrivilegedSoftwareException);

    private static AssistResult Deliver(SoftVcpu vcpu, in Instruction instruction, byte vector, EventKind kind)
    {
        ulong next = CpuMode.Next(vcpu.Cpu, instruction.Length);
        if (!ExceptionDelivery.TryDeliver(vcpu, new PendingFault(vector, false, 0), kind, next))
        {
            return AssistResult.Fault;
        }

        vcpu.Debug.SuppressStep();
        if (kind == EventKind.PrivilegedSoftwareException)
        {
            vcpu.Debug.MergeIntoInt1();
        }

        return AssistResult.Jump;
    }

    /// <summary>
    /// Reads the bit of the TSS's redirection map, the 32 bytes below the I/O map: clear means the program's own table.
    /// </summary>
    private static bool FindRedirection(SoftVcpu vcpu, byte vector, out bool redirected)
    {
        CpuState* cpu = vcpu.Cpu;
        redirected = false;
        if ((cpu->Tr.Attributes & 8) == 0 || cpu->Tr.Limit < 103)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!vcpu.Mmu.Load(cpu->Tr.Base + 102, out ushort map, Access.System))
        {
            return false;
        }

        uint at = map - 32u + (vector / 8u);
        if (map < 32 || at > cpu->Tr.Limit)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        bool done = vcpu.Mmu.Load(cpu->Tr.Base + at, out byte bits, Access.System);
        redirected = ((bits >> (vector & 7)) & 1) == 0;
        return done;
    }
}
