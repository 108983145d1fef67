using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>MOV to and from debug registers; what they do is <see cref="DebugUnit"/>'s. SDM vol. 3B, "Debug Registers".</summary>
internal static unsafe class DebugRegisters
{
    /// <summary>MOV r, DRn.</summary>
    internal static AssistResult MovFrom(SoftVcpu vcpu, in Instruction instruction)
    {
        int number = instruction.Op1Register - Register.DR0;
        if (!MayUse(vcpu, ref number))
        {
            return AssistResult.Fault;
        }

        Operands.Write(vcpu.Cpu, instruction.Op0Register, vcpu.Cpu->DebugRegisters[number]);
        return AssistResult.Next;
    }

    /// <summary>MOV DRn, r.</summary>
    internal static AssistResult MovTo(SoftVcpu vcpu, in Instruction instruction)
    {
        int number = instruction.Op0Register - Register.DR0;
        if (!MayUse(vcpu, ref number))
        {
            return AssistResult.Fault;
        }

        CpuState* cpu = vcpu.Cpu;
        ulong value = Operands.Read(cpu, instruction.Op1Register);
        if (number >= 6 && value >> 32 != 0)
        {
            return Outcome.Protection(vcpu);
        }

        cpu->DebugRegisters[number] = number switch
        {
            6 => (value & 0xE00F) | 0xFFFF_0FF0,
            7 => (value & 0xFFFF_23FF) | 0x400,
            _ => value,
        };
        vcpu.Debug.Recompute();
        return Outcome.Leave(vcpu, instruction);
    }

    private static bool MayUse(SoftVcpu vcpu, ref int number)
    {
        CpuState* cpu = vcpu.Cpu;
        if (number is < 0 or > 7 || (number is 4 or 5 && (cpu->Cr4 & Cr4.De) != 0))
        {
            return vcpu.Raise(Vector.InvalidOpcode);
        }

        if (cpu->Cpl != 0)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if ((cpu->DebugRegisters[7] & (1 << 13)) != 0)
        {
            cpu->DebugRegisters[6] |= DebugUnit.GeneralDetect;
            return vcpu.Raise(Vector.Debug);
        }

        number = number is 4 or 5 ? number + 2 : number;
        return true;
    }
}
