using System.Threading;
using Hull.Cpu.State;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Walks the guest's page tables: no paging, 32-bit with 4 MiB pages, PAE, 4-level with 2 MiB and 1 GiB pages.
/// Accessed and dirty bits are set with interlocked operations on the guest's own memory, and only when the whole
/// translation succeeds. SDM vol. 3A, "Paging".
/// </summary>
internal static unsafe class PageWalker
{
    /// <summary>What <see cref="Walk"/> returns instead of an error code.</summary>
    internal const int Success = -1;

    private const ulong PresentBit = 1;
    private const ulong WriteBit = 2;
    private const ulong UserBit = 4;
    private const ulong AccessedBit = 0x20;
    private const ulong DirtyBit = 0x40;
    private const ulong LargeBit = 0x80;
    private const ulong GlobalBit = 0x100;
    private const ulong NoExecuteBit = 1UL << 63;

    private const int ErrorPresent = 1;
    private const int ErrorWrite = 2;
    private const int ErrorUser = 4;
    private const int ErrorReserved = 8;
    private const int ErrorFetch = 16;

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
        if ((pdpte & PresentBit) == 0)
        {
            return ErrorCode(cpu, access);
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
            ulong pdpte = ReadEntry(memory, (cr3 & 0xFFFF_FFE0) + index * 8, out _);
            if ((pdpte & PresentBit) != 0 && (pdpte & reserved) != 0)
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
            ulong rights = WriteBit | UserBit;
            ulong execute = 0;
            int depth = 0;
            int shift = 12 + 9 * (levels.Count - 1);
            while (true)
            {
                ulong value = ReadEntry(memory, table + ((linear >> shift) & 0x1FF) * 8, out path[depth]);
                values[depth++] = value;
                if ((value & PresentBit) == 0)
                {
                    return ErrorCode(cpu, access);
                }

                bool large = (value & LargeBit) != 0 && shift >= 21 && shift <= levels.LargestShift;
                ulong reserved = levels.Reserved | (noExecute ? 0 : NoExecuteBit);
                reserved |= shift > levels.LargestShift ? LargeBit : large ? (1UL << shift) - 0x2000 : 0;
                if ((value & reserved) != 0)
                {
                    return ErrorCode(cpu, access) | ErrorPresent | ErrorReserved;
                }

                rights &= value;
                execute |= value & NoExecuteBit;
                if (shift == 12 || large)
                {
                    break;
                }

                table = value & levels.PhysicalMask;
                shift -= 9;
            }

            if (!IsAllowed(cpu, access, rights, execute != 0))
            {
                return ErrorCode(cpu, access) | ErrorPresent;
            }

            if (!Mark64(path, values, depth, (access & Access.Store) != 0))
            {
                continue;
            }

            ulong leaf = values[depth - 1];
            ulong within = (1UL << shift) - 1;
            page.PhysicalPage = (leaf & levels.PhysicalMask & ~within) | (linear & within & ~0xFFFUL);
            page.PageBits = shift;
            Describe(cpu, access, rights, leaf, ref page);
            return Success;
        }
    }

    private static int Walk32(
        GuestMemory memory, CpuState* cpu, int physicalBits, uint linear, Access access, out PageTranslation page)
    {
        page = default;
        while (true)
        {
            uint pde = ReadEntry32(memory, (cpu->Cr3 & 0xFFFF_F000) + (linear >> 22) * 4, out uint* pdeAt);
            if ((pde & PresentBit) == 0)
            {
                return ErrorCode(cpu, access);
            }

            if ((pde & LargeBit) != 0 && (cpu->Cr4 & Cr4.Pse) != 0)
            {
                // Bits 20:13 are physical bits 39:32 as far as MAXPHYADDR reaches; the rest up to bit 21 is reserved.
                int extra = physicalBits >= 40 ? 8 : physicalBits - 32;
                uint reserved = 0x3FE000u & ~(((1u << extra) - 1) << 13);
                if ((pde & reserved) != 0)
                {
                    return ErrorCode(cpu, access) | ErrorPresent | ErrorReserved;
                }

                if (!IsAllowed(cpu, access, pde, false))
                {
                    return ErrorCode(cpu, access) | ErrorPresent;
                }

                if (!Mark32(pdeAt, ref pde, (access & Access.Store) != 0))
                {
                    continue;
                }

                page.PhysicalPage = (pde & 0xFFC0_0000) | ((ulong)((pde >> 13) & 0xFF) << 32) | (linear & 0x3F_F000);
                page.PageBits = 22;
                Describe(cpu, access, pde, pde, ref page);
                return Success;
            }

            uint pte = ReadEntry32(memory, (pde & 0xFFFF_F000) + ((linear >> 12) & 0x3FF) * 4, out uint* pteAt);
            if ((pte & PresentBit) == 0)
            {
                return ErrorCode(cpu, access);
            }

            uint rights = pde & pte;
            if (!IsAllowed(cpu, access, rights, false))
            {
                return ErrorCode(cpu, access) | ErrorPresent;
            }

            if (!Mark32(pdeAt, ref pde, false) || !Mark32(pteAt, ref pte, (access & Access.Store) != 0))
            {
                continue;
            }

            page.PhysicalPage = pte & 0xFFFF_F000;
            Describe(cpu, access, rights, pte, ref page);
            return Success;
        }
    }

    private static void Describe(CpuState* cpu, Access access, ulong rights, ulong leaf, ref PageTranslation page)
    {
        bool supervisorMayWrite = !IsUser(cpu, access) && (cpu->Cr0 & Cr0.Wp) == 0;
        page.User = (rights & UserBit) != 0;
        page.Writable = ((rights & WriteBit) != 0 || supervisorMayWrite) && (leaf & DirtyBit) != 0;
        page.Global = (leaf & GlobalBit) != 0 && (cpu->Cr4 & Cr4.Pge) != 0;
    }

    private static bool IsUser(CpuState* cpu, Access access) => cpu->Cpl == 3 && (access & Access.System) == 0;

    /// <summary>SDM vol. 3A, "Determination of Access Rights".</summary>
    private static bool IsAllowed(CpuState* cpu, Access access, ulong rights, bool noExecute)
    {
        bool userPage = (rights & UserBit) != 0;
        bool readOnly = (rights & WriteBit) == 0;
        if (IsUser(cpu, access))
        {
            return userPage
                && !(readOnly && (access & Access.Store) != 0)
                && !(noExecute && (access & Access.Fetch) != 0);
        }

        if ((access & Access.Fetch) != 0)
        {
            return !noExecute && !(userPage && (cpu->Cr4 & Cr4.Smep) != 0);
        }

        if (userPage && (cpu->Cr4 & Cr4.Smap) != 0
            && ((access & Access.System) != 0 || (cpu->SystemFlags & Rflags.Ac) == 0))
        {
            return false;
        }

        return !readOnly || (access & Access.Store) == 0 || (cpu->Cr0 & Cr0.Wp) == 0;
    }

    private static int ErrorCode(CpuState* cpu, Access access)
    {
        int code = (access & Access.Store) != 0 ? ErrorWrite : 0;
        if (IsUser(cpu, access))
        {
            code |= ErrorUser;
        }

        bool tellsFetch = (cpu->Cr4 & Cr4.Smep) != 0 || ((cpu->Cr4 & Cr4.Pae) != 0 && (cpu->Efer & Efer.Nxe) != 0);
        return (access & Access.Fetch) != 0 && tellsFetch ? code | ErrorFetch : code;
    }

    /// <summary>
    /// Sets A in every entry used and D in the last one. Returns false when an entry changed meanwhile: walk again.
    /// </summary>
    private static bool Mark64(ulong** path, ulong* values, int depth, bool dirty)
    {
        for (int level = 0; level < depth; level++)
        {
            ulong want = values[level] | AccessedBit | (dirty && level == depth - 1 ? DirtyBit : 0);
            if (want != values[level] && path[level] != null)
            {
                // SAFETY: ReadEntry made the pointer from a checked host page; entries are 8-aligned inside it.
                if (Interlocked.CompareExchange(ref *path[level], want, values[level]) != values[level])
                {
                    return false;
                }

                values[level] = want;
            }
        }

        return true;
    }

    private static bool Mark32(uint* entry, ref uint value, bool dirty)
    {
        uint want = value | (uint)AccessedBit | (dirty ? (uint)DirtyBit : 0);
        if (want == value || entry == null)
        {
            return true;
        }

        // SAFETY: ReadEntry32 made the pointer from a checked host page; entries are 4-aligned inside it.
        if (Interlocked.CompareExchange(ref *entry, want, value) != value)
        {
            return false;
        }

        value = want;
        return true;
    }

    /// <summary>Reads an entry; where there is no RAM it reads as all ones, and <paramref name="entry"/> is null.</summary>
    private static ulong ReadEntry(GuestMemory memory, ulong at, out ulong* entry)
    {
        byte* host = memory.HostPage(at);
        if (host == null)
        {
            entry = null;
            return ulong.MaxValue;
        }

        // SAFETY: HostPage gave a whole page inside the mapping; the offset is 8-aligned and below 4096.
        entry = (ulong*)(host + (at & 0xFF8));
        return Volatile.Read(ref *entry);
    }

    private static uint ReadEntry32(GuestMemory memory, ulong at, out uint* entry)
    {
        byte* host = memory.HostPage(at);
        if (host == null)
        {
            entry = null;
            return uint.MaxValue;
        }

        // SAFETY: HostPage gave a whole page inside the mapping; the offset is 4-aligned and below 4096.
        entry = (uint*)(host + (at & 0xFFC));
        return Volatile.Read(ref *entry);
    }

    /// <summary>
    /// How many levels of 64-bit entries there are, where the first table is, which bits are addresses, and from which
    /// bit on the largest page lies.
    /// </summary>
    private readonly record struct Levels(int Count, ulong Root, ulong PhysicalMask, ulong Reserved, int LargestShift);
}
