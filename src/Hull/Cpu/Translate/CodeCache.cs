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
/// <code>
///   | thunks | blocks ...        | what seldom runs: cold pieces ... |
///            CodeStart           5/8
/// </code>
/// What seldom runs lies apart, so that the host's instruction caches hold twice as many blocks.
/// </summary>
internal sealed unsafe class CodeCache : IDisposable
{
    private const int MaximumBlockBytes = 64 * 1024;

    // Items that one translation adds to a table at the most: a block has 64 instructions.
    private const int MaximumItems = 1024;
    private readonly ExecutableMemory _memory;
    private readonly BlockTable _byKey;
    private readonly CodeMap _byBytes;
    private readonly List<int> _crossLinks = [];
    private readonly HashSet<ulong> _crossPages = [];
    private readonly byte[] _crossFilter = new byte[65536];
    private readonly byte* _coldStart;
    private byte* _codeStart;

    /// <summary>Makes an empty cache of <paramref name="size"/> bytes.</summary>
    internal CodeCache(GuestMemory ram, nuint size)
    {
        _byKey = new BlockTable(Blocks);
        _byBytes = new CodeMap(ram, Blocks);
        _memory = new ExecutableMemory(size);
        Emitter = new Emitter(Relocations) { At = _memory.Base };
        _coldStart = _memory.Base + (size / 8 * 5);
        ColdAt = _coldStart;
    }

    /// <summary>Writes at the end of the blocks.</summary>
    internal Emitter Emitter { get; }

    /// <summary>First byte of the mapping, thunks included.</summary>
    internal byte* Base => _memory.Base;

    /// <summary>Bytes of the mapping.</summary>
    internal nuint Size => _memory.Size;

    /// <summary>Where blocks start, behind the thunks.</summary>
    internal byte* CodeStart => _codeStart;

    /// <summary>The end of the cold pieces.</summary>
    internal byte* ColdAt { get; set; }

    /// <summary>Bytes of the blocks, and of their cold pieces.</summary>
    internal ulong CodeBytes => (ulong)(Emitter.At - _codeStart);

    internal ulong ColdBytes => (ulong)(ColdAt - _coldStart);

    /// <summary>All blocks since the last flush, by ascending code address.</summary>
    internal NativeList<Block> Blocks { get; } = new(1 << 20);

    internal NativeList<Link> Links { get; } = new(2 << 20);

    internal NativeList<SideRow> SideRows { get; } = new(8 << 20);

    internal NativeList<Relocation> Relocations { get; } = new(8 << 20);

    internal NativeList<Instruction> AssistRecords { get; } = new(1 << 20);

    internal NativeList<CarefulSite> CarefulSites { get; } = new(1 << 20);

    /// <summary>
    /// Instructions, by guest-physical address, whose accesses are checked even where others go through windows: see
    /// <see cref="WindowFaults"/>.
    /// </summary>
    internal HashSet<ulong> PlainSites { get; } = [];

    /// <summary>Direct jumps that were patched to their target, and that were cut again.</summary>
    internal ulong ChainLinks { get; private set; }

    internal ulong ChainBreaks { get; private set; }

    /// <summary>True when the next block may not fit: flush first.</summary>
    internal bool IsFull => Emitter.At + MaximumBlockBytes > _coldStart
        || ColdAt + MaximumBlockBytes > _memory.Base + _memory.Size
        || IsNearlyFull(Blocks) || IsNearlyFull(Links) || IsNearlyFull(SideRows) || IsNearlyFull(AssistRecords)
        || IsNearlyFull(CarefulSites) || IsNearlyFull(Relocations) || _byBytes.IsNearlyFull;

    /// <summary>The thunks are written: blocks start here.</summary>
    internal void SealThunks()
    {
        Emitter.At = (byte*)(((nint)Emitter.At + 63) & ~63);
        _codeStart = Emitter.At;
    }

