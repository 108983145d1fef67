using System;
using System.Collections.Generic;
using Hull.Memory;
using Hull.Xen.Events;

namespace Hull.Xen.Grants;

/// <summary>
/// A domain's grant table: entries with which the guest lets others use its pages. They have eight bytes in version 1, and in version
/// 2 sixteen, with a table of its own for what is in use. The frames of both tables are spare pages, which the guest puts where it
/// likes. Xen, public/grant_table.h.
/// </summary>
internal sealed class GrantTable(Domain domain)
{
    // What an index of add_to_physmap has when it means a frame of the second table.
    private const ulong StatusIndex = 1UL << 63;

    // Entries that keep their meaning when the version changes: those of the toolstack.
    private const uint ReservedEntries = 8;

    // Where each frame is for the guest; null before it has placed it.
    private readonly GuestPhysical?[] _frames = new GuestPhysical?[SpecialPages.MostGrantFrames];
    private readonly GuestPhysical?[] _statusFrames = new GuestPhysical?[SpecialPages.MostStatusFrames];

    /// <summary>Frames that there are so far.</summary>
    internal int FrameCount { get; private set; } = 1;

    /// <summary>The form of the entries, 1 or 2.</summary>
    internal int Version { get; private set; } = 1;

    /// <summary>Entries in the frames that there are.</summary>
    internal uint EntryCount => (uint)FrameCount * EntriesInPage;

    private GuestMemory Memory => domain.Memory;

    private uint EntrySize => Version == 1 ? 8u : 16;

    private uint EntriesInPage => GuestMemory.PageSize / EntrySize;

    /// <summary>XENMEM_add_to_physmap of a frame of the table or of the status words; the table grows as needed.</summary>
    /// <returns>0, or an error.</returns>
    internal long PlaceFrame(ulong index, ulong frame)
    {
        bool isStatus = (index & StatusIndex) != 0;
        index &= ~StatusIndex;
        GuestPhysical?[] frames = isStatus ? _statusFrames : _frames;
        if (index >= (ulong)frames.Length || frame > ulong.MaxValue / GuestMemory.PageSize)
        {
            return XenError.Invalid;
        }

        // QUIRK: a grant frame takes over the guest's own page of RAM at that frame; in Xen it replaces it.
        GuestPhysical at = new(frame * GuestMemory.PageSize);
        Span<byte> content = stackalloc byte[GuestMemory.PageSize];
        content.Clear();
        bool hasContent = frames[index] is null || Memory.TryRead(frames[index]!.Value, content); // it is placed
        int spare = (isStatus ? SpecialPages.FirstStatusFrame : SpecialPages.FirstGrantFrame) + (int)index;
        bool isSpare = Memory.Place(at.Value, spare);
        if (!isSpare && !Memory.Contains(at, GuestMemory.PageSize))
        {
            return XenError.Invalid;
        }

        // One that the guest has taken away meanwhile still holds it.
        if (hasContent || !isSpare)
        {
            Memory.TryWrite(at, content);
        }

        frames[index] = at;
        domain.Reservation.Cover(frame);
        FrameCount = isStatus ? FrameCount : Math.Max(FrameCount, (int)index + 1);
        return 0;
    }

    /// <summary>GNTTABOP_set_version: all entries but the first are gone, and their form is another one.</summary>
    /// <returns>False when pages of the guest's are in use by then.</returns>
    internal bool TrySetVersion(int version)
    {
        if (version == Version)
        {
            return true;
        }

        Span<GrantEntry> kept = stackalloc GrantEntry[(int)ReservedEntries];
        for (uint reference = 0; reference < EntryCount; reference++)
        {
            GrantEntry entry = Load(reference);
            if (entry.Use != 0)
            {
                return false;
            }

            if (reference < ReservedEntries)
            {
                kept[(int)reference] = entry;
            }
        }

        foreach (GuestPhysical? frame in _frames)
        {
            if (frame is GuestPhysical at)
            {
                Memory.TryClear(at, GuestMemory.PageSize);
            }
        }

        Version = version;
        for (uint reference = 0; reference < ReservedEntries; reference++)
        {
            Store(reference, kept[(int)reference]);
        }

        return true;
    }

    /// <summary>GNTTABOP_swap_grant_ref: two entries change places.</summary>
    /// <returns>False when one of them is in use.</returns>
    internal bool TrySwap(uint first, uint second)
    {
        GrantEntry one = Load(first);
        GrantEntry other = Load(second);
        if (one.Use != 0 || other.Use != 0)
        {
            return false;
        }

        Store(first, other);
        Store(second, one);
        return true;
    }

