using System.Numerics;
using System.Runtime.CompilerServices;
using System.Threading;
using Hull.Cpu.State;

namespace Hull.Cpu.Mmu;

/// <summary>
/// The page slots: copies of TLB lines at fixed places behind <see cref="CpuState"/>, which generated code looks at first. Near
/// ones have a short displacement; hashed ones are chosen by the address, in groups that are marked before one of their slots is
/// filled. An empty slot keeps its addend: no sum with one is canonical either.
/// </summary>
internal readonly unsafe struct PageSlots
{
    private const ulong NotCanonical = 1UL << 63;

    // Slots for each of user and supervisor, loads and stores.
    private const int Kinds = 4;

    private readonly CpuState* _cpu;

    internal PageSlots(CpuState* cpu)
    {
        _cpu = cpu;
        for (int kind = 0; kind < Kinds; kind++)
        {
            Hashed(kind)->Tag = TlbEntry.EmptyTag(0);
        }
    }

    private TlbEntry* Near => (TlbEntry*)_cpu->NearSlots;

    private TlbEntry* Plain => (TlbEntry*)((byte*)_cpu + StateLayout.SlotBase);

    /// <summary>Fills the slot at an offset from the state.</summary>
    internal void Fill(ulong linear, byte* page, int slot)
    {
        ulong tag = linear & ~0xFFFUL;
        *(TlbEntry*)((byte*)_cpu + slot) = new TlbEntry { Tag = tag, Addend = (ulong)page - tag };
    }

    /// <summary>A slot of the supervisor's gets a user page, which it may keep while AC is set.</summary>
    internal void NoteUserPage(int slot, bool store) =>
        _cpu->UserPageSlots |= 1UL << (slot + (store ? StateLayout.SlotEntries : 0));

    /// <summary>Empties the slots of the supervisor's that have user pages.</summary>
    internal void EmptyUserPages()
    {
        TlbEntry* slots = Plain;
        for (ulong left = _cpu->UserPageSlots; left != 0; left &= left - 1)
        {
            slots[BitOperations.TrailingZeroCount(left)].Tag = NotCanonical;
        }

        _cpu->UserPageSlots = 0;
    }

    /// <summary>Empties all slots.</summary>
    internal void Empty()
    {
        Empty(Near, StateLayout.NearSlots);
        Empty(Plain, Kinds * StateLayout.SlotEntries);
        _cpu->UserPageSlots = 0;
        EmptyHashed();
    }

    /// <summary>Empties the slots with one linear page.</summary>
    internal void Drop(ulong linear)
    {
        ulong tag = linear & ~0xFFFUL;
        Drop(Near, StateLayout.NearSlots, tag);
        Drop(Plain, Kinds * StateLayout.SlotEntries, tag);
        int hashed = (int)(linear >> 12) & (StateLayout.HashedSlots - 1);
        for (int kind = 0; kind < Kinds; kind++)
        {
            TlbEntry* slot = Hashed(kind) + hashed;
            if (slot->Tag == tag)
            {
                slot->Tag = TlbEntry.EmptyTag(hashed);
            }
        }
    }

    /// <summary>Looks for slots for stores that lead to a host page.</summary>
    /// <param name="hostPage">The page.</param>
    /// <param name="empties">Empties them; only for the vCPU's own thread.</param>
    internal bool FindStores(byte* hostPage, bool empties) =>
        Find(Near + 1, 1, hostPage, empties)
        | Find(Stores(0), StateLayout.SlotEntries, hostPage, empties)
        | Find(Stores(1), StateLayout.SlotEntries, hostPage, empties)
        | FindHashed(1, hostPage, empties)
        | FindHashed(3, hostPage, empties);

    private static void Empty(TlbEntry* slots, int count)
    {
        for (int i = 0; i < count; i++)
        {
            slots[i].Tag = NotCanonical;
        }
    }

    private static void Drop(TlbEntry* slots, int count, ulong tag)
    {
        for (int i = 0; i < count; i++)
        {
            if (slots[i].Tag == tag)
            {
                slots[i].Tag = NotCanonical;
            }
        }
    }

    private static bool Find(TlbEntry* slots, int count, byte* hostPage, bool empties)
    {
        bool found = false;
        for (int i = 0; i < count; i++)
        {
            if (slots[i].Tag + slots[i].Addend == (ulong)hostPage)
            {
                found = true;
                if (empties)
                {
                    slots[i].Tag = NotCanonical;
                }
            }
        }

        return found;
    }

    // A hashed slot's second word is the host page itself. The mark of a group goes after its slots were emptied.
    private bool FindHashed(int kind, byte* hostPage, bool empties)
    {
        bool found = false;
        TlbEntry* slots = Hashed(kind);
        byte* marks = (byte*)_cpu->HashedSlotsUsed + (kind * StateLayout.HashedMarks);
        for (int group = 0; group < StateLayout.HashedMarks; group++)
        {
            if (marks[group] != 0)
            {
                found |= FindInGroup(slots, group * StateLayout.HashedGroup, hostPage, empties);
            }
        }

        return found;
    }

    private static bool FindInGroup(TlbEntry* slots, int first, byte* hostPage, bool empties)
    {
        bool found = false;
        for (int i = first; i < first + StateLayout.HashedGroup; i++)
        {
            if (slots[i].Addend == (ulong)hostPage && slots[i].Tag != TlbEntry.EmptyTag(i))
            {
                found = true;
                if (empties)
                {
                    slots[i].Tag = TlbEntry.EmptyTag(i);
                }
            }
        }

        return found;
    }

    // Between two times few groups are filled.
    private void EmptyHashed()
    {
        for (int kind = 0; kind < Kinds; kind++)
        {
            TlbEntry* slots = Hashed(kind);
            for (int word = 0; word < StateLayout.HashedMarks / 8; word++)
            {
                ref ulong marks = ref _cpu->HashedSlotsUsed[(kind * StateLayout.HashedMarks / 8) + word];
                if (marks != 0)
                {
                    EmptyGroups(slots + (word * 8 * StateLayout.HashedGroup), marks);
                    slots->Tag = TlbEntry.EmptyTag(0);
                    Volatile.Write(ref marks, 0);
                }
            }
        }
    }

    private static void EmptyGroups(TlbEntry* slots, ulong marks)
    {
        for (; marks != 0; marks &= marks - 1)
        {
            int group = BitOperations.TrailingZeroCount(marks) / 8;
            Unsafe.InitBlock(slots + (group * StateLayout.HashedGroup), 0, StateLayout.HashedGroup * 16);
        }
    }

    private TlbEntry* Stores(int user) => Plain + (((user * 2) + 1) * StateLayout.SlotEntries);

    private TlbEntry* Hashed(int kind) =>
        (TlbEntry*)((byte*)_cpu + StateLayout.HashedBase) + (kind * StateLayout.HashedSlots);
}
