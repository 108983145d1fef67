using System.Threading;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Maps pages of an address space into its windows: the one that was asked for and its neighbours that the guest's tables have, in as
/// few mappings as there are runs of pages that follow each other in RAM. Under the gate of <see cref="Windows"/>.
/// </summary>
internal sealed unsafe class WindowFiller(GuestMemory memory, WindowPages pages, WindowRoom room)
{
    // Pages that one fault brings.
    private const int Around = 16;
    private const ulong AroundBytes = Around * GuestMemory.PageSize;

    /// <summary>Pages mapped so far.</summary>
    internal ulong Mapped { get; private set; }

    /// <summary>The process may have some more mappings.</summary>
    internal bool HasRoom => room.Has(Around);

    /// <summary>The offset of a page in RAM; false when it is not RAM.</summary>
    internal bool TryOffset(ulong physical, out ulong offset)
    {
        byte* host = memory.HostPage(physical);
        offset = (ulong)(host - memory.Base);
        return host != null && offset < memory.Size;
    }

    /// <summary>Maps the page of an address.</summary>
    /// <param name="space">Whose.</param>
    /// <param name="addend">What to add to an address of its region to get to its window.</param>
    /// <param name="peek">Reads the space's tables.</param>
    /// <param name="linear">The page's address.</param>
    /// <param name="page">Where it is; RAM.</param>
    /// <param name="store">The access is a store.</param>
    /// <returns>False when the access must be made in another way.</returns>
    internal bool TryMap(WindowSpace space, ulong addend, ref UserPeek peek, ulong linear, in PageTranslation page, bool store)
    {
        ulong first = linear & ~(AroundBytes - 1);
        Run run = default;
        bool mapped = false;
        for (ulong at = first; at < first + AroundBytes; at += GuestMemory.PageSize)
        {
            bool wanted = at == linear;
            ulong physical = page.PhysicalPage;
            bool writable = page.Writable || store;
            if ((!wanted && (pages.TryFind(at + addend, out _) || !peek.TryTranslate(at, out physical, out writable)))
                || !TryOffset(physical, out ulong offset))
            {
                continue;
            }

            writable = writable && memory.TakesStores(physical) && !HoldsCode(offset);
            if (wanted && store && !writable)
            {
                return false;
            }

            if (!run.Continues(at, offset, writable))
            {
                mapped |= Map(space, addend, run, linear);
                run = new Run(at, offset, 0, writable);
            }

            run = run with { Pages = run.Pages + 1 };
        }

        return mapped | Map(space, addend, run, linear);
    }

    private bool HoldsCode(ulong offset) => Volatile.Read(ref memory.Pages.CodeGrains(offset / GuestMemory.PageSize)) != 0;

    // True when the wanted page is among them. A translator on another vCPU marks a page and then asks for the gate; so the marks that
    // were looked at behind it are those that count.
    private bool Map(WindowSpace space, ulong addend, in Run run, ulong wanted)
    {
        ulong host = run.Linear + addend;
        if (run.Pages == 0 || !memory.TryMapAgain((byte*)host, run.Offset, run.Pages, run.Writable))
        {
            return false;
        }

        space.Charge(run.Pages * WindowSpace.PageCost);
        room.Take(space, run.Pages);
        Mapped += (uint)run.Pages;
        for (int i = 0; i < run.Pages; i++)
        {
            ulong by = (ulong)(i * GuestMemory.PageSize);
            if (pages.TryFind(host + by, out int known))
            {
                pages.Remove(known);
            }

            pages.Add(space, host + by, run.Linear + by, run.Offset + by, run.Writable);
        }

        return wanted - run.Linear < (ulong)(run.Pages * GuestMemory.PageSize);
    }

    // Pages that follow each other for the guest and in RAM.
    private readonly record struct Run(ulong Linear, ulong Offset, int Pages, bool Writable)
    {
        internal bool Continues(ulong linear, ulong offset, bool writable) => Pages > 0 && writable == Writable
            && linear == Linear + (ulong)(Pages * GuestMemory.PageSize)
            && offset == Offset + (ulong)(Pages * GuestMemory.PageSize);
    }
}
