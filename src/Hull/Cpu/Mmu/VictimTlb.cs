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
    private ulong _lastGeneration = 1;

    /// <summary>The generation of what is not global; each address space has its own.</summary>
    internal ulong LocalGeneration { get; set; } = 1;

    /// <summary>Looks a page up for one kind of access. Returns null when it is not known.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte* Find(ulong linear, bool user, bool store, out bool global)
    {
        ulong tag = Tag(linear, user, store);
        ref Entry entry = ref _entries[Line(tag)];
        global = entry.Global;
        bool good = entry.Tag == tag
            && entry.Generation == (entry.Global ? _globalGeneration : LocalGeneration);
        return good ? (byte*)entry.Host : null;
    }

    /// <summary>Enters a translation that was allowed for this kind of access.</summary>
    internal void Fill(ulong linear, bool user, bool store, in PageTranslation page)
    {
        ulong tag = Tag(linear, user, store);
        _entries[Line(tag)] = new Entry
        {
            Tag = tag,
            Host = (ulong)page.Host,
            Global = page.Global,
            Generation = page.Global ? _globalGeneration : LocalGeneration,
        };
    }

    /// <summary>Forgets what is not global.</summary>
    internal void FlushNonGlobal() => LocalGeneration = ++_lastGeneration;

    /// <summary>Forgets everything.</summary>
    internal void FlushAll()
    {
        _globalGeneration++;
        FlushNonGlobal();
    }

    /// <summary>Forgets one linear page.</summary>
    internal void FlushPage(ulong linear)
    {
        for (int kind = 0; kind < 4; kind++)
        {
            ulong tag = Tag(linear, (kind & 2) != 0, (kind & 1) != 0);
            ref Entry entry = ref _entries[Line(tag)];
            if (entry.Tag == tag)
            {
                entry = default;
            }
        }
    }

    private static ulong Tag(ulong linear, bool user, bool store) =>
        (linear & ~0xFFFUL) | (user ? 2UL : 0) | (store ? 1UL : 0) | 4;

    private static int Line(ulong tag) => (int)(((tag >> 12) ^ (tag >> 24) ^ (tag << 10)) & (Lines - 1));

    private struct Entry
    {
        internal ulong Tag;
        internal ulong Host;
        internal ulong Generation;
        internal bool Global;
    }
}
