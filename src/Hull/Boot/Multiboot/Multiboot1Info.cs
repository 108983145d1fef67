namespace Hull.Boot.Multiboot;

/// <summary>Multiboot 0.6.96, "Boot information format".</summary>
internal static class Multiboot1Info
{
    // Memory sizes, command line, modules, memory map, loader name. No boot device, symbols, drives, APM or video.
    private const uint Flags = (1 << 0) | (1 << 2) | (1 << 3) | (1 << 6) | (1 << 9);
    private const int Size = 120;

    /// <summary>The structure with all that it points at, as it lies at a guest-physical address.</summary>
    internal static byte[] Write(MultibootFacts facts, ulong at)
    {
        InformationBytes bytes = new();
        bytes.AddZeros(Size);
        bytes.Put32(0, Flags);
        bytes.Put32(4, facts.LowerKib);
        bytes.Put32(8, facts.UpperKib);
        bytes.Put32(20, (uint)facts.Modules.Count);
        bytes.Put32(24, Here(bytes, at));
        int modules = bytes.Length;
        bytes.AddZeros(16 * facts.Modules.Count);
        bytes.Put32(48, Here(bytes, at));
        foreach (E820Entry entry in facts.Map)
        {
            bytes.Add32(20); // bytes of the entry behind this field
            bytes.Add64(entry.Start);
            bytes.Add64(entry.Length);
            bytes.Add32((uint)entry.Type);
        }

        bytes.Put32(44, (uint)(24 * facts.Map.Count));
        bytes.Put32(16, Here(bytes, at));
        bytes.AddText(facts.CommandLine);
        bytes.Put32(64, Here(bytes, at));
        bytes.AddText(MultibootFacts.LoaderName);
        for (int i = 0; i < facts.Modules.Count; i++)
        {
            bytes.Put32(modules + (16 * i), facts.Modules[i].Start);
            bytes.Put32(modules + (16 * i) + 4, facts.Modules[i].End);
            bytes.Put32(modules + (16 * i) + 8, Here(bytes, at));
            bytes.AddText(facts.Modules[i].CommandLine);
        }

        return bytes.ToArray();
    }

    private static uint Here(InformationBytes bytes, ulong at) => (uint)at + (uint)bytes.Length;
}
