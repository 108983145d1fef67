using System;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Answers whether a page may have been noted: "no" is certain, "perhaps" is not. Nothing is forgotten singly, so asking
/// after a page costs one load however many were noted.
/// </summary>
internal sealed class PageFilter
{
    private readonly ulong[] _words;
    private readonly int _shift;

    /// <param name="logBits">The filter has 2 to the power of this many bits; at least 6.</param>
    internal PageFilter(int logBits)
    {
        _words = new ulong[1 << (logBits - 6)];
        _shift = 64 - logBits;
    }

    /// <summary>Notes a page, by its number.</summary>
    internal void Add(ulong page)
    {
        ulong bit = Bit(page);
        _words[bit >> 6] |= 1UL << (int)bit;
    }

    /// <summary>False when the page was not noted since <see cref="Clear"/>.</summary>
    internal bool MayHave(ulong page)
    {
        ulong bit = Bit(page);
        return (_words[bit >> 6] & (1UL << (int)bit)) != 0;
    }

    /// <summary>Forgets all.</summary>
    internal void Clear() => Array.Clear(_words);

    // Neighbours get bits far from each other: multiplication by the golden ratio, of which the top bits are taken.
    private ulong Bit(ulong page) => (page * 0x9E37_79B9_7F4A_7C15) >> _shift;
}