    /// <summary>The entries with which the guest grants something.</summary>
    internal static List<XenGrant> Read(GrantTable table)
    {
        List<XenGrant> grants = [];
        for (uint reference = 0; reference < table.EntryCount; reference++)
        {
            GrantEntry entry = table.Load(reference);
            if (entry.IsAccess)
            {
                string use = (entry.Use & GrantEntry.Writing) != 0 ? "write" : (entry.Use & GrantEntry.Reading) != 0 ? "read" : "";
                grants.Add(new XenGrant(reference, entry.Frame, entry.Domain, entry.IsReadOnly, use));
            }
        }

        return grants;
    }

    /// <summary>The domain begins anew: the table is nowhere, and one frame long.</summary>
    internal void Restart()
    {
        Array.Clear(_frames);
        Array.Clear(_statusFrames);
        FrameCount = 1;
        Version = 1;
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
        if (!TryFind(reference, isWrite, out page) || UseWord(reference, out int shift) is not GuestPhysical word)
        {
            return false;
        }

        GuestBits.TestAndSet(Memory, word, (isWrite ? GrantEntry.Reading | GrantEntry.Writing : GrantEntry.Reading) << shift);
        return true;
    }

    /// <summary>
    /// A page that the guest has granted, to be copied from or to at once: the entry is not marked, because the guest does not take
    /// a page back before it is told that its request is done. Any thread.
    /// </summary>
    /// <param name="reference">The entry.</param>
    /// <param name="isWrite">The page is to be written.</param>
    /// <param name="page">The page.</param>
    /// <param name="user">The domain that wants to use it: dom0, where the back ends are, or the guest itself.</param>
    /// <returns>False when it is not granted so, or is no RAM.</returns>
    internal bool TryFind(uint reference, bool isWrite, out GuestPhysical page, int user = 0)
    {
        page = default;
        if (EntryAt(reference) is null)
        {
            return false;
        }

        GrantEntry entry = Load(reference);
        page = new GuestPhysical(entry.Frame * GuestMemory.PageSize);
        return entry.IsAccess && entry.Domain == user && (!isWrite || !entry.IsReadOnly)
            && entry.Frame <= ulong.MaxValue / GuestMemory.PageSize && Memory.Contains(page, GuestMemory.PageSize);
    }

    /// <summary>The page is not used any more. Any thread.</summary>
    internal void End(uint reference)
    {
        if (UseWord(reference, out int shift) is GuestPhysical word)
        {
            GuestBits.TestAndClear(Memory, word, (GrantEntry.Reading | GrantEntry.Writing) << shift);
        }
    }

    // All ones where there is no entry yet: of a domain and a kind that nobody has.
    private GrantEntry Load(uint reference)
    {
        if (EntryAt(reference) is not GuestPhysical at)
        {
            return default;
        }

        ulong first = Memory.Read<ulong>(at);
        if (Version == 1)
        {
            return new GrantEntry((uint)first & ~GrantEntry.UseMask, first >> 32, (uint)first & GrantEntry.UseMask);
        }

        uint use = UseWord(reference, out int shift) is GuestPhysical word ? Memory.Read<uint>(word) >> shift : 0;
        return new GrantEntry((uint)first, Memory.Read<ulong>(new GuestPhysical(at.Value + 8)), use & GrantEntry.UseMask);
    }

    private void Store(uint reference, in GrantEntry entry)
    {
        if (EntryAt(reference) is not GuestPhysical at)
        {
            return;
        }

        if (Version == 1)
        {
            Memory.Write(at, entry.Word | (entry.Frame << 32));
        }
        else
        {
            Memory.Write(new GuestPhysical(at.Value + 8), entry.Frame);
            Memory.Write(at, (ulong)entry.Word);
        }
    }

    private GuestPhysical? EntryAt(uint reference) =>
        reference / EntriesInPage < SpecialPages.MostGrantFrames && _frames[reference / EntriesInPage] is GuestPhysical frame
            ? new GuestPhysical(frame.Value + (reference % EntriesInPage * EntrySize))
            : null;

    // The aligned word with an entry's marks, and by how much they are shifted in it. In version 2 there may be none yet.
    private GuestPhysical? UseWord(uint reference, out int shift)
    {
        const uint halvesInPage = GuestMemory.PageSize / sizeof(ushort);
        shift = 0;
        if (Version == 1)
        {
            return EntryAt(reference);
        }

        shift = (int)(reference & 1) * 16;
        return reference / halvesInPage < SpecialPages.MostStatusFrames && _statusFrames[reference / halvesInPage] is GuestPhysical frame
            ? new GuestPhysical(frame.Value + (reference % halvesInPage / 2 * sizeof(uint)))
            : null;
    }
}
