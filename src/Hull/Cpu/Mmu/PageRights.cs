using Hull.Cpu.State;

namespace Hull.Cpu.Mmu;

/// <summary>What an access may do to a page, and how a fault is described. SDM vol. 3A, "Access Rights" and "Page-Fault Exceptions".</summary>
internal static unsafe class PageRights
{
    /// <summary>P: all entries were present.</summary>
    internal const int ErrorPresent = 1;

    /// <summary>RSVD: an entry had a reserved bit set.</summary>
    internal const int ErrorReserved = 8;

    private const int ErrorWrite = 2;
    private const int ErrorUser = 4;
    private const int ErrorFetch = 16;

    /// <summary>True when an access may be made. SDM vol. 3A, "Determination of Access Rights".</summary>
    internal static bool IsAllowed(CpuState* cpu, Access access, ulong rights, bool noExecute)
    {
        bool userPage = (rights & PageEntry.User) != 0;
        bool readOnly = (rights & PageEntry.Write) == 0;
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

    /// <summary>The error code of a page fault, less the bits P and RSVD.</summary>
    internal static int ErrorCode(CpuState* cpu, Access access)
    {
        int code = (access & Access.Store) != 0 ? ErrorWrite : 0;
        if (IsUser(cpu, access))
        {
            code |= ErrorUser;
        }

        bool tellsFetch = (cpu->Cr4 & Cr4.Smep) != 0 || ((cpu->Cr4 & Cr4.Pae) != 0 && (cpu->Efer & Efer.Nxe) != 0);
        return (access & Access.Fetch) != 0 && tellsFetch ? code | ErrorFetch : code;
    }

    /// <summary>Says what later accesses may do without a walk.</summary>
    /// <param name="cpu">Control registers, flags and privilege.</param>
    /// <param name="access">The access that walked.</param>
    /// <param name="rights">The bits of all entries on the path, ANDed.</param>
    /// <param name="leaf">The last entry.</param>
    /// <param name="page">The result.</param>
    internal static void Describe(CpuState* cpu, Access access, ulong rights, ulong leaf, ref PageTranslation page)
    {
        bool supervisorMayWrite = !IsUser(cpu, access) && (cpu->Cr0 & Cr0.Wp) == 0;
        page.User = (rights & PageEntry.User) != 0;
        page.Writable = ((rights & PageEntry.Write) != 0 || supervisorMayWrite) && (leaf & PageEntry.Dirty) != 0;
        page.Global = (leaf & PageEntry.Global) != 0 && (cpu->Cr4 & Cr4.Pge) != 0;
    }

    private static bool IsUser(CpuState* cpu, Access access) => cpu->Cpl == 3 && (access & Access.System) == 0;
}
