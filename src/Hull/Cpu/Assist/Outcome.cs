using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>The usual ends of an assist.</summary>
internal static unsafe class Outcome
{
    /// <summary>#GP(0).</summary>
    internal static AssistResult Protection(SoftVcpu vcpu) => Fault(vcpu, Vector.GeneralProtection, 0);

    /// <summary>#GP(selector).</summary>
    internal static AssistResult Protection(SoftVcpu vcpu, ushort selector) =>
        Fault(vcpu, Vector.GeneralProtection, selector & 0xFFFCu);

    /// <summary>#UD.</summary>
    internal static AssistResult Undefined(SoftVcpu vcpu)
    {
        vcpu.Raise(Vector.InvalidOpcode);
        return AssistResult.Fault;
    }

    /// <summary>#NM.</summary>
    internal static AssistResult NotAvailable(SoftVcpu vcpu)
    {
        vcpu.Raise(Vector.NotAvailable);
        return AssistResult.Fault;
    }

    /// <summary>An exception with an error code.</summary>
    internal static AssistResult Fault(SoftVcpu vcpu, byte vector, uint errorCode)
    {
        vcpu.Raise(vector, errorCode);
        return AssistResult.Fault;
    }

    /// <summary>Next, or the fault that was recorded.</summary>
    internal static AssistResult NextIf(bool done) => done ? AssistResult.Next : AssistResult.Fault;

    /// <summary>Jump to the following instruction (leaving the block), or the fault that was recorded.</summary>
    internal static AssistResult LeaveIf(SoftVcpu vcpu, in Instruction instruction, bool done) =>
        done ? Leave(vcpu, instruction) : AssistResult.Fault;

    /// <summary>Leaves the block for the following instruction.</summary>
    internal static AssistResult Leave(SoftVcpu vcpu, in Instruction instruction)
    {
        vcpu.Cpu->Rip = CpuMode.Next(vcpu.Cpu, instruction.Length);
        return AssistResult.Jump;
    }
}
