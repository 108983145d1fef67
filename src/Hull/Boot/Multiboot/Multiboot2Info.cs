namespace Hull.Boot.Multiboot;

/// <summary>Multiboot2 2.0, "Boot information format": tags, each from a multiple of eight bytes.</summary>
internal static class Multiboot2Info
{
    /// <summary>Bytes of the root pointer of ACPI 2.0 and later.</summary>
    internal const int RsdpSize = 36;

    private const uint CommandLineTag = 1;
    private const uint LoaderNameTag = 2;
    private const uint ModuleTag = 3;
    private const uint MemorySizesTag = 4;
    private const uint MapTag = 6;
    private const uint NewRsdpTag = 15;
    private const uint LoadBaseTag = 21;

    /// <summary>The information as it lies at a guest-physical address (it has no pointers into itself).</summary>
    internal static byte[] Write(MultibootFacts facts, ulong at)
    {
        _ = at;
        InformationBytes bytes = new();
        bytes.AddZeros(8); // total size, reserved
        AddText(bytes, CommandLineTag, facts.CommandLine);
        AddText(bytes, LoaderNameTag, MultibootFacts.LoaderName);
        foreach (LoadedModule module in facts.Modules)
        {
            int start = Begin(bytes, ModuleTag);
            bytes.Add32(module.Start);
            bytes.Add32(module.End);
            bytes.AddText(module.CommandLine);
            End(bytes, start);
        }

        int sizes = Begin(bytes, MemorySizesTag);
        bytes.Add32(facts.LowerKib);
        bytes.Add32(facts.UpperKib);
        End(bytes, sizes);
        AddMap(bytes, facts);
        int rsdp = Begin(bytes, NewRsdpTag);
        bytes.Add(facts.RsdpBytes);
        End(bytes, rsdp);
        int load = Begin(bytes, LoadBaseTag);
        bytes.Add32((uint)facts.Image.Start);
        End(bytes, load);
        bytes.Add32(0); // the last tag
        bytes.Add32(8);
        bytes.Put32(0, (uint)bytes.Length);
        return bytes.ToArray();
    }

    private static void AddMap(InformationBytes bytes, MultibootFacts facts)
    {
        int start = Begin(bytes, MapTag);
        bytes.Add32(24); // bytes of an entry
        bytes.Add32(0); // version
        foreach (E820Entry entry in facts.Map)
        {
            bytes.Add64(entry.Start);
            bytes.Add64(entry.Length);
            bytes.Add32((uint)entry.Type);
            bytes.Add32(0);
        }

        End(bytes, start);
    }

    private static void AddText(InformationBytes bytes, uint tag, string text)
    {
        int start = Begin(bytes, tag);
        bytes.AddText(text);
        End(bytes, start);
    }

    private static int Begin(InformationBytes bytes, uint tag)
    {
        int start = bytes.Length;
        bytes.Add32(tag);
        bytes.Add32(0);
        return start;
    }

    private static void End(InformationBytes bytes, int start)
    {
        bytes.Put32(start + 4, (uint)(bytes.Length - start));
        bytes.Align(8);
    }
}
