using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using Hull.Host;
using Hull.Memory;

namespace Hull.Boot;

/// <summary>
/// Boots an ELF kernel through its PVH entry: 32-bit protected mode, no paging, EBX = hvm_start_info. Linux
/// built with CONFIG_PVH and Xen have it. Xen, "x86/HVM direct boot ABI" and "Start info structure".
/// </summary>
internal static class PvhLoader
{
    private const uint EntryNote = 18;
    private const uint Magic = 0x336E_C578;
    private const int InfoSize = 56;
    private const int ModuleSize = 32;
    private const int MapEntrySize = 24;
    private const uint CommandLineLimit = 4095;

    /// <summary>Loads the kernel, plain or packed, and writes its start info.</summary>
    /// <exception cref="HullException">The file is damaged, has no PVH entry, or does not fit.</exception>
    internal static LoadedKernel Load(
        GuestMemory memory, BootBlobReader file, KernelIdentity identity, BootRequest request, ulong rsdp)
    {
        LoadedElf elf = LoadElf(memory, file, identity.Packing, request);
        return Start(memory, file, elf, FindEntry(elf), uint.MaxValue, request, rsdp);
    }

    /// <summary>Loads the ELF kernel in a bzImage, 64-bit or 32-bit, and starts it by its PVH entry.</summary>
    /// <exception cref="HullException">It has none, the host cannot unpack it, or it does not fit.</exception>
    internal static LoadedKernel LoadLinux(GuestMemory memory, BootBlobReader file, BootRequest request, ulong rsdp)
    {
        SetupHeader header = SetupHeader.Read(file);
        LoadedElf elf = BzImageLoader.TryLoadUnpacked(memory, file, header, request) ?? throw new HullException(
            $"{file.Name} is packed in a way that this host cannot unpack, and has to be for a start by PVH: give its vmlinux");
        return Start(memory, file, elf, FindEntry(elf), header.InitrdMax, request, rsdp);
    }

    private static LoadedKernel Start(
        GuestMemory memory, BootBlobReader file, LoadedElf elf, ulong entry, uint initrdMax, BootRequest request, ulong rsdp)
    {
        InitrdLimits limits = new(elf.End, initrdMax, false);
        Placement initrd = InitrdLoader.Load(memory, request, limits);
        LinuxParameters.WriteCommandLine(memory, request.CommandLine, CommandLineLimit, file.Name);
        WriteStartInfo(memory, initrd, rsdp);
        return new LoadedKernel
        {
            InitialState = ArchStates.Flat32(memory, entry, BootLayout.StartInfo),
            Protocol = "PVH",
            Entry = entry,
            KernelStart = elf.Start,
            KernelEnd = elf.End,
            InitrdStart = initrd.Start,
            InitrdSize = initrd.Size,
        };
    }

    private static LoadedElf LoadElf(
        GuestMemory memory, BootBlobReader file, PackingMethod method, BootRequest request)
    {
        try
        {
            using Stream source = KernelPayload.TryOpen(method, file, 0, file.Length) ??
                throw new HullException($"{file.Name} is packed with {method}, whose library the host lacks: unpack it");
            return ElfLoader.Load(source, file.Name, memory, request.MemoryIsFresh);
        }
        catch (InvalidDataException e)
        {
            throw new HullException($"{file.Name} cannot be unpacked: {KernelPayload.Reason(method, e)}", e);
        }
    }

    private static ulong FindEntry(LoadedElf elf)
    {
        foreach (byte[] notes in elf.Notes)
        {
            if (TryFindEntry(notes, out ulong entry))
            {
                foreach (ElfSegment segment in elf.Image.Segments)
                {
                    if (!segment.IsNote && entry >= segment.Physical && entry < segment.PhysicalEnd)
                    {
                        return entry;
                    }
                }

                throw new HullException(
                    $"{elf.Image.Name}: the PVH entry 0x{entry:x} lies in no loaded segment: the file is damaged");
            }
        }

        throw new HullException(
            $"{elf.Image.Name} is an ELF file without a PVH note: build it with CONFIG_PVH=y, or give the bzImage");
    }

    /// <summary>Walks notes; sizes come from the file and are checked in 64 bits.</summary>
    private static bool TryFindEntry(ReadOnlySpan<byte> notes, out ulong entry)
    {
        entry = 0;
        while (notes.Length >= 12)
        {
            ulong nameSize = BinaryPrimitives.ReadUInt32LittleEndian(notes);
            ulong valueSize = BinaryPrimitives.ReadUInt32LittleEndian(notes[4..]);
            uint type = BinaryPrimitives.ReadUInt32LittleEndian(notes[8..]);
            ulong valueAt = 12 + ((nameSize + 3) & ~3UL);
            ulong next = valueAt + ((valueSize + 3) & ~3UL);
            if (valueAt + valueSize > (ulong)notes.Length)
            {
                return false;
            }

            ReadOnlySpan<byte> value = notes.Slice((int)valueAt, (int)valueSize);
            bool isXen = notes.Slice(12, (int)nameSize).SequenceEqual("Xen\0"u8);
            if (isXen && type == EntryNote && value.Length >= 4)
            {
                entry = value.Length >= 8
                    ? BinaryPrimitives.ReadUInt64LittleEndian(value)
                    : BinaryPrimitives.ReadUInt32LittleEndian(value);
                return true;
            }

            notes = next >= (ulong)notes.Length ? default : notes[(int)next..];
        }

        return false;
    }

    private static void WriteStartInfo(GuestMemory memory, Placement initrd, ulong rsdp)
    {
        List<E820Entry> map = E820.Build(memory);
        byte[] raw = new byte[InfoSize + 8 + ModuleSize + (map.Count * MapEntrySize)];
        const int moduleAt = InfoSize + 8;
        const int mapAt = moduleAt + ModuleSize;
        Put32(raw, 0, Magic);
        Put32(raw, 4, 1);
        Put32(raw, 12, initrd.Size == 0 ? 0u : 1u);
        Put64(raw, 16, initrd.Size == 0 ? 0 : BootLayout.StartInfo + moduleAt);
        Put64(raw, 24, BootLayout.CommandLine);
        Put64(raw, 32, rsdp);
        Put64(raw, 40, BootLayout.StartInfo + mapAt);
        Put32(raw, 48, (uint)map.Count);
        Put64(raw, moduleAt, initrd.Start);
        Put64(raw, moduleAt + 8, initrd.Size);
        for (int i = 0; i < map.Count; i++)
        {
            int at = mapAt + (i * MapEntrySize);
            Put64(raw, at, map[i].Start);
            Put64(raw, at + 8, map[i].Length);
            Put32(raw, at + 16, (uint)map[i].Type);
        }

        memory.TryWrite(new GuestPhysical(BootLayout.StartInfo), raw);
    }

    private static void Put32(byte[] raw, int at, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(at), value);

    private static void Put64(byte[] raw, int at, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(raw.AsSpan(at), value);
}
