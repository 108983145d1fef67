using System;
using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>
/// A program that is started again lies elsewhere: the same bytes of the same pages at another rip. Its blocks are copied from
/// those of the time before, and what depends on the place is written anew (<see cref="Relocation"/>), which takes a fraction
/// of a translation. Under the code lock.
/// </summary>
internal sealed unsafe class BlockCopier
{
    private const int Bits = 17;
    private const BlockMode Judged = BlockMode.CodeMask | BlockMode.User | BlockMode.Careful | BlockMode.Single | BlockMode.Unlinked
        | BlockMode.Breakpoints | BlockMode.AlignmentCheck;

    private readonly CodeCache _cache;
    private readonly FetchGuard _guard;

    // By physical address and mode: the index of the last block that may be copied, plus one.
    private readonly int[] _latest = new int[1 << Bits];

    internal BlockCopier(CodeCache cache, FetchGuard guard)
    {
        _cache = cache;
        _guard = guard;
    }

    /// <summary>Blocks that were copied.</summary>
    internal ulong Copies { get; private set; }

    /// <summary>True for a block that may be copied, and that a copy may stand for.</summary>
    internal static bool MayMove(in BlockKey key) =>
        (key.Mode & Judged) == (BlockMode.Code64 | BlockMode.User) && RelocationRecorder.IsMovable(key.Rip);

    /// <summary>A block was translated.</summary>
    internal void Note(int index)
    {
        ref Block block = ref _cache.Blocks[index];
        if (block.RelocationCount != 0)
        {
            _latest[Place(block.Key)] = index + 1;
        }
    }

    /// <summary>The cache was emptied.</summary>
    internal void Clear() => Array.Clear(_latest);

    /// <summary>Makes a block of one for the same bytes at another rip; -1 when there is none that is good for it.</summary>
    /// <param name="vcpu">Whose code it is.</param>
    /// <param name="key">The block's identity.</param>
    /// <param name="hostPage">The host page of the first byte.</param>
    internal int TryCopy(SoftVcpu vcpu, in BlockKey key, byte* hostPage)
    {
        int source = _latest[Place(key)] - 1;
        if (source < 0 || hostPage == null || !IsFor(_cache.Blocks[source], key) || !HasOwnStubs(_cache.Blocks[source]))
        {
            return -1;
        }

        uint offset = (uint)(key.Physical & 0xFFF);
        _guard.Begin();
        _guard.Watch(vcpu, hostPage, offset, offset + _cache.Blocks[source].GuestLength);
        if (_guard.IsAnyAsked)
        {
            // A store is on its way, so the block's bytes may not be those of RAM any more.
            _guard.Abandon();
            return -1;
        }

        int index = Copy(source, key.Rip);
        _cache.Publish(index);
        _cache.ConnectWithinPage(index);
        _guard.End(index, default);
        _latest[Place(key)] = index + 1;
        Copies++;
        return index;
    }

    private static bool IsFor(in Block block, in BlockKey key) =>
        block.Valid && block.Key.Physical == key.Physical && block.Key.Mode == key.Mode;

    // A page's blocks lie in the order of its code, as in BlockTable.
    private static int Place(in BlockKey key)
    {
        ulong page = ((key.Physical >> 12) + ((ulong)key.Mode << 40)) * 0x9E37_79B9_7F4A_7C15;
        return ((int)(page >> (64 - Bits)) & ~15) ^ ((int)(key.Physical & 0xFFF) >> 2);
    }

    // A link that got another stub since (SendThroughJumpCache) is not among what is copied.
    private bool HasOwnStubs(in Block block)
    {
        for (int i = block.LinkStart; i < block.LinkStart + block.LinkCount; i++)
        {
            byte* stub = _cache.Links[i].Stub;
            if (stub < block.Cold || stub >= block.Cold + block.ColdLength)
            {
                return false;
            }
        }

        return true;
    }

    private int Copy(int source, ulong rip)
    {
        ref Block from = ref _cache.Blocks[source];
        Block block = from;
        block.Key = from.Key with { Rip = rip };
        block.Code = _cache.AlignCode();
        block.Cold = _cache.ColdAt;
        block.HostFlagsEntry = block.Code + (from.HostFlagsEntry - from.Code);
        block.MemoryFlagsEntry = block.Code + (from.MemoryFlagsEntry - from.Code);
        block.IncomingLinks = -1;
        block.LinkStart = _cache.Links.Count;
        block.SideStart = _cache.SideRows.Count;

        // SAFETY: both are in the cache, whose user has looked that there is room for a block of any length.
        Buffer.MemoryCopy(from.Code, block.Code, from.CodeLength, from.CodeLength);
        Buffer.MemoryCopy(from.Cold, block.Cold, from.ColdLength, from.ColdLength);
        _cache.Emitter.At = block.Code + block.CodeLength;
        _cache.ColdAt = block.Cold + block.ColdLength;
        for (int i = 0; i < from.RelocationCount; i++)
        {
            Relocate(_cache.Relocations[from.RelocationStart + i], from, block);
        }

        int index = _cache.Blocks.Count;
        CopyLinks(from, block, index);
        CopySideRows(from, block);
        _cache.Blocks.Add(block);
        return index;
    }

    private static void Relocate(Relocation relocation, in Block from, in Block block)
    {
        byte* site = (relocation.IsCold ? block.Cold : block.Code) + relocation.Offset;
        ulong was = from.Key.Rip + (ulong)relocation.Distance;
        ulong moved = block.Key.Rip - from.Key.Rip;
        switch (relocation.Kind)
        {
            case RelocationKind.Displacement:
                byte* next = (relocation.IsCold ? from.Cold : from.Code) + relocation.Offset + 4;
                *(int*)site = (int)(Moved(next + *(int*)site, from, block) - (site + 4));
                break;
            case RelocationKind.Address:
                *(ulong*)site += moved;
                break;
            case RelocationKind.JumpLine:
                *(int*)site += (StateLayout.JumpIndex(was + moved) - StateLayout.JumpIndex(was)) * sizeof(JumpEntry);
                break;
            case RelocationKind.PageSlot:
                *(int*)site += StateLayout.HashedFor(true, false, was + moved) - StateLayout.HashedFor(true, false, was);
                break;
            default:
                *(int*)site += block.LinkStart - from.LinkStart;
                break;
        }
    }

    // Host code of the block moves with it; thunks stay.
    private static byte* Moved(byte* target, in Block from, in Block block) =>
        target >= from.Code && target <= from.Code + from.CodeLength ? block.Code + (target - from.Code)
        : target >= from.Cold && target < from.Cold + from.ColdLength ? block.Cold + (target - from.Cold)
        : target;

    private void CopyLinks(in Block from, in Block block, int index)
    {
        for (int i = 0; i < from.LinkCount; i++)
        {
            Link link = _cache.Links[from.LinkStart + i];
            link.Site = block.Code + (link.Site - from.Code);
            link.Stub = block.Cold + (link.Stub - from.Cold);
            link.Target += block.Key.Rip - from.Key.Rip;
            link.Source = index;
            link.Linked = -1;
            link.Next = -1;
            *(int*)link.Site = (int)(link.Stub - (link.Site + 4));
            _cache.Links.Add(link);
        }
    }

    private void CopySideRows(in Block from, in Block block)
    {
        int apart = (int)(block.Cold - block.Code - (from.Cold - from.Code));
        for (int i = 0; i < from.SideCount; i++)
        {
            SideRow row = _cache.SideRows[from.SideStart + i];
            row.HostOffset += row.HostOffset > from.CodeLength ? apart : 0;
            _cache.SideRows.Add(row);
        }
    }
}
