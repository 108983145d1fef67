using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;

namespace Hull.Boot.Multiboot;

/// <summary>What a Multiboot kernel is told, in whichever form.</summary>
/// <param name="CommandLine">The kernel's name and words.</param>
/// <param name="Modules">The modules in memory.</param>
/// <param name="Map">The memory map.</param>
/// <param name="LowSize">Bytes of RAM below the PCI hole.</param>
/// <param name="RsdpBytes">A copy of the ACPI root pointer, 36 bytes.</param>
/// <param name="Image">The kernel.</param>
internal sealed record MultibootFacts(
    string CommandLine,
    IReadOnlyList<LoadedModule> Modules,
    IReadOnlyList<E820Entry> Map,
    ulong LowSize,
    byte[] RsdpBytes,
    MultibootImage Image)
{
    /// <summary>The name that a kernel is told.</summary>
    internal const string LoaderName = "hull";

    /// <summary>KiB of memory from 0.</summary>
    internal uint LowerKib => (uint)(BootLayout.ConventionalEnd >> 10);

    /// <summary>KiB of memory from 1 MiB to the first hole.</summary>
    internal uint UpperKib => (uint)((LowSize - 0x10_0000) >> 10);
}

/// <summary>Bytes that grow at the end, little-endian.</summary>
internal sealed class InformationBytes
{
    private readonly List<byte> _bytes = [];

    /// <summary>Bytes so far.</summary>
    internal int Length => _bytes.Count;

    internal void Add32(uint value)
    {
        Span<byte> raw = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(raw, value);
        _bytes.AddRange(raw);
    }

    internal void Add64(ulong value)
    {
        Add32((uint)value);
        Add32((uint)(value >> 32));
    }

    internal void Add(ReadOnlySpan<byte> bytes) => _bytes.AddRange(bytes);

    /// <summary>UTF-8 and a zero.</summary>
    internal void AddText(string text)
    {
        _bytes.AddRange(Encoding.UTF8.GetBytes(text));
        _bytes.Add(0);
    }

    internal void AddZeros(int count) => _bytes.AddRange(new byte[count]);

    /// <summary>Zeros up to the next multiple of a power of two.</summary>
    internal void Align(int to) => AddZeros(-_bytes.Count & (to - 1));

    /// <summary>Overwrites four bytes.</summary>
    internal void Put32(int at, uint value)
    {
        for (int i = 0; i < 4; i++)
        {
            _bytes[at + i] = (byte)(value >> (8 * i));
        }
    }

    internal byte[] ToArray() => [.. _bytes];
}
