using System.Collections.Generic;
using Hull.Boot;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Boot;

public sealed class E820Tests
{
    [Theory]
    [InlineData(1UL << 20)]
    [InlineData(512UL << 20)]
    [InlineData(3UL << 30)]
    [InlineData(5UL << 30)]
    public void Map_IsSortedWithoutOverlap_AndItsRamIsTheGuests(ulong size)
    {
        using GuestMemory memory = new(size);

        List<E820Entry> map = E820.Build(memory);

        for (int i = 1; i < map.Count; i++)
        {
            Assert.True(map[i - 1].End <= map[i].Start);
        }

        ulong ram = 0;
        foreach (E820Entry entry in map)
        {
            if (entry.Type == E820Type.Ram)
            {
                Assert.True(memory.Contains(new GuestPhysical(entry.Start), entry.Length));
                ram += entry.Length;
            }
        }

        Assert.Equal(size - 0x10_0000 + BootLayout.ConventionalEnd, ram);
    }
}
