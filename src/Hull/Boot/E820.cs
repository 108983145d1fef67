using System.Collections.Generic;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Boot;

/// <summary>Kinds of memory in an E820 map. ACPI, "System Address Map Interfaces".</summary>
internal enum E820Type
{
    /// <summary>RAM that the guest may use.</summary>
    Ram = 1,

    /// <summary>Not to be used.</summary>
    Reserved = 2,

    /// <summary>ACPI tables; usable once they are read.</summary>
    AcpiTables = 3,

    /// <summary>ACPI memory to be kept over sleep.</summary>
    AcpiNvs = 4,
}

/// <summary>One range of the map; start and length in bytes.</summary>
internal readonly record struct E820Entry(ulong Start, ulong Length, E820Type Type)
{
    /// <summary>End, exclusive.</summary>
    internal ulong End => Start + Length;
}

/// <summary>The memory map that firmware would tell.</summary>
internal static class E820
{
    /// <summary>Makes the map, sorted and without overlaps.</summary>
    internal static List<E820Entry> Build(GuestMemory memory)
    {
        List<E820Entry> map =
        [
            new(0, BootLayout.ConventionalEnd, E820Type.Ram),
            new(BootLayout.ConventionalEnd, 0xA_0000 - BootLayout.ConventionalEnd, E820Type.Reserved),
            new(PlatformMap.AcpiTablesBase, 0x10_0000 - PlatformMap.AcpiTablesBase, E820Type.Reserved),
        ];
        if (memory.LowSize > 0x10_0000)
        {
            map.Add(new E820Entry(0x10_0000, memory.LowSize - 0x10_0000, E820Type.Ram));
        }

        // Linux uses ECAM only where the map or ACPI says that its range is taken.
        map.Add(new E820Entry(PlatformMap.EcamBase, PlatformMap.EcamSize, E820Type.Reserved));
        if (memory.HighSize > 0)
        {
            map.Add(new E820Entry(GuestMemory.HighBase, memory.HighSize, E820Type.Ram));
        }

        return map;
    }
}
