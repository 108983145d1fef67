using System.Threading;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Mappings that a machine's windows may still make. A Linux process may have 65,530 of them, and each page may be one, also when it was
/// closed again. Any thread.
/// </summary>
internal sealed class WindowRoom
{
    private const int Most = 30_000;
    private int _used;

    /// <summary>There is room for some pages more.</summary>
    internal bool Has(int pages) => Volatile.Read(ref _used) + pages <= Most;

    /// <summary>Pages were mapped for a space.</summary>
    internal void Take(WindowSpace space, int pages)
    {
        space.Mappings += pages;
        Interlocked.Add(ref _used, pages);
    }

    /// <summary>Nothing is mapped for a space any more.</summary>
    internal void Give(WindowSpace space)
    {
        Interlocked.Add(ref _used, -space.Mappings);
        space.Mappings = 0;
    }
}
