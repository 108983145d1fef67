using Hull.Cpu.Mmu;
using Hull.Cpu.State;

namespace Hull.Cpu.Assist;

/// <summary>What the current TSS says: inner stacks, interrupt stacks, port permissions. SDM vol. 3A, "Task Management".</summary>
internal static unsafe class TaskState
{
    private const ulong MapBaseOffset = 102;

    /// <summary>RSPn of a 64-bit TSS.</summary>
    internal static bool LoadRsp(SoftVcpu vcpu, int level, out ulong rsp) =>
        LoadPointer(vcpu, 4 + ((uint)level * 8), out rsp);

    /// <summary>ISTn of a 64-bit TSS, n from 1 to 7.</summary>
    internal static bool LoadIst(SoftVcpu vcpu, int number, out ulong rsp) =>
        LoadPointer(vcpu, 36 + ((uint)(number - 1) * 8), out rsp);

    /// <summary>SSn:ESPn of a 32-bit TSS, or SSn:SPn of a 16-bit one.</summary>
    internal static bool LoadInnerStack(SoftVcpu vcpu, int level, out ushort selector, out uint pointer)
    {
        CpuState* cpu = vcpu.Cpu;
        bool wide = (cpu->Tr.Attributes & 8) != 0;
        uint offset = wide ? 4 + ((uint)level * 8) : 2 + ((uint)level * 4);
        uint size = wide ? 6u : 4u;
        selector = 0;
        pointer = 0;
        if (offset + size - 1 > cpu->Tr.Limit)
        {
            return vcpu.Raise(Vector.InvalidTss, (uint)cpu->Tr.Selector & 0xFFFC);
        }

        ulong at = cpu->Tr.Base + offset;
        if (wide)
        {
            return vcpu.Mmu.Load(at, out pointer, Access.System) && vcpu.Mmu.Load(at + 4, out selector, Access.System);
        }

        bool done = vcpu.Mmu.Load(at, out ushort narrow, Access.System);
        pointer = narrow;
        return done && vcpu.Mmu.Load(at + 2, out selector, Access.System);
    }

    /// <summary>
    /// True when the current code may use ports [port, port+size): by CPL and IOPL, else by the TSS's map. False when a
    /// fault was recorded. SDM vol. 1, "Protected-Mode I/O".
    /// </summary>
    internal static bool MayUsePort(SoftVcpu vcpu, ushort port, int size)
    {
        CpuState* cpu = vcpu.Cpu;
        if (!CpuMode.IsProtected(cpu) || (cpu->Cpl <= CpuMode.Iopl(cpu) && !CpuMode.IsVirtual8086(cpu)))
        {
            return true;
        }

        bool wide = (cpu->Tr.Attributes & 0x9F) is 0x89 or 0x8B;
        if (!wide || (cpu->Tr.Attributes & SegmentAttributes.Unusable) != 0 || cpu->Tr.Limit < MapBaseOffset + 1)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!vcpu.Mmu.Load(cpu->Tr.Base + MapBaseOffset, out ushort map, Access.System))
        {
            return false;
        }

        uint offset = map + (port / 8u);
        if (offset + 1 > cpu->Tr.Limit)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!vcpu.Mmu.Load(cpu->Tr.Base + offset, out ushort bits, Access.System))
        {
            return false;
        }

        uint wanted = (1u << size) - 1;
        return ((uint)(bits >> (port & 7)) & wanted) == 0 || vcpu.Raise(Vector.GeneralProtection, 0);
    }

    private static bool LoadPointer(SoftVcpu vcpu, uint offset, out ulong pointer)
    {
        CpuState* cpu = vcpu.Cpu;
        pointer = 0;
        return offset + 7 > cpu->Tr.Limit
            ? vcpu.Raise(Vector.InvalidTss, (uint)cpu->Tr.Selector & 0xFFFC)
            : vcpu.Mmu.Load(cpu->Tr.Base + offset, out pointer, Access.System);
    }
}
