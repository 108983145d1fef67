using Hull.Cpu.State;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Walks the guest's page tables: no paging, 32-bit with 4 MiB pages, PAE, 4-level with 2 MiB and 1 GiB pages.
/// Accessed and dirty bits are set only when the whole translation succeeds. SDM vol. 3A, "Paging".
/// </summary>
internal static unsafe class PageWalker
{
    /// <summary>What <see cref="Walk"/> returns instead of an error code.</summary>
    internal const int Success = -1;

    /// <summary>Translates one page. <see cref="PageTranslation.Host"/> is left null.</summary>
    /// <param name="memory">Where the tables are.</param>
    /// <param name="cpu">Control registers, flags and privilege.</param>
    /// <param name="physicalBits">MAXPHYADDR.</param>
    /// <param name="linear">A canonical address (32 bits outside IA-32e mode).</param>
    /// <param name="access">What the access wants.</param>
    /// <param name="page">The result.</param>
    /// <param name="gigabytePages">PDPTEs of 4-level paging may map 1 GiB.</param>
    /// <returns><see cref="Success"/>, or the error code of the page fault.</returns>
    internal static int Walk(
        GuestMemory memory,
        CpuState* cpu,
        int physicalBits,
        ulong linear,
        Access access,
        out PageTranslation page,
        bool gigabytePages = true)
    {
        page = default;
        if ((cpu->Cr0 & Cr0.Pg) == 0)
        {
            page.PhysicalPage = linear & 0xFFFF_F000;
            page.Writable = true;
            page.User = true;
            return Success;
        }

        if ((cpu->Cr4 & Cr4.Pae) == 0)
        {
            return Walk32(memory, cpu, physicalBits, (uint)linear, access, out page);
        }

        ulong physicalMask = ((1UL << physicalBits) - 1) & ~0xFFFUL;
        if ((cpu->Efer & Efer.Lma) != 0)
        {
            ulong reserved = 0x000F_FFFF_FFFF_F000 & ~physicalMask;
            Levels four = new(4, cpu->Cr3 & physicalMask, physicalMask, reserved, gigabytePages ? 30 : 21);
            return Walk64(memory, cpu, four, linear, access, out page);
        }

        // No reserved bit is set here: TryLoadPdptes has looked.
        ulong pdpte = cpu->Pdptes[(linear >> 30) & 3];
        if ((pdpte & PageEntry.Present) == 0)
        {
            return PageRights.ErrorCode(cpu, access);
        }

        ulong reservedPae = 0x7FFF_FFFF_FFFF_F000 & ~physicalMask;
        Levels two = new(2, pdpte & physicalMask, physicalMask, reservedPae, 21);
        return Walk64(memory, cpu, two, linear, access, out page);
    }

    /// <summary>
    /// Loads the PDPTE registers, as writes to control registers do in PAE mode; what the guest stores in the table later
    /// does not count before the next one.
    /// </summary>
    /// <returns>False, with nothing changed: a present PDPTE has reserved bits set.</returns>
    internal static bool TryLoadPdptes(GuestMemory memory, CpuState* cpu, ulong cr3, int physicalBits)
    {
        ulong reserved = ~((1UL << physicalBits) - 1) | 0x1E6;
        ulong* loaded = stackalloc ulong[4];
        for (uint index = 0; index < 4; index++)
        {
            ulong pdpte = PageEntry.Read(memory, (cr3 & 0xFFFF_FFE0) + index * 8, out _);
            if ((pdpte & PageEntry.Present) != 0 && (pdpte & reserved) != 0)
            {
                return false;
            }

            loaded[index] = pdpte;
        }

        for (int index = 0; index < 4; index++)
        {
            cpu->Pdptes[index] = loaded[index];
        }

        return true;
    }

