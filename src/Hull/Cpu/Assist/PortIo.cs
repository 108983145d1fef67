using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>IN and OUT; INS and OUTS are with the string instructions. SDM vol. 1, "Input/Output".</summary>
internal static unsafe class PortIo
{
    /// <summary>IN.</summary>
    internal static AssistResult In(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int size = instruction.Op0Register.GetSize();
        ushort port = instruction.Op1Kind == OpKind.Immediate8 ? instruction.Immediate8 : (ushort)cpu->Gpr[Gpr.Rdx];
        if (!TaskState.MayUsePort(vcpu, port, size))
        {
            return AssistResult.Fault;
        }

        if (vcpu.Debug.PortsArmed)
        {
            vcpu.Debug.NotePort(port, size);
        }

        Operands.WriteAccumulator(cpu, vcpu.Bus.ReadPort(port, size), size);
        return AssistResult.Next;
    }

    /// <summary>OUT.</summary>
    internal static AssistResult Out(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        int size = instruction.Op1Register.GetSize();
        ushort port = instruction.Op0Kind == OpKind.Immediate8 ? instruction.Immediate8 : (ushort)cpu->Gpr[Gpr.Rdx];
        if (!TaskState.MayUsePort(vcpu, port, size))
        {
            return AssistResult.Fault;
        }

        if (vcpu.Debug.PortsArmed)
        {
            vcpu.Debug.NotePort(port, size);
        }

        vcpu.Bus.WritePort(port, size, (uint)(cpu->Gpr[Gpr.Rax] & Operands.SizeMask(size)));
        return AssistResult.Next;
    }
}
