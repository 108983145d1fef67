using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Host;
using Hull.Memory;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// All translated blocks of a machine: their code, their identities, the links between them, and which bytes of RAM
/// they came from. Called under the engine's code lock, except for the tables' own items, which never move or change
/// between two flushes: any vCPU that is inside may read those of code it runs. A link into another page was
/// made while that page's translation was global; it is cut when a vCPU flushes that page or everything.
/// </summary>
internal sealed unsafe class CodeCache : IDisposable
{
    private const int MaximumBlockBytes = 64 * 1024;

    // Items that one translation adds to a table at the most: a block has 64 instructions.
    private const int MaximumItems = 1024;
    private readonly ExecutableMemory _memory;
    private readonly GuestMemory _ram;
    private readonly Dictionary<BlockKey, int> _byKey = new(8192);
    private readonly Dictionary<ulong, List<int>> _byPage = new(2048);
    private readonly Stack<List<int>> _freeLists = new();
    private readonly List<int> _crossLinks = [];
    private readonly HashSet<ulong> _crossPages = [];
    private readonly byte[] _crossFilter = new byte[65536];
    private byte* _codeStart;

    /// <summary>Makes an empty cache of <paramref name="size"/> bytes.</summary>
    internal CodeCache(GuestMemory ram, nuint size)
    {
        _ram = ram;
        _memory = new ExecutableMemory(size);
        Emitter.At = _memory.Base;
    }

    /// <summary>Writes at the end of the cache.</summary>
    internal Emitter Emitter { get; } = new();

    /// <summary>First byte of the mapping, thunks included.</summary>
    internal byte* Base => _memory.Base;

    /// <summary>Bytes of the mapping.</summary>
    internal nuint Size => _memory.Size;

    /// <summary>Where blocks start, behind the thunks.</summary>
    internal byte* CodeStart => _codeStart;

    /// <summary>All blocks since the last flush, by ascending code address.</summary>
    internal NativeList<Block> Blocks { get; } = new(1 << 20);

    internal NativeList<Link> Links { get; } = new(2 << 20);

    internal NativeList<SideRow> SideRows { get; } = new(8 << 20);

    internal NativeList<Instruction> AssistRecords { get; } = new(1 << 20);

    internal NativeList<CarefulSite> CarefulSites { get; } = new(1 << 20);

    /// <summary>Direct jumps that were patched to their target, and that were cut again.</summary>
    internal ulong ChainLinks { get; private set; }

    internal ulong ChainBreaks { get; private set; }

    /// <summary>True when the next block may not fit: flush first.</summary>
    internal bool IsFull => (nuint)(Emitter.At - _memory.Base) + MaximumBlockBytes > _memory.Size
        || IsNearlyFull(Blocks) || IsNearlyFull(Links) || IsNearlyFull(SideRows) || IsNearlyFull(AssistRecords)
        || IsNearlyFull(CarefulSites);

    /// <summary>The thunks are written: blocks start here.</summary>
    internal void SealThunks()
    {
        Emitter.At = (byte*)(((nint)Emitter.At + 63) & ~63);
        _codeStart = Emitter.At;
    }

    /// <summary>Forgets every block. No vCPU may be in generated code.</summary>
    internal void Flush()
    {
        foreach (KeyValuePair<ulong, List<int>> entry in _byPage)
        {
            _ram.Pages.CodeGrains(entry.Key) = 0;
            entry.Value.Clear();
            _freeLists.Push(entry.Value);
        }

        _byPage.Clear();
        _byKey.Clear();
        _crossLinks.Clear();
        _crossPages.Clear();
        Array.Clear(_crossFilter);
        Blocks.Clear();
        Links.Clear();
        SideRows.Clear();
        AssistRecords.Clear();
        CarefulSites.Clear();
        Emitter.At = _codeStart;
    }

    /// <summary>Finds a block by identity; -1 when there is none.</summary>
    internal int Find(in BlockKey key) => _byKey.TryGetValue(key, out int index) ? index : -1;

    /// <summary>Makes a finished block known.</summary>
    internal void Publish(int index)
    {
        ref Block block = ref Blocks[index];
        block.Valid = true;
        _byKey[block.Key] = index;
        uint first = (uint)(block.Key.Physical & 0xFFF);
        uint inFirst = Math.Min(block.GuestLength, 4096 - first);
        Mark(block.Key.Physical, inFirst, index);
        if (block.SecondPage != ulong.MaxValue)
        {
            Mark(block.SecondPage, block.GuestLength - inFirst, index);
        }
    }

