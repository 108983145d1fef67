using System;
using Hull.Cpu.State;
using Hull.Host;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// The host's address space in which windows lie: places of 16 GiB, with empty space on both sides that an access with a
/// displacement of 32 bits cannot leave. Place 0 stays empty for good: what has no window leads there.
/// <code>
///   | 2 GiB | place 0: 16 GiB | 4 GiB | place 1: 16 GiB | 4 GiB | ... | 2 GiB, and a page |
/// </code>
/// </summary>
internal sealed unsafe class WindowArena : IDisposable
{
    /// <summary>How many places there are, with the empty one.</summary>
    internal const int Places = 48;

    private const ulong PlaceBytes = 1UL << StateLayout.RegionBits;
    private const ulong Around = 2UL << 30;
    private const ulong Stride = PlaceBytes + (2 * Around);

    // An operand that begins at the end of the last place's surroundings is still within.
    private const ulong Size = (Places * Stride) + GuestMemory.PageSize;
    private readonly byte* _base;

    private WindowArena(byte* at) => _base = at;

    /// <summary>Takes the address space; null where the host does not give it (ulimit -v), or where it ends with it.</summary>
    internal static WindowArena? TryMake()
    {
        byte* at = (byte*)Libc.Mmap(null, unchecked((nuint)Size), Libc.ProtNone, Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve, -1, 0);
        if (at == (void*)-1)
        {
            return null;
        }

        WindowArena arena = new(at);
        if ((ulong)at + Size + Around < 1UL << 47)
        {
            return arena;
        }

        arena.Dispose();
        return null;
    }

    /// <summary>The first byte of a place.</summary>
    internal byte* Place(int place) => _base + Around + ((ulong)place * Stride);

    /// <summary>What to add to an address of a region to get to a place.</summary>
    internal ulong Addend(int place, ulong region) => (ulong)Place(place) - (region << StateLayout.RegionBits);

    /// <summary>The place that a host address lies in, and where; false when it is outside, or around one.</summary>
    internal bool TryFind(ulong host, out int place, out ulong offset)
    {
        ulong at = host - (ulong)_base;
        place = (int)(at / Stride);
        offset = (at % Stride) - Around;
        return at < Size && offset < PlaceBytes;
    }

    /// <summary>Nobody stores to a page any more.</summary>
    /// <returns>False, with nothing changed, when the process has too many mappings.</returns>
    internal static bool TryForbidStores(byte* at) => Libc.Mprotect(at, GuestMemory.PageSize, Libc.ProtRead) == 0;

    /// <summary>Nobody reaches a page any more; the same.</summary>
    internal static bool TryClose(byte* at) => Libc.Mprotect(at, GuestMemory.PageSize, Libc.ProtNone) == 0;

    /// <summary>Nothing is mapped in a place any more.</summary>
    internal void Clear(int place)
    {
        byte* at = Place(place);
        void* done = Libc.Mmap(
            at, unchecked((nuint)PlaceBytes), Libc.ProtNone, Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve | Libc.MapFixed, -1, 0);
        if (done != at)
        {
            // What stays reachable would be a hole in the guest's protection.
            throw new HullException($"cannot take a guest's pages away: {Libc.LastErrorMessage()}");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _ = Libc.Munmap(_base, unchecked((nuint)Size));
}
