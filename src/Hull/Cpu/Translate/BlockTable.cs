using System;
using Hull.Host;

namespace Hull.Cpu.Translate;

/// <summary>
/// Blocks by identity: a hash table whose chains run through the blocks themselves. Of two blocks with one key it knows
/// the younger. Under the code lock.
/// </summary>
internal sealed class BlockTable
{
    // Large programs have some 250,000 blocks, and each that is looked at in vain is a line not in the host's caches.
    private const int Bits = 20;
    private const int HeadsInLine = 16;
    private readonly NativeList<Block> _blocks;

    // Index of a chain's first block, plus one.
    private readonly int[] _heads = new int[1 << Bits];

    internal BlockTable(NativeList<Block> blocks)
    {
        _blocks = blocks;
    }

    /// <summary>The block with a key; -1 when there is none.</summary>
    internal int Find(in BlockKey key)
    {
        int index = _heads[Bucket(key)] - 1;
        while (index >= 0 && !IsFor(_blocks[index].Key, key))
        {
            index = _blocks[index].NextInBucket;
        }

        return index;
    }

    /// <summary>Enters a block in place of an older one with its key.</summary>
    internal void Add(int index)
    {
        ref Block block = ref _blocks[index];
        int older = Find(block.Key);
        if (older >= 0)
        {
            Remove(older);
        }

        ref int head = ref _heads[Bucket(block.Key)];
        block.NextInBucket = head - 1;
        head = index + 1;
    }

    /// <summary>Forgets a block; nothing happens when a younger one took its place.</summary>
    internal void Remove(int index)
    {
        ref Block block = ref _blocks[index];
        ref int head = ref _heads[Bucket(block.Key)];
        if (head == index + 1)
        {
            head = block.NextInBucket + 1;
            return;
        }

        for (int i = head - 1; i >= 0; i = _blocks[i].NextInBucket)
        {
            if (_blocks[i].NextInBucket == index)
            {
                _blocks[i].NextInBucket = block.NextInBucket;
                return;
            }
        }
    }

    /// <summary>Forgets all.</summary>
    internal void Clear() => Array.Clear(_heads);

    private static bool IsFor(in BlockKey one, in BlockKey other) =>
        one.Physical == other.Physical && one.Rip == other.Rip && one.Mode == other.Mode;

    // One page of a library has an rip in each process that maps it, so both addresses count. A page's blocks lie in the
    // order of its code, somewhere: what is looked up one after the other is mostly in one line of the host's caches.
    private static int Bucket(in BlockKey key)
    {
        const ulong Odd = 0x9E37_79B9_7F4A_7C15;
        ulong mixed = (((key.Physical >> 12) + ((ulong)key.Mode << 40)) * Odd) ^ (key.Rip >> 12);
        int page = (int)((mixed * Odd) >> (64 - Bits));
        return (page & ~(HeadsInLine - 1)) ^ ((int)(key.Physical & 0xFFF) >> 2);
    }
}
