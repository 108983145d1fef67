using System;
using Hull.Host;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Pairs of RAM pages side by side in the host's address space, so that a store over the end of a page has one host address
/// even where the guest's two pages do not follow each other in RAM.
/// <code>
///   RAM:    ... | B |  ...  | A | ...
///   seam:                   | A | B |      the same pages, mapped again
/// </code>
/// A seam depends on the pages alone, not on what the guest maps where, so nothing the guest does makes one wrong. Its two
/// mappings cost some microseconds: a pair gets one when it comes twice to a line. A vCPU's own.
/// </summary>
internal sealed unsafe class PageSeams : IDisposable
{
    // Each is two mappings of the 65,530 that a Linux process may have.
    private const int Lines = 256;
    private const int LineBytes = 2 * GuestMemory.PageSize;
    private const ulong Nothing = ulong.MaxValue;
    private readonly GuestMemory _memory;
    private readonly Line[] _lines = new Line[Lines];
    private byte* _base;

    internal PageSeams(GuestMemory memory)
    {
        _memory = memory;
        Array.Fill(_lines, new Line(Nothing, Nothing));
    }

    /// <summary>The first of two pages that lie side by side, by their offsets in the guest's mapping; null when there is no seam of them.</summary>
    internal byte* Find(ulong first, ulong second)
    {
        // 40 bits of bytes are 28 bits of pages.
        ulong pair = (first << 20) | (second / GuestMemory.PageSize);
        int index = (int)((pair * 0x9E37_79B9_7F4A_7C15) >> 56);
        ref Line line = ref _lines[index];
        byte* at = _base + (index * LineBytes);
        if (line.Pair == pair)
        {
            return at;
        }

        if (line.Candidate != pair)
        {
            line.Candidate = pair;
            return null;
        }

        if (_base == null)
        {
            _base = (byte*)Libc.MapOrThrow(
                Lines * LineBytes, Libc.ProtNone, Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve, -1, "seams of pages");
            at = _base + (index * LineBytes);
        }

        line.Pair = Nothing;
        if (!_memory.TryMapAgain(at, first, 1, true) || !_memory.TryMapAgain(at + GuestMemory.PageSize, second, 1, true))
        {
            return null;
        }

        line.Pair = pair;
        return at;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_base != null)
        {
            _ = Libc.Munmap(_base, Lines * LineBytes);
            _base = null;
        }
    }

    private record struct Line(ulong Pair, ulong Candidate);
}
