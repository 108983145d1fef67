using System.Collections.Generic;
using Hull.Cpu.State;
using Hull.Memory;

namespace Hull.Cpu;

/// <summary>
/// Answers whether all vCPUs map a kernel page alike. A link between two pages is shared by all of them, and was checked
/// against the tables of one: so it is made only while every vCPU that could run it has global pages on and the same
/// entry in the top table, and it goes when one of them loads another top table that differs there.
/// Called under the engine's code lock. See docs/smp.md, "Links between pages".
/// </summary>
internal sealed unsafe class SharedKernelMap
{
    private const int MaximumSlots = 8;
    private const ulong TableMask = 0x000F_FFFF_FFFF_F000;

    // P, R/W, U/S, the address, XD. Accessed and the ignored bits may differ.
    private const ulong Significant = TableMask | 7 | (1UL << 63);
    private readonly GuestMemory _memory;
    private readonly List<SoftVcpu> _vcpus;
    private readonly ulong[] _slots = new ulong[MaximumSlots];
    private readonly ulong[] _entries = new ulong[MaximumSlots];
    private int _count;

    internal SharedKernelMap(GuestMemory memory, List<SoftVcpu> vcpus)
    {
        _memory = memory;
        _vcpus = vcpus;
    }

    /// <summary>True when a link into the page may be made now; from then on the part of the tables is watched.</summary>
    internal bool Share(SoftVcpu linker, ulong linear)
    {
        if (_vcpus.Count == 1)
        {
            return true;
        }

        ulong slot = Slot(linear);
        ulong entry = Entry(linker.Cpu, slot);
        foreach (SoftVcpu vcpu in _vcpus)
        {
            if (vcpu != linker && !Agrees(vcpu.Cpu, slot, entry))
            {
                return false;
            }
        }

        return Watch(slot, entry);
    }

    /// <summary>A vCPU has loaded CR3. False when links between pages are not good for it.</summary>
    internal bool IsShared(SoftVcpu vcpu)
    {
        for (int i = 0; i < _count; i++)
        {
            if (!Agrees(vcpu.Cpu, _slots[i], _entries[i]))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>There are no links between pages any more.</summary>
    internal void Clear() => _count = 0;

    private bool Watch(ulong slot, ulong entry)
    {
        for (int i = 0; i < _count; i++)
        {
            if (_slots[i] == slot)
            {
                return _entries[i] == entry;
            }
        }

        if (_count == MaximumSlots)
        {
            return false;
        }

        _slots[_count] = slot;
        _entries[_count++] = entry;
        return true;
    }

    // A vCPU outside IA-32e mode runs no 64-bit code, and flushes everything when it enters that mode.
    private bool Agrees(CpuState* cpu, ulong slot, ulong entry) =>
        (cpu->Efer & Efer.Lma) == 0 || ((cpu->Cr4 & Cr4.Pge) != 0 && Entry(cpu, slot) == entry);

    private ulong Entry(CpuState* cpu, ulong slot) =>
        _memory.Read<ulong>(new GuestPhysical((cpu->Cr3 & TableMask) + (slot * 8))) & Significant;

    private static ulong Slot(ulong linear) => (linear >> 39) & 0x1FF;
}
