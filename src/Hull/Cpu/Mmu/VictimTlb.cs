using System.Runtime.CompilerServices;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Translations behind the inline TLBs: a miss there that hits here costs no page walk. Entries carry the generation
/// in which they are good, so that flushing is one increment: global ones live until everything is flushed, the others while
/// their address space is kept.
/// </summary>
internal sealed unsafe class VictimTlb
{
    private const int Lines = 4096;
    private readonly Entry[] _entries = new Entry[Lines];
    private ulong _globalGeneration = 1;
    private ulong _lastGeneration = 2;

    /// <summary>The generation of what is not global; each address space has its own.</summary>
    internal ulong LocalGeneration { get; set; } = 2;

    /// <summary>Looks a page up for one kind of access. Returns null when it is not known.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte* Find(ulong linear, bool user, bool store, out bool global) =>
        Find(Tag(linear, user, store), out global);

    /// <summary>The same for instruction fetches.</summary>
    internal byte* FindFetch(ulong linear, bool user, out bool global) => Find(FetchTag(linear, user), out global);

    /// <summary>Enters a translation that was allowed for this kind of access.</summary>
    internal void Fill(ulong linear, bool user, bool store, in PageTranslation page) =>
        Fill(Tag(linear, user, store), page);

    /// <summary>Enters a translation that was allowed for instruction fetches.</summary>
    internal void FillFetch(ulong linear, bool user, in PageTranslation page) => Fill(FetchTag(linear, user), page);

    /// <summary>Forgets what is not global.</summary>
    internal void FlushNonGlobal() => LocalGeneration = ++_lastGeneration;

    /// <summary>Forgets everything.</summary>
    internal void FlushAll()
    {
        _globalGeneration = ++_lastGeneration;
        FlushNonGlobal();
    }

    /// <summary>Forgets one linear page: a global one, or the current address space's.</summary>
    internal void FlushPage(ulong linear)
    {
        for (int kind = 0; kind < 4; kind++)
        {
            Drop(Tag(linear, (kind & 2) != 0, (kind & 1) != 0));
        }

        Drop(FetchTag(linear, false));
        Drop(FetchTag(linear, true));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte* Find(ulong tag, out bool global)
    {
        ref Entry entry = ref Line(tag, _globalGeneration);
        global = entry.Tag == tag && entry.Generation == _globalGeneration;
        if (!global)
        {
            entry = ref Line(tag, LocalGeneration);
        }

        return global || (entry.Tag == tag && entry.Generation == LocalGeneration) ? (byte*)entry.Host : null;
    }

    private void Fill(ulong tag, in PageTranslation page)
    {
        ulong generation = page.Global ? _globalGeneration : LocalGeneration;
        Line(tag, generation) = new Entry { Tag = tag, Host = (ulong)page.Host, Generation = generation };
    }

    private void Drop(ulong tag)
    {
        Drop(ref Line(tag, _globalGeneration), tag);
        Drop(ref Line(tag, LocalGeneration), tag);
    }

    private static void Drop(ref Entry entry, ulong tag)
    {
        if (entry.Tag == tag)
        {
            entry = default;
        }
    }

    private static ulong Tag(ulong linear, bool user, bool store) =>
        (linear & ~0xFFFUL) | (user ? 2UL : 0) | (store ? 1UL : 0) | 4;

    private static ulong FetchTag(ulong linear, bool user) => (linear & ~0xFFFUL) | (user ? 2UL : 0) | 8;

    // A process and its child have the same pages: the generation keeps their lines apart.
    private ref Entry Line(ulong tag, ulong generation) =>
        ref _entries[(int)(((tag >> 12) ^ (tag >> 24) ^ (tag << 10) ^ ((tag & 8) << 4) ^ (generation * 0x1D5)) & (Lines - 1))];

    private struct Entry
    {
        internal ulong Tag;
        internal ulong Host;

        /// <summary>Global and local ones differ: both are counted together.</summary>
        internal ulong Generation;
    }
}
