using System.Threading;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// An entry of the guest's page tables: its bits, and reading and marking it where it lies. SDM vol. 3A, "Paging".
/// </summary>
internal static unsafe class PageEntry
{
    internal const ulong Present = 1;
    internal const ulong Write = 2;
    internal const ulong User = 4;
    internal const ulong Accessed = 0x20;
    internal const ulong Dirty = 0x40;
    internal const ulong Large = 0x80;
    internal const ulong Global = 0x100;
    internal const ulong NoExecute = 1UL << 63;

    /// <summary>Reads an entry; where there is no RAM it reads as all ones, and <paramref name="entry"/> is null.</summary>
    internal static ulong Read(GuestMemory memory, ulong at, out ulong* entry)
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

    /// <summary>The same for an entry of 32 bits.</summary>
    internal static uint Read32(GuestMemory memory, ulong at, out uint* entry)
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
    /// Sets A in every entry used and D in the last one. Returns false when an entry changed meanwhile: walk again.
    /// </summary>
    internal static bool TryMark(ulong** path, ulong* values, int depth, bool dirty)
    {
        for (int level = 0; level < depth; level++)
        {
            ulong want = values[level] | Accessed | (dirty && level == depth - 1 ? Dirty : 0);
            if (want != values[level] && path[level] != null)
            {
                // SAFETY: Read made the pointer from a checked host page; entries are 8-aligned inside it.
                if (Interlocked.CompareExchange(ref *path[level], want, values[level]) != values[level])
                {
                    return false;
                }

                values[level] = want;
            }
        }

        return true;
    }

    /// <summary>The same for one entry of 32 bits, which <paramref name="value"/> follows.</summary>
    internal static bool TryMark(uint* entry, ref uint value, bool dirty)
    {
        uint want = value | (uint)Accessed | (dirty ? (uint)Dirty : 0);
        if (want == value || entry == null)
        {
            return true;
        }

        // SAFETY: Read32 made the pointer from a checked host page; entries are 4-aligned inside it.
        if (Interlocked.CompareExchange(ref *entry, want, value) != value)
        {
            return false;
        }

        value = want;
        return true;
    }
}
