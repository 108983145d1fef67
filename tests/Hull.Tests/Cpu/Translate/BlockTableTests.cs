using Hull.Cpu.Translate;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Cpu.Translate;

/// <summary>Blocks by identity.</summary>
public sealed class BlockTableTests
{
    [Fact]
    public void BlocksOfOneBucket_AreFoundUntilRemoved()
    {
        // Four times as many blocks as buckets: chains of all lengths.
        const int Count = 1 << 20;
        using NativeList<Block> blocks = new(Count);
        BlockTable table = new(blocks);
        for (int i = 0; i < Count; i++)
        {
            table.Add(blocks.Add(new Block { Key = Key(i) }));
        }

        for (int i = 0; i < Count; i += 3)
        {
            table.Remove(i);
        }

        for (int i = 0; i < Count; i++)
        {
            Assert.Equal(i % 3 == 0 ? -1 : i, table.Find(Key(i)));
        }
    }

    [Fact]
    public void YoungerBlockOfAKey_TakesThePlaceOfTheOlder()
    {
        using NativeList<Block> blocks = new(2);
        BlockTable table = new(blocks);
        table.Add(blocks.Add(new Block { Key = Key(7) }));
        table.Add(blocks.Add(new Block { Key = Key(7) }));
        Assert.Equal(1, table.Find(Key(7)));
        table.Remove(0);
        Assert.Equal(1, table.Find(Key(7)));
        table.Remove(1);
        Assert.Equal(-1, table.Find(Key(7)));
    }

    private static BlockKey Key(int i) => new((ulong)(i / 2) * 64, 0x40_0000 + (ulong)i, (BlockMode)(i & 1));
}