    /// <summary>Blocks begin at multiples of 16. Returns where the next one does.</summary>
    internal byte* AlignCode() => Emitter.At = (byte*)(((nint)Emitter.At + 15) & ~15);

    /// <summary>Forgets every block. No vCPU may be in generated code.</summary>
    internal void Flush()
    {
        _byBytes.Clear();
        _byKey.Clear();
        _crossLinks.Clear();
        _crossPages.Clear();
        Array.Clear(_crossFilter);
        Blocks.Clear();
        Links.Clear();
        SideRows.Clear();
        Relocations.Clear();
        AssistRecords.Clear();
        CarefulSites.Clear();
        PlainSites.Clear();
        Emitter.At = _codeStart;
        ColdAt = _coldStart;
    }

    /// <summary>Finds a block by identity; -1 when there is none.</summary>
    internal int Find(in BlockKey key) => _byKey.Find(key);

    /// <summary>Makes a finished block known.</summary>
    internal void Publish(int index)
    {
        Blocks[index].Valid = true;
        _byKey.Add(index);
        _byBytes.Add(index);
    }

    /// <summary>The block whose code holds a host pc; -1 when none does.</summary>
    internal int FindByHostPc(byte* pc)
    {
        bool cold = pc >= _coldStart;
        int low = 0;
        int high = Blocks.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) >> 1;
            ref Block block = ref Blocks[middle];
            byte* start = cold ? block.Cold : block.Code;
            if (pc < start)
            {
                high = middle - 1;
            }
            else if (pc >= start + (cold ? block.ColdLength : block.CodeLength))
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

    /// <summary>Points the links of a new block at the blocks of its page that are there already.</summary>
    internal void ConnectWithinPage(int index)
    {
        ref Block block = ref Blocks[index];
        for (int i = block.LinkStart; i < block.LinkStart + block.LinkCount; i++)
        {
            ref Link link = ref Links[i];
            ulong physical = block.Key.Physical + (link.Target - block.Key.Rip);
            if (link.Cross || (physical ^ block.Key.Physical) >> 12 != 0)
            {
                continue;
            }

            int target = Find(block.Key with { Physical = physical, Rip = link.Target });
            if (target >= 0 && Blocks[target].SecondPage == ulong.MaxValue)
            {
                Connect(i, target);
            }
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
        ulong grain = CodeMap.GrainOf(offset);
        for (int index; (index = _byBytes.FindFrom(offset, offset + length, ref grain)) >= 0;)
        {
            InvalidateBlock(index, gone);
        }
    }

    /// <summary>
    /// Bytes of RAM are about to change by a store of generated code: the blocks made from them go, so that it may store.
    /// </summary>
    /// <param name="offset">Offset in RAM.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="pc">Where the store is, in the cache.</param>
    /// <param name="gone">Told of each block before its entry is forgotten.</param>
    /// <returns>False when the store is over the code of its own block, which would run on with the old bytes.</returns>
    internal bool TryMakeWay(ulong offset, ulong length, byte* pc, Action<int> gone)
    {
        ulong grain = CodeMap.GrainOf(offset);
        for (int index; (index = _byBytes.FindFrom(offset, offset + length, ref grain)) >= 0;)
        {
            ref Block block = ref Blocks[index];
            if (block.Holds(pc))
            {
                return false;
            }

            InvalidateBlock(index, gone);
        }

        return true;
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
        _byBytes.Dispose();
        Blocks.Dispose();
        Links.Dispose();
        SideRows.Dispose();
        Relocations.Dispose();
        AssistRecords.Dispose();
        CarefulSites.Dispose();
    }

    private static bool IsNearlyFull<T>(NativeList<T> list)
        where T : unmanaged => list.Count > list.Capacity - MaximumItems;

    private static int FilterIndex(ulong linear) => (int)((linear >> 12) & 0xFFFF);

    private void Remove(int index)
    {
        ref Block block = ref Blocks[index];
        block.Valid = false;
        _byKey.Remove(index);
        _byBytes.Remove(index);
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
}