    /// <summary>The block whose code holds a host pc; -1 when none does.</summary>
    internal int FindByHostPc(byte* pc)
    {
        int low = 0;
        int high = Blocks.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) >> 1;
            ref Block block = ref Blocks[middle];
            if (pc < block.Code)
            {
                high = middle - 1;
            }
            else if (pc >= block.Code + block.CodeLength)
            {
                low = middle + 1;
            }
            else
            {
                return middle;
            }
        }

        return -1;
    }

    /// <summary>The side-table row for a host pc in a block.</summary>
    internal SideRow FindRow(in Block block, byte* pc)
    {
        int offset = (int)(pc - block.Code);
        for (int i = 0; i < block.SideCount; i++)
        {
            SideRow row = SideRows[block.SideStart + i];
            if (row.HostOffset == offset)
            {
                return row;
            }
        }

        return new SideRow { HostOffset = -1 };
    }

    /// <summary>The last side-table row at or before a host pc in a block.</summary>
    internal SideRow FindRowBefore(in Block block, byte* pc)
    {
        int offset = (int)(pc - block.Code);
        SideRow found = new() { HostOffset = -1 };
        for (int i = 0; i < block.SideCount; i++)
        {
            SideRow row = SideRows[block.SideStart + i];
            if (row.HostOffset <= offset && row.HostOffset > found.HostOffset)
            {
                found = row;
            }
        }

        return found;
    }

    /// <summary>True when a block has another row for the same instruction before a row.</summary>
    internal bool IsSecondRow(in Block block, in SideRow row)
    {
        for (int i = 0; i < block.SideCount; i++)
        {
            SideRow other = SideRows[block.SideStart + i];
            if (other.GuestOffset == row.GuestOffset && other.HostOffset < row.HostOffset)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Points a link at a block: the entry is chosen by where the flags are.</summary>
    internal void Connect(int linkIndex, int target)
    {
        ref Link link = ref Links[linkIndex];
        ref Block block = ref Blocks[target];
        byte* entry = link.HostFlags ? block.HostFlagsEntry : block.MemoryFlagsEntry;
        *(int*)link.Site = (int)(entry - (link.Site + 4));
        link.Linked = target;
        ChainLinks++;
        link.Next = block.IncomingLinks;
        block.IncomingLinks = linkIndex;
        if (link.Cross)
        {
            _crossLinks.Add(linkIndex);
            _crossPages.Add(link.Target >> 12);
        }
    }

    /// <summary>All translations were flushed: cuts every link that leaves its page.</summary>
    internal void CutCrossLinks()
    {
        foreach (int link in _crossLinks)
        {
            Disconnect(link);
        }

        _crossLinks.Clear();
        _crossPages.Clear();
        Array.Clear(_crossFilter);
    }

    /// <summary>
    /// A link to another page may be made after the next page walk. Said before the walk, so that a vCPU that has changed
    /// the tables and flushes sees this, or the walk sees its change.
    /// </summary>
    internal void AnnounceCrossLink(ulong target)
    {
        Volatile.Write(ref _crossFilter[FilterIndex(target)], 1);
        Interlocked.MemoryBarrier();
    }

    /// <summary>False when surely no link goes into a linear page from others. Any thread, no lock; a full fence.</summary>
    internal bool MayHaveCrossLinks(ulong linear)
    {
        Interlocked.MemoryBarrier();
        return Volatile.Read(ref _crossFilter[FilterIndex(linear)]) != 0;
    }

    /// <summary>A page's translation was flushed: cuts the links that come from other pages.</summary>
    internal void CutCrossLinks(ulong linear)
    {
        if (_crossPages.Remove(linear >> 12))
        {
            foreach (int link in _crossLinks)
            {
                if (Links[link].Target >> 12 == linear >> 12)
                {
                    Disconnect(link);
                }
            }
        }
    }

    /// <summary>
    /// Bytes of RAM changed: every block made from them goes.
    /// </summary>
    /// <param name="offset">Offset in RAM.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="gone">Told of each block before its entry is forgotten (jump caches).</param>
    internal void Invalidate(ulong offset, ulong length, Action<int> gone)
    {
        ulong end = offset + length;
        for (ulong page = offset / GuestMemory.PageSize; page * GuestMemory.PageSize < end; page++)
        {
            if (_ram.Pages.CodeGrains(page) == 0 || !_byPage.TryGetValue(page, out List<int>? list))
            {
                continue;
            }

            ulong pageStart = page * GuestMemory.PageSize;
            uint from = (uint)(offset > pageStart ? offset - pageStart : 0);
            uint to = (uint)Math.Min(end - pageStart, GuestMemory.PageSize);
            InvalidateInPage(page, list, from, to, gone);
        }
    }

    /// <summary>One block's bytes have changed.</summary>
    internal void InvalidateBlock(int index, Action<int> gone)
    {
        gone(index);
        Remove(index);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _memory.Dispose();
        Blocks.Dispose();
        Links.Dispose();
        SideRows.Dispose();
        AssistRecords.Dispose();
        CarefulSites.Dispose();
    }

    /// <summary>The mask of 64-byte grains that [from, to) of a page touches.</summary>
    internal static ulong GrainMask(uint from, uint to)
    {
        int first = (int)(from >> 6);
        int count = (int)((to - 1) >> 6) - first + 1;
        return (count == 64 ? ulong.MaxValue : (1UL << count) - 1) << first;
    }

    private static bool IsNearlyFull<T>(NativeList<T> list)
        where T : unmanaged => list.Count > list.Capacity - MaximumItems;

    private static int FilterIndex(ulong linear) => (int)((linear >> 12) & 0xFFFF);

    private void InvalidateInPage(ulong page, List<int> list, uint from, uint to, Action<int> gone)
    {
        ulong grains = 0;
        int kept = 0;
        for (int i = 0; i < list.Count; i++)
        {
            int index = list[i];
            ref Block block = ref Blocks[index];
            if (!block.Valid)
            {
                continue;
            }

            Part(block, page, out uint start, out uint stop);
            if (start < to && from < stop)
            {
                gone(index);
                Remove(index);
                continue;
            }

            grains |= GrainMask(start, stop);
            list[kept++] = index;
        }

        list.RemoveRange(kept, list.Count - kept);
        _ram.Pages.CodeGrains(page) = grains;
        if (kept == 0)
        {
            _byPage.Remove(page);
            _freeLists.Push(list);
        }
    }

    // Which bytes of a page a block covers.
    private void Part(in Block block, ulong page, out uint start, out uint stop)
    {
        uint first = (uint)(block.Key.Physical & 0xFFF);
        if (block.SecondPage != ulong.MaxValue && _ram.OffsetOf(block.SecondPage, 1) / GuestMemory.PageSize == page)
        {
            start = 0;
            stop = first + block.GuestLength - 4096;
            return;
        }

        start = first;
        stop = Math.Min(first + block.GuestLength, 4096u);
    }

    private void Remove(int index)
    {
        ref Block block = ref Blocks[index];
        block.Valid = false;
        if (_byKey.TryGetValue(block.Key, out int current) && current == index)
        {
            _byKey.Remove(block.Key);
        }

        for (int i = block.IncomingLinks; i >= 0;)
        {
            ref Link link = ref Links[i];
            int next = link.Next;
            *(int*)link.Site = (int)(link.Stub - (link.Site + 4));
            link.Linked = -1;
            link.Next = -1;
            ChainBreaks++;
            i = next;
        }

        block.IncomingLinks = -1;
        for (int i = 0; i < block.LinkCount; i++)
        {
            Disconnect(block.LinkStart + i);
        }
    }

    // Takes a link of a dying block out of its target's list.
    private void Disconnect(int linkIndex)
    {
        ref Link link = ref Links[linkIndex];
        if (link.Linked < 0)
        {
            return;
        }

        ref Block target = ref Blocks[link.Linked];
        if (target.IncomingLinks == linkIndex)
        {
            target.IncomingLinks = link.Next;
        }
        else
        {
            for (int i = target.IncomingLinks; i >= 0; i = Links[i].Next)
            {
                if (Links[i].Next == linkIndex)
                {
                    Links[i].Next = link.Next;
                    break;
                }
            }
        }

        link.Linked = -1;
        ChainBreaks++;
        *(int*)link.Site = (int)(link.Stub - (link.Site + 4));
    }

    private void Mark(ulong physical, uint length, int index)
    {
        ulong offset = _ram.OffsetOf(physical, 1);
        if (offset == ulong.MaxValue || length == 0)
        {
            return;
        }

        ulong page = offset / GuestMemory.PageSize;
        uint from = (uint)(physical & 0xFFF);
        _ram.Pages.CodeGrains(page) |= GrainMask(from, from + length);
        if (!_byPage.TryGetValue(page, out List<int>? list))
        {
            list = _freeLists.Count > 0 ? _freeLists.Pop() : [];
            _byPage[page] = list;
        }

        list.Add(index);
    }
}
