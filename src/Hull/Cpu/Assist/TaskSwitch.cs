using System;
using Hull.Cpu.Exceptions;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;

namespace Hull.Cpu.Assist;

/// <summary>What switches tasks.</summary>
internal enum TaskSwitchCause
{
    /// <summary>A far JMP.</summary>
    Jump,

    /// <summary>A far CALL.</summary>
    Call,

    /// <summary>IRET with NT set.</summary>
    Return,

    /// <summary>A task gate of the IDT.</summary>
    Event,
}

/// <summary>
/// Hardware task switches. Up to the commit point a fault leaves the old task as it was; after it, faults (a bad segment
/// of the new task) are raised in the new task, as the manual says. SDM vol. 3A, "Task Switching".
/// </summary>
internal static unsafe class TaskSwitch
{
    private const int Image32At = 32; // EIP to GS
    private const int Image32Bytes = 64;
    private const int Image16At = 14; // IP to DS
    private const int Image16Bytes = 28;

    /// <summary>An event through a task gate of the IDT; an error code goes onto the new task's stack.</summary>
    internal static bool ThroughGate(SoftVcpu vcpu, ushort selector, PendingFault fault, EventKind kind, ulong returnRip)
    {
        _ = kind;
        if (!Switch(vcpu, selector, TaskSwitchCause.Event, returnRip))
        {
            return false;
        }

        bool wide = (vcpu.Cpu->Tr.Attributes & 8) != 0;
        return !fault.HasErrorCode || CurrentStack.Push(vcpu, wide ? 4 : 2, fault.ErrorCode);
    }

    /// <summary>IRET with NT set: back to the task of the link field.</summary>
    internal static bool Return(SoftVcpu vcpu, ulong returnRip) =>
        vcpu.Mmu.Load(vcpu.Cpu->Tr.Base, out ushort link, Access.System)
        && Switch(vcpu, link, TaskSwitchCause.Return, returnRip);

    /// <summary>Switches to the task of a TSS selector. <paramref name="returnRip"/> is saved as the old task's EIP.</summary>
    internal static bool Switch(SoftVcpu vcpu, ushort selector, TaskSwitchCause cause, ulong returnRip)
    {
        CpuState* cpu = vcpu.Cpu;
        if (!FindTss(vcpu, selector, cause, out Descriptor target))
        {
            return false;
        }

        bool wide = (target.Type & 8) != 0;
        ulong origin = target.Base32;
        Span<byte> incoming = stackalloc byte[104];
        incoming = incoming[..(wide ? 104 : 44)];
        bool nests = cause is TaskSwitchCause.Call or TaskSwitchCause.Event;
        if (!vcpu.Mmu.Load(origin, incoming, Access.System)
            || (nests && !vcpu.Mmu.Probe(origin, 2, Access.System | Access.Store))
            || !SaveOld(vcpu, cause, returnRip))
        {
            return false;
        }

        // The commit point: what follows belongs to the new task.
        if ((cause is TaskSwitchCause.Jump or TaskSwitchCause.Return && !SetOldAvailable(vcpu))
            || (nests && !vcpu.Mmu.Store(origin, (ushort)cpu->Tr.Selector, Access.System | Access.Store))
            || (cause != TaskSwitchCause.Return && !SegmentTables.SetBusy(vcpu, selector, target, true)))
        {
            return false;
        }

        cpu->Tr = target.ToSegment(selector);
        cpu->Tr.Attributes |= 2;
        cpu->Cr0 |= Cr0.Ts;
        cpu->DebugRegisters[7] &= ~0x155UL; // the local enables
        vcpu.Debug.Recompute();
        if (cause != TaskSwitchCause.Event)
        {
            vcpu.Debug.SuppressStep();
        }

        bool mapped = LoadRegisters(vcpu, incoming, wide);
        if (nests)
        {
            cpu->SystemFlags |= Rflags.Nt;
        }

        if (!mapped)
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!LoadSegments(vcpu))
        {
            return false;
        }

