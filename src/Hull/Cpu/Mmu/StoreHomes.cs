using System.Threading;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// For each page of RAM, where a vCPU's store TLBs may have a line for it: nowhere, in one set, or anywhere. A page that
/// becomes code leaves the store TLBs, and a guest that patches code makes the same page code again and again; so it
/// must not cost a look at all lines. A home outlives its line.
/// </summary>
internal sealed unsafe class StoreHomes
{
    private const ushort Nowhere = 0;
    private const ushort Anywhere = ushort.MaxValue;
    private readonly byte* _base;

    // Number of the set, plus one.
    private readonly ushort[] _homes;

    internal StoreHomes(GuestMemory memory)
    {
        _base = memory.Base;
        _homes = new ushort[memory.MappedSize / GuestMemory.PageSize];
    }

    /// <summary>A line is about to be filled. The vCPU's own thread.</summary>
    internal void Note(byte* hostPage, int set)
    {
        ref ushort home = ref Home(hostPage);
        ushort value = (ushort)(set + 1);
        if (home != value)
        {
            Volatile.Write(ref home, home == Nowhere ? value : Anywhere);
        }
    }

    /// <summary>No line since the page was cleared. Any thread.</summary>
    internal bool IsEmpty(byte* hostPage) => Volatile.Read(ref Home(hostPage)) == Nowhere;

    /// <summary>The only set that may have lines for a page; false when others may, too. Any thread.</summary>
    internal bool TryGet(byte* hostPage, out int set)
    {
        ushort home = Volatile.Read(ref Home(hostPage));
        set = home - 1;
        return home is not (Nowhere or Anywhere);
    }

    /// <summary>All lines for a page, and page slots that were filled from them, are empty. The vCPU's own thread.</summary>
    internal void Clear(byte* hostPage) => Home(hostPage) = Nowhere;

    private ref ushort Home(byte* hostPage) => ref _homes[(nuint)(hostPage - _base) / GuestMemory.PageSize];
}
