using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Cpu.Translate;
using Hull.Memory;

namespace Hull.Cpu;

/// <summary>
/// Keeps what the translator read true while other vCPUs store. Before the bytes of a page are read it is marked as code
/// and leaves the store TLBs of all vCPUs, so that every later store comes through C#. A vCPU that may have passed its
/// check before, and not have stored yet, is in doubt: the block keeps a copy of its bytes, which is compared until that
/// vCPU has left generated code, at each point where the architecture lets a guest rely on it.
/// All members but <see cref="HasDoubts"/> are called under the engine's code lock. See docs/smp.md, "Stores and code".
/// </summary>
internal sealed unsafe class FetchGuard
{
    private readonly CodeCache _cache;
    private readonly GuestMemory _memory;
    private readonly List<SoftVcpu> _vcpus;
    private readonly Action<int> _gone;
    private readonly List<Doubt> _doubts = [];
    private byte[] _copies = new byte[4096];
    private int _copied;
    private volatile int _count;
    private ulong _outstanding;
    private Watched _first;
    private Watched _second;

    internal FetchGuard(CodeCache cache, GuestMemory memory, List<SoftVcpu> vcpus, Action<int> gone)
    {
        _gone = gone;
        _cache = cache;
        _memory = memory;
        _vcpus = vcpus;
    }

    /// <summary>True while a block may hold bytes that another vCPU has changed since. Any thread, no lock.</summary>
    internal bool HasDoubts => _count != 0;

    /// <summary>A vCPU was asked and has not answered yet. Any thread, no lock.</summary>
    internal bool IsAsked(SoftVcpu vcpu) => (Volatile.Read(ref _outstanding) & (1UL << vcpu.Index)) != 0;

    /// <summary>A vCPU may have a store under way that nobody has seen.</summary>
    internal bool IsAnyAsked => _outstanding != 0;

    /// <summary>Blocks that were translated while a vCPU was in doubt.</summary>
    internal ulong Doubts { get; private set; }

    /// <summary>Blocks that were found to hold old bytes.</summary>
    internal ulong LateStores { get; private set; }

    /// <summary>A translation starts.</summary>
    internal void Begin()
    {
        _first = default;
        _second = default;
    }

    /// <summary>Bytes [from, to) of a page of RAM are about to be read.</summary>
    internal void Watch(SoftVcpu fetcher, byte* hostPage, uint from, uint to)
    {
        ulong frame = (ulong)(hostPage - _memory.Base) / GuestMemory.PageSize;

        // A full fence on both sides: either the storing vCPU sees the mark, or its line is seen here.
        ulong before = Interlocked.Or(ref _memory.Pages.CodeGrains(frame), CodeMap.GrainMask(from, to));
        (_first.Used ? ref _second : ref _first) = new Watched { Used = true, Frame = frame, Before = before };
        foreach (SoftVcpu vcpu in _vcpus)
        {
            if (vcpu != fetcher)
            {
                Watch(vcpu, hostPage, before == 0);
            }
            else if (before == 0)
            {
                vcpu.Tlb.ProtectPage(hostPage);
            }
        }
    }

    /// <summary>No block came of it.</summary>
    internal void Abandon()
    {
        Unmark(_second, 0);
        Unmark(_first, 0);
    }

    /// <summary>The block is published: only its own bytes stay marked.</summary>
    internal void End(int index, ReadOnlySpan<byte> bytes)
    {
        ref Block block = ref _cache.Blocks[index];
        uint start = (uint)(block.Key.Physical & 0xFFF);
        uint end = Math.Min(start + block.GuestLength, GuestMemory.PageSize);
        Unmark(_first, CodeMap.GrainMask(start, end));
        uint inSecond = start + block.GuestLength - end;
        Unmark(_second, inSecond == 0 ? 0 : CodeMap.GrainMask(0, inSecond));
        if (_outstanding != 0)
        {
            Add(index, bytes);
        }
    }

    /// <summary>A vCPU is out of generated code: all that it had under way is in memory.</summary>
    internal void Acknowledge(SoftVcpu vcpu)
    {
        _outstanding &= ~(1UL << vcpu.Index);
        Verify();
    }