        if (wide && (incoming[100] & 1) != 0)
        {
            vcpu.Debug.NoteTaskSwitch();
        }

        return true;
    }

    private static bool FindTss(SoftVcpu vcpu, ushort selector, TaskSwitchCause cause, out Descriptor target)
    {
        byte vector = cause == TaskSwitchCause.Return ? Vector.InvalidTss : Vector.GeneralProtection;
        target = default;
        if (SegmentTables.IsNull(selector) || (selector & 4) != 0)
        {
            return vcpu.Raise(vector, selector & 0xFFFCu);
        }

        if (!SegmentTables.Read(vcpu, selector, vector, out target))
        {
            return false;
        }

        bool right = cause == TaskSwitchCause.Return
            ? target.Type is Descriptor.TssBusy or Descriptor.Tss16Busy
            : target.Type is Descriptor.TssAvailable or Descriptor.Tss16Available;
        if (!target.IsSystem || !right)
        {
            return vcpu.Raise(vector, selector & 0xFFFCu);
        }

        if (!target.IsPresent)
        {
            return vcpu.Raise(Vector.NotPresent, selector & 0xFFFCu);
        }

        uint least = (target.Type & 8) != 0 ? 0x67u : 0x2Bu;
        return target.Limit >= least || vcpu.Raise(Vector.InvalidTss, selector & 0xFFFCu);
    }

    private static bool SetOldAvailable(SoftVcpu vcpu)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong low = 0;
        return !SegmentTables.TryFind(cpu, (ushort)cpu->Tr.Selector, 8, out ulong linear)
            || (vcpu.Mmu.Load(linear, out low, Access.System)
                && SegmentTables.SetBusy(vcpu, (ushort)cpu->Tr.Selector, new Descriptor(low, 0), false));
    }

    private static bool SaveOld(SoftVcpu vcpu, TaskSwitchCause cause, ulong returnRip)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong flags = cpu->Rflags;
        if (cause == TaskSwitchCause.Return)
        {
            flags &= ~Rflags.Nt;
        }

        bool wide = (cpu->Tr.Attributes & 8) != 0;
        int width = wide ? 4 : 2;
        Span<byte> image = stackalloc byte[Image32Bytes];
        image = image[..(wide ? Image32Bytes : Image16Bytes)];
        Put(image, 0, width, returnRip);
        Put(image, 1, width, flags);
        for (int register = 0; register < 8; register++)
        {
            Put(image, 2 + register, width, cpu->Gpr[register]);
        }

        for (int segment = 0; segment < (wide ? 6 : 4); segment++)
        {
            Put(image, 10 + segment, width, cpu->Segments[segment].Selector);
        }

        return vcpu.Mmu.Store(cpu->Tr.Base + (wide ? (uint)Image32At : Image16At), image, Access.System | Access.Store);
    }

    // False when the new CR3 names PDPTEs that cannot be; they stay the old ones.
    private static bool LoadRegisters(SoftVcpu vcpu, ReadOnlySpan<byte> incoming, bool wide)
    {
        CpuState* cpu = vcpu.Cpu;
        int width = wide ? 4 : 2;
        ReadOnlySpan<byte> image = incoming[(wide ? Image32At : Image16At)..];
        bool mapped = true;
        if (wide && (cpu->Cr0 & Cr0.Pg) != 0)
        {
            cpu->Cr3 = BitConverter.ToUInt32(incoming[28..]);
            mapped = (cpu->Cr4 & Cr4.Pae) == 0 || vcpu.Mmu.TryLoadPdptes(cpu->Cr3);
            vcpu.Mmu.FlushNonGlobal();
        }

        cpu->Rip = Get(image, 0, width);
        cpu->Rflags = Get(image, 1, width);
        for (int register = 0; register < 8; register++)
        {
            cpu->Gpr[register] = Get(image, 2 + register, width);
        }

        bool virtual8086 = CpuMode.IsVirtual8086(cpu);
        cpu->Cpl = virtual8086 ? (byte)3 : (byte)(Get(image, 10 + Seg.Cs, width) & 3);
        for (int segment = 0; segment < 6; segment++)
        {
            ushort selector = wide || segment < 4 ? (ushort)Get(image, 10 + segment, width) : (ushort)0;
            cpu->Segments[segment] = virtual8086 ? Descriptor.Virtual8086(selector) : Descriptor.Null(selector);
        }

        cpu->Ldtr = Descriptor.Null((ushort)Get(incoming, wide ? 24 : 21, width));
        return mapped;
    }

    private static bool LoadSegments(SoftVcpu vcpu)
    {
        CpuState* cpu = vcpu.Cpu;
        if (!LoadLdt(vcpu))
        {
            return false;
        }

        if (CpuMode.IsVirtual8086(cpu))
        {
            return true;
        }

        ushort code = (ushort)cpu->Segments[Seg.Cs].Selector;
        ushort stack = (ushort)cpu->Segments[Seg.Ss].Selector;
        if (!FindCode(vcpu, code, out Descriptor descriptor)
            || !SegmentTables.FindStack(vcpu, stack, cpu->Cpl, Vector.InvalidTss, out cpu->Segments[Seg.Ss]))
        {
            return false;
        }

        CodeSegments.LoadCs(cpu, code, descriptor, cpu->Cpl);
        foreach (int segment in (ReadOnlySpan<int>)[Seg.Es, Seg.Ds, Seg.Fs, Seg.Gs])
        {
            ushort selector = (ushort)cpu->Segments[segment].Selector;
            if (!SegmentTables.FindOrdinary(vcpu, selector, Vector.InvalidTss, out CpuSegment loaded))
            {
                return false;
            }

            cpu->Segments[segment] = loaded;
        }

        return cpu->Rip <= cpu->Segments[Seg.Cs].Limit || vcpu.Raise(Vector.GeneralProtection, 0);
    }

    private static bool LoadLdt(SoftVcpu vcpu)
    {
        CpuState* cpu = vcpu.Cpu;
        ushort selector = (ushort)cpu->Ldtr.Selector;
        if (SegmentTables.IsNull(selector))
        {
            return true;
        }

        if ((selector & 4) != 0)
        {
            return vcpu.Raise(Vector.InvalidTss, selector & 0xFFFCu);
        }

        if (!SegmentTables.Read(vcpu, selector, Vector.InvalidTss, out Descriptor descriptor))
        {
            return false;
        }

        if (!descriptor.IsSystem || descriptor.Type != Descriptor.LdtType || !descriptor.IsPresent)
        {
            return vcpu.Raise(Vector.InvalidTss, selector & 0xFFFCu);
        }

        cpu->Ldtr = descriptor.ToSegment(selector);
        return true;
    }

    private static bool FindCode(SoftVcpu vcpu, ushort selector, out Descriptor code)
    {
        code = default;
        int rpl = selector & 3;
        if (SegmentTables.IsNull(selector))
        {
            return vcpu.Raise(Vector.InvalidTss, 0);
        }

        if (!SegmentTables.Read(vcpu, selector, Vector.InvalidTss, out code))
        {
            return false;
        }

        if (!code.IsCode || (code.IsConforming ? code.Dpl > rpl : code.Dpl != rpl))
        {
            return vcpu.Raise(Vector.InvalidTss, selector & 0xFFFCu);
        }

        return code.IsPresent
            ? SegmentTables.SetAccessed(vcpu, selector, ref code)
            : vcpu.Raise(Vector.NotPresent, selector & 0xFFFCu);
    }

    private static void Put(Span<byte> image, int slot, int width, ulong value)
    {
        if (width == 4)
        {
            BitConverter.TryWriteBytes(image[(slot * 4)..], (uint)value);
        }
        else
        {
            BitConverter.TryWriteBytes(image[(slot * 2)..], (ushort)value);
        }
    }

    private static ulong Get(ReadOnlySpan<byte> image, int slot, int width) => width == 4
        ? BitConverter.ToUInt32(image[(slot * 4)..])
        : BitConverter.ToUInt16(image[(slot * 2)..]);
}