    private static int Walk64(
        GuestMemory memory, CpuState* cpu, in Levels levels, ulong linear, Access access, out PageTranslation page)
    {
        page = default;
        ulong** path = stackalloc ulong*[4];
        ulong* values = stackalloc ulong[4];
        bool noExecute = (cpu->Efer & Efer.Nxe) != 0;
        while (true)
        {
            ulong table = levels.Root;
            ulong rights = PageEntry.Write | PageEntry.User;
            ulong execute = 0;
            int depth = 0;
            int shift = 12 + 9 * (levels.Count - 1);
            while (true)
            {
                ulong value = PageEntry.Read(memory, table + ((linear >> shift) & 0x1FF) * 8, out path[depth]);
                values[depth++] = value;
                if ((value & PageEntry.Present) == 0)
                {
                    return PageRights.ErrorCode(cpu, access);
                }

                bool large = (value & PageEntry.Large) != 0 && shift >= 21 && shift <= levels.LargestShift;
                ulong reserved = levels.Reserved | (noExecute ? 0 : PageEntry.NoExecute);
                reserved |= shift > levels.LargestShift ? PageEntry.Large : large ? (1UL << shift) - 0x2000 : 0;
                if ((value & reserved) != 0)
                {
                    return PageRights.ErrorCode(cpu, access) | PageRights.ErrorPresent | PageRights.ErrorReserved;
                }

                rights &= value;
                execute |= value & PageEntry.NoExecute;
                if (shift == 12 || large)
                {
                    break;
                }

                table = value & levels.PhysicalMask;
                shift -= 9;
            }

            if (!PageRights.IsAllowed(cpu, access, rights, execute != 0))
            {
                return PageRights.ErrorCode(cpu, access) | PageRights.ErrorPresent;
            }

            if (!PageEntry.TryMark(path, values, depth, (access & Access.Store) != 0))
            {
                continue;
            }

            ulong leaf = values[depth - 1];
            ulong within = (1UL << shift) - 1;
            page.PhysicalPage = (leaf & levels.PhysicalMask & ~within) | (linear & within & ~0xFFFUL);
            page.PageBits = shift;
            PageRights.Describe(cpu, access, rights, leaf, ref page);
            return Success;
        }
    }

    private static int Walk32(
        GuestMemory memory, CpuState* cpu, int physicalBits, uint linear, Access access, out PageTranslation page)
    {
        page = default;
        while (true)
        {
            uint pde = PageEntry.Read32(memory, (cpu->Cr3 & 0xFFFF_F000) + (linear >> 22) * 4, out uint* pdeAt);
            if ((pde & PageEntry.Present) == 0)
            {
                return PageRights.ErrorCode(cpu, access);
            }

            if ((pde & PageEntry.Large) != 0 && (cpu->Cr4 & Cr4.Pse) != 0)
            {
                // Bits 20:13 are physical bits 39:32 as far as MAXPHYADDR reaches; the rest up to bit 21 is reserved.
                int extra = physicalBits >= 40 ? 8 : physicalBits - 32;
                uint reserved = 0x3FE000u & ~(((1u << extra) - 1) << 13);
                if ((pde & reserved) != 0)
                {
                    return PageRights.ErrorCode(cpu, access) | PageRights.ErrorPresent | PageRights.ErrorReserved;
                }

                if (!PageRights.IsAllowed(cpu, access, pde, false))
                {
                    return PageRights.ErrorCode(cpu, access) | PageRights.ErrorPresent;
                }

                if (!PageEntry.TryMark(pdeAt, ref pde, (access & Access.Store) != 0))
                {
                    continue;
                }

                page.PhysicalPage = (pde & 0xFFC0_0000) | ((ulong)((pde >> 13) & 0xFF) << 32) | (linear & 0x3F_F000);
                page.PageBits = 22;
                PageRights.Describe(cpu, access, pde, pde, ref page);
                return Success;
            }

            uint pte = PageEntry.Read32(memory, (pde & 0xFFFF_F000) + ((linear >> 12) & 0x3FF) * 4, out uint* pteAt);
            if ((pte & PageEntry.Present) == 0)
            {
                return PageRights.ErrorCode(cpu, access);
            }

            uint rights = pde & pte;
            if (!PageRights.IsAllowed(cpu, access, rights, false))
            {
                return PageRights.ErrorCode(cpu, access) | PageRights.ErrorPresent;
            }

            if (!PageEntry.TryMark(pdeAt, ref pde, false) || !PageEntry.TryMark(pteAt, ref pte, (access & Access.Store) != 0))
            {
                continue;
            }

            page.PhysicalPage = pte & 0xFFFF_F000;
            PageRights.Describe(cpu, access, rights, pte, ref page);
            return Success;
        }
    }

    /// <summary>
    /// How many levels of 64-bit entries there are, where the first table is, which bits are addresses, and from which
    /// bit on the largest page lies.
    /// </summary>
    private readonly record struct Levels(int Count, ulong Root, ulong PhysicalMask, ulong Reserved, int LargestShift);
}