    /// <summary>Compares all blocks in doubt with memory; those that differ are invalidated.</summary>
    internal void Verify()
    {
        int kept = 0;
        for (int i = 0; i < _doubts.Count; i++)
        {
            Doubt doubt = _doubts[i] with { Late = _doubts[i].Late & _outstanding };
            if (!_cache.Blocks[doubt.Block].Valid)
            {
                continue;
            }

            if (!IsUnchanged(doubt))
            {
                LateStores++;
                _cache.InvalidateBlock(doubt.Block, _gone);
            }
            else if (doubt.Late != 0)
            {
                _doubts[kept++] = doubt;
            }
        }

        _doubts.RemoveRange(kept, _doubts.Count - kept);
        _copied = kept == 0 ? 0 : _copied;
        Count(kept);
    }

    /// <summary>The code cache was emptied.</summary>
    internal void Clear()
    {
        _doubts.Clear();
        _outstanding = 0;
        _copied = 0;
        Count(0);
    }

    private void Watch(SoftVcpu vcpu, byte* hostPage, bool first)
    {
        bool mayStore = (first && vcpu.Tlb.TakeStoreLines(hostPage)) || vcpu.MayStoreLoosely;

        // Whoever is outside has nothing under way, and left its page slots empty.
        if (mayStore && vcpu.IsInside)
        {
            Ask(vcpu);
        }
    }

    // Until it answers, nothing that is translated can be trusted: its store may go to any of the pages it lost.
    private void Ask(SoftVcpu vcpu)
    {
        ulong bit = 1UL << vcpu.Index;
        if ((_outstanding & bit) == 0)
        {
            _outstanding |= bit;
            vcpu.RequestAcknowledge();
        }
    }

    private bool IsUnchanged(in Doubt doubt)
    {
        ref Block block = ref _cache.Blocks[doubt.Block];
        ReadOnlySpan<byte> copy = _copies.AsSpan(doubt.CopyAt, block.GuestLength);
        int start = (int)(block.Key.Physical & 0xFFF);
        int inFirst = Math.Min(block.GuestLength, GuestMemory.PageSize - start);
        return IsSame(block.Key.Physical, copy[..inFirst])
            && (inFirst == block.GuestLength || IsSame(block.SecondPage, copy[inFirst..]));
    }

    private bool IsSame(ulong physical, ReadOnlySpan<byte> copy)
    {
        byte* page = _memory.HostPage(physical);

        // SAFETY: a page of RAM, and the caller's bytes end inside it. Where there is no RAM nothing can be stored.
        return page == null || new ReadOnlySpan<byte>(page + (physical & 0xFFF), copy.Length).SequenceEqual(copy);
    }

    private void Add(int index, ReadOnlySpan<byte> bytes)
    {
        if (_copied + bytes.Length > _copies.Length)
        {
            Array.Resize(ref _copies, Math.Max(_copies.Length * 2, _copied + bytes.Length));
        }

        bytes.CopyTo(_copies.AsSpan(_copied));
        _doubts.Add(new Doubt(index, _copied, _outstanding));
        _copied += bytes.Length;
        Count(_doubts.Count);
        Doubts++;
    }

    private void Count(int doubts)
    {
        _count = doubts;
        foreach (SoftVcpu vcpu in _vcpus)
        {
            Volatile.Write(ref vcpu.Cpu->FetchDoubts, (ulong)doubts);
        }
    }

    private void Unmark(in Watched watched, ulong own)
    {
        if (watched.Used)
        {
            _memory.Pages.CodeGrains(watched.Frame) = watched.Before | own;
        }
    }

    private struct Watched
    {
        internal bool Used;
        internal ulong Frame;

        /// <summary>The page's grains before this translation.</summary>
        internal ulong Before;
    }

    /// <summary>A block whose bytes a vCPU of <paramref name="Late"/> may change without being seen.</summary>
    private readonly record struct Doubt(int Block, int CopyAt, ulong Late);
}
