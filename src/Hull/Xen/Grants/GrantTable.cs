using Hull.Memory;

namespace Hull.Xen.Grants;

/// <summary>
/// A domain's grant table, version 1: entries of eight bytes with which the guest lets others use its pages. Its frames are
/// spare pages, which the guest puts where it likes. Xen, public/grant_table.h.
/// </summary>
internal sealed class GrantTable(Domain domain)
{
    /// <summary>Frames that there are so far.</summary>
    internal int FrameCount { get; private set; } = 1;

    /// <summary>XENMEM_add_to_physmap of the table's frame <paramref name="index"/>; the table grows as needed.</summary>
    /// <returns>0, or an error.</returns>
    internal long PlaceFrame(ulong index, ulong frame)
    {
        if (index >= SpecialPages.MostGrantFrames || frame > ulong.MaxValue / GuestMemory.PageSize
            || !domain.Memory.Place(frame * GuestMemory.PageSize, SpecialPages.FirstGrantFrame + (int)index))
        {
            return XenError.Invalid;
        }

        FrameCount = System.Math.Max(FrameCount, (int)index + 1);
        return 0;
    }
}
