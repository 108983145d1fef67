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
    // What an index of add_to_physmap has in version 2 when it means a frame of the second table.
    private const uint StatusIndex = 1u << 31;

    // Entries that keep their meaning when the version changes: those of the toolstack.
    private const uint ReservedEntries = 8;

    // A frame that the guest has not placed yet.
    private const ulong Nowhere = ulong.MaxValue;

    // Where each frame is for the guest: plain numbers, because back ends look while the guest moves them.
    private readonly ulong[] _frames = MakeFrames(SpecialPages.MostGrantFrames);
    private readonly ulong[] _statusFrames = MakeFrames(SpecialPages.MostStatusFrames);
    private volatile int _version = 1;

    /// <summary>Frames that there are so far.</summary>
    internal int FrameCount { get; private set; } = 1;

    /// <summary>The form of the entries, 1 or 2.</summary>
    internal int Version => _version;

    /// <summary>Entries in the frames that there are.</summary>
    internal uint EntryCount => (uint)FrameCount * EntriesInPage(_version);

    private GuestMemory Memory => domain.Memory;

    /// <summary>XENMEM_add_to_physmap of a frame of the table or of the status words; the table grows as needed.</summary>
    /// <returns>0, or an error.</returns>
    internal long PlaceFrame(ulong index, ulong frame)
    {
        index = (uint)index; // Xen keeps so much of it
        bool isStatus = _version == 2 && (index & StatusIndex) != 0;
        index &= isStatus ? ~StatusIndex : uint.MaxValue;
        ulong[] frames = isStatus ? _statusFrames : _frames;
        if (index >= (ulong)frames.Length || frame > ulong.MaxValue / GuestMemory.PageSize)
        {
            return XenError.Invalid;
        }

        // QUIRK: a grant frame takes over the guest's own page of RAM at that frame; in Xen it replaces it.
        GuestPhysical at = new(frame * GuestMemory.PageSize);
        Span<byte> content = stackalloc byte[GuestMemory.PageSize];
        content.Clear();
        bool hasContent = frames[index] == Nowhere || Memory.TryRead(new GuestPhysical(frames[index]), content);
        int spare = (isStatus ? SpecialPages.FirstStatusFrame : SpecialPages.FirstGrantFrame) + (int)index;
        bool isSpare = Memory.Spare.TryPlace(at.Value, spare);
        if (!isSpare && !Memory.Contains(at, GuestMemory.PageSize))
        {
            return XenError.Invalid;
        }

        // One that the guest has taken away meanwhile still holds it.
        if (hasContent || !isSpare)
        {
            Memory.TryWrite(at, content);
        }

        frames[index] = at.Value;
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
            GrantEntry entry = Load(reference, _version);
            if (entry.Use != 0)
            {
                return false;
            }

            if (reference < ReservedEntries)
            {
                kept[(int)reference] = entry;
            }
        }

        foreach (ulong frame in _frames)
        {
            Memory.TryClear(new GuestPhysical(frame), GuestMemory.PageSize); // not what is nowhere
        }

        _version = version;
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
        GrantEntry one = Load(first, _version);
        GrantEntry other = Load(second, _version);
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
            GrantEntry entry = table.Load(reference, table._version);
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
        Array.Fill(_frames, Nowhere);
        Array.Fill(_statusFrames, Nowhere);
        FrameCount = 1;
        _version = 1;
    }

    /// <summary>Where the guest has placed a frame; all ones, which is nowhere, before that.</summary>
    internal ulong FrameAt(int index) => _frames[index];

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
        int version = _version;
        if (!TryFind(reference, version, isWrite, out page, 0) || UseWord(reference, version, out int shift) is not GuestPhysical word)
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
    internal bool TryFind(uint reference, bool isWrite, out GuestPhysical page, int user = 0) =>
        TryFind(reference, _version, isWrite, out page, user);

    /// <summary>A page, or a part of one, that the guest has granted to itself, to be copied from or to at once.</summary>
    /// <returns>False when it is not granted so, or is no RAM. What another has granted to the guest (transitive) there is none.</returns>
    internal bool TryFindPart(uint reference, bool isWrite, int user, out GuestPhysical page, out GrantedPart part)
    {
        GrantEntry entry = Load(reference, _version);
        part = entry.Granted;
        return IsGranted(entry, isWrite, user, out page) && entry.IsCopyable;
    }

    /// <summary>The page is not used any more. Any thread.</summary>
    internal void End(uint reference)
    {
        if (UseWord(reference, _version, out int shift) is GuestPhysical word)
        {
            GuestBits.TestAndClear(Memory, word, (GrantEntry.Reading | GrantEntry.Writing) << shift);
        }
    }

    private static ulong[] MakeFrames(int count)
    {
        ulong[] frames = new ulong[count];
        Array.Fill(frames, Nowhere);
        return frames;
    }

    private static uint EntrySize(int version) => version == 1 ? 8u : 16;

    private static uint EntriesInPage(int version) => GuestMemory.PageSize / EntrySize(version);

    // The version is looked at once for each entry: the guest may change it at any moment.
    private bool TryFind(uint reference, int version, bool isWrite, out GuestPhysical page, int user)
    {
        GrantEntry entry = Load(reference, version);
        return IsGranted(entry, isWrite, user, out page) && entry.IsAccess;
    }

    private bool IsGranted(in GrantEntry entry, bool isWrite, int user, out GuestPhysical page)
    {
        page = new GuestPhysical(entry.Frame * GuestMemory.PageSize);
        return entry.Domain == user && (!isWrite || !entry.IsReadOnly)
            && entry.Frame <= ulong.MaxValue / GuestMemory.PageSize && Memory.Contains(page, GuestMemory.PageSize);
    }

    // Nothing is granted where there is no entry yet.
    private GrantEntry Load(uint reference, int version)
    {
        if (EntryAt(reference, version) is not GuestPhysical at)
        {
            return default;
        }

        ulong first = Memory.Read<ulong>(at);
        if (version == 1)
        {
            return new GrantEntry((uint)first & ~GrantEntry.UseMask, first >> 32, (uint)first & GrantEntry.UseMask);
        }

        uint use = UseWord(reference, version, out int shift) is GuestPhysical word ? Memory.Read<uint>(word) >> shift : 0;
        ulong frame = Memory.Read<ulong>(new GuestPhysical(at.Value + 8));
        return new GrantEntry((uint)first, frame, use & GrantEntry.UseMask, (uint)(first >> 32));
    }

    private void Store(uint reference, in GrantEntry entry)
    {
        if (EntryAt(reference, _version) is not GuestPhysical at)
        {
            return;
        }

        if (_version == 1)
        {
            Memory.Write(at, entry.Word | (entry.Frame << 32));
        }
        else
        {
            Memory.Write(new GuestPhysical(at.Value + 8), entry.Frame);
            Memory.Write(at, entry.Word | ((ulong)entry.Part << 32));
        }
    }

    private GuestPhysical? EntryAt(uint reference, int version)
    {
        uint index = reference / EntriesInPage(version);
        ulong frame = index < SpecialPages.MostGrantFrames ? _frames[index] : Nowhere;
        return frame == Nowhere ? null : new GuestPhysical(frame + (reference % EntriesInPage(version) * EntrySize(version)));
    }

    // The aligned word with an entry's marks, and by how much they are shifted in it. In version 2 there may be none yet.
    private GuestPhysical? UseWord(uint reference, int version, out int shift)
    {
        const uint halvesInPage = GuestMemory.PageSize / sizeof(ushort);
        shift = 0;
        if (version == 1)
        {
            return EntryAt(reference, version);
        }

        shift = (int)(reference & 1) * 16;
        uint index = reference / halvesInPage;
        ulong frame = index < SpecialPages.MostStatusFrames ? _statusFrames[index] : Nowhere;
        return frame == Nowhere ? null : new GuestPhysical(frame + (reference % halvesInPage / 2 * sizeof(uint)));
    }
}
