using System.Collections.Generic;
using Hull.Memory;
using Hull.Xen.Events;

namespace Hull.Xen.Grants;

/// <summary>
/// A domain's grant table, version 1: entries of eight bytes with which the guest lets others use its pages. Its frames are
/// spare pages, which the guest puts where it likes. Xen, public/grant_table.h.
/// </summary>
internal sealed class GrantTable(Domain domain)
{
    private const int EntrySize = 8;
    private const int EntriesInPage = GuestMemory.PageSize / EntrySize;
    private const uint TypeMask = 3;
    private const uint PermitAccess = 1;
    private const uint ReadOnly = 1 << 2;
    private const uint Reading = 1 << 3;
    private const uint Writing = 1 << 4;

    // Where each frame is for the guest; null before it has placed it.
    private readonly GuestPhysical?[] _frames = new GuestPhysical?[SpecialPages.MostGrantFrames];

    /// <summary>Frames that there are so far.</summary>
    internal int FrameCount { get; private set; } = 1;

    /// <summary>XENMEM_add_to_physmap of the table's frame <paramref name="index"/>; the table grows as needed.</summary>
    /// <returns>0, or an error.</returns>
    internal long PlaceFrame(ulong index, ulong frame)
    {
        if (index >= SpecialPages.MostGrantFrames || frame > ulong.MaxValue / GuestMemory.PageSize)
        {
            return XenError.Invalid;
        }

        // QUIRK: a grant frame takes over the guest's own page of RAM at that frame; in Xen it replaces it, and the RAM is gone.
        GuestPhysical at = new(frame * GuestMemory.PageSize);
        System.Span<byte> content = stackalloc byte[GuestMemory.PageSize];
        content.Clear();
        if (_frames[index] is GuestPhysical before)
        {
            domain.Memory.TryRead(before, content);
        }

        if (!domain.Memory.Place(at.Value, SpecialPages.FirstGrantFrame + (int)index)
            && !domain.Memory.Contains(at, GuestMemory.PageSize))
        {
            return XenError.Invalid;
        }

        domain.Memory.TryWrite(at, content);
        _frames[index] = at;
        FrameCount = System.Math.Max(FrameCount, (int)index + 1);
        return 0;
    }

    /// <summary>The entries with which the guest grants something.</summary>
    internal static List<XenGrant> Read(GrantTable table)
    {
        List<XenGrant> grants = [];
        for (uint reference = 0; reference < table._frames.Length * EntriesInPage; reference++)
        {
            if (table.EntryAt(reference) is GuestPhysical entry
                && table.Memory.Read<uint>(entry) is uint word && (word & TypeMask) == PermitAccess)
            {
                string use = (word & Writing) != 0 ? "write" : (word & Reading) != 0 ? "read" : "";
                uint frame = table.Memory.Read<uint>(new GuestPhysical(entry.Value + 4));
                grants.Add(new XenGrant(reference, frame, (int)(word >> 16), (word & ReadOnly) != 0, use));
            }
        }

        return grants;
    }

    /// <summary>The domain begins anew: the table is nowhere, and one frame long.</summary>
    internal void Restart()
    {
        System.Array.Clear(_frames);
        FrameCount = 1;
    }

    /// <summary>Where the guest has placed a frame; all ones, which is nowhere, before that.</summary>
    internal ulong FrameAt(int index) => _frames[index]?.Value ?? ulong.MaxValue;

    /// <summary>
    /// A back end begins to use a page that the guest has granted to it, and the entry says so until <see cref="End"/>. Any
    /// thread.
    /// </summary>
    /// <param name="reference">The entry.</param>
    /// <param name="isWrite">The page is to be written.</param>
    /// <param name="page">The page.</param>
    /// <returns>False when it is not granted so, or is no RAM.</returns>
    internal bool TryBegin(uint reference, bool isWrite, out GuestPhysical page)
    {
        if (!TryFind(reference, isWrite, out page) || EntryAt(reference) is not GuestPhysical entry)
        {
            return false;
        }

        GuestBits.TestAndSet(domain.Memory, entry, isWrite ? Reading | Writing : Reading);
        return true;
    }

    /// <summary>
    /// A page that the guest has granted, to be copied from or to at once: the entry is not marked, because the guest does not take
    /// a page back before it is told that its request is done. Any thread.
    /// </summary>
    /// <returns>False when it is not granted so, or is no RAM.</returns>
    internal bool TryFind(uint reference, bool isWrite, out GuestPhysical page)
    {
        page = default;
        if (EntryAt(reference) is not GuestPhysical entry)
        {
            return false;
        }

        // Flags in the lowest half of a word, the domain that may use it in the next: 0, where the back ends are; then the page.
        ulong whole = domain.Memory.Read<ulong>(entry);
        uint word = (uint)whole;
        page = new GuestPhysical((whole >> 32) * GuestMemory.PageSize);
        return (word & TypeMask) == PermitAccess && word >> 16 == 0 && (!isWrite || (word & ReadOnly) == 0)
            && domain.Memory.Contains(page, GuestMemory.PageSize);
    }

    /// <summary>The page is not used any more. Any thread.</summary>
    internal void End(uint reference)
    {
        if (EntryAt(reference) is GuestPhysical entry)
        {
            GuestBits.TestAndClear(domain.Memory, entry, Reading | Writing);
        }
    }

    private GuestMemory Memory => domain.Memory;

    private GuestPhysical? EntryAt(uint reference) =>
        reference / EntriesInPage < SpecialPages.MostGrantFrames && _frames[reference / EntriesInPage] is GuestPhysical frame
            ? new GuestPhysical(frame.Value + (reference % EntriesInPage * EntrySize))
            : null;
}
