using System;
using System.Collections.Generic;
using System.IO;
using Hull.Engine;
using Hull.Host;
using Hull.Memory;

namespace Hull.Boot.Multiboot;

/// <summary>A kernel in memory: its range (end exclusive) and its entry, guest-physical.</summary>
internal readonly record struct MultibootImage(ulong Start, ulong End, ulong Entry);

/// <summary>A module in memory, with the words that the kernel is told.</summary>
internal readonly record struct LoadedModule(uint Start, uint End, string CommandLine);

/// <summary>
/// Boots a kernel by Multiboot 1 or 2: 32-bit protected mode, flat segments, paging off, EAX = the magic number,
/// EBX = the information. Multiboot 0.6.96 and Multiboot2 2.0, "Machine state" and "I386 machine state".
/// </summary>
internal static class MultibootLoader
{
    private const uint Magic1 = 0x2BAD_B002;
    private const uint Magic2 = 0x36D7_6289;
    private const ulong PageMask = GuestMemory.PageSize - 1;
    private const ulong PartMask = 3;
    private const ulong LargestLowInformation = 0x4_0000;

    /// <summary>Loads kernel, modules and information.</summary>
    /// <exception cref="HullException">The file is damaged, demands what is not there, or does not fit.</exception>
    internal static LoadedKernel Load(
        GuestMemory memory, BootBlobReader file, KernelIdentity identity, BootRequest request, ulong rsdp)
    {
        MultibootHeader header = identity.Multiboot!; // or it would be no Multiboot kernel
        if (header.Refusal is not null)
        {
            throw new HullException($"{file.Name} cannot be booted: {header.Refusal}");
        }

        BiosStub.Write(memory);
        MultibootImage image = LoadImage(memory, file, identity, request);
        if (image.Start < 0x10_0000 && image.End > BootLayout.ConventionalEnd)
        {
            throw new HullException(
                $"{file.Name} wants to load at 0x{image.Start:x}-0x{image.End:x}, over the firmware's tables from " +
                $"0x{BootLayout.ConventionalEnd:x} on: link it at 1 MiB or above");
        }

        List<LoadedModule> modules = LoadModules(memory, request, image.End, out ulong end);
        byte[] rsdpBytes = new byte[Multiboot2Info.RsdpSize];
        memory.TryRead(new GuestPhysical(rsdp), rsdpBytes);
        MultibootFacts facts = new(
            CommandLine(file, request), modules, E820.Build(memory), memory.LowSize, rsdpBytes, image);
        Func<MultibootFacts, ulong, byte[]> write = header.Version == 1 ? Multiboot1Info.Write : Multiboot2Info.Write;
        byte[] information = write(facts, 0);
        ulong at = Place(memory, image, end, (ulong)information.Length, file.Name);
        memory.TryWrite(new GuestPhysical(at + ArchStates.GdtRoom), write(facts, at + ArchStates.GdtRoom));
        ArchState state = ArchStates.Multiboot(memory, image.Entry, at);
        state.Gpr[0] = header.Version == 1 ? Magic1 : Magic2;
        state.Gpr[3] = at + ArchStates.GdtRoom;
        return new LoadedKernel
        {
            InitialState = state,
            Protocol = $"Multiboot {header.Version}",
            Entry = image.Entry,
            KernelStart = image.Start,
            KernelEnd = image.End,
            InitrdStart = modules.Count == 0 ? 0 : modules[0].Start,
            InitrdSize = modules.Count == 0 ? 0 : modules[0].End - modules[0].Start,
            FollowsBios = true,
            Notice = header.Notice,
        };
    }

    /// <summary>The kernel's name, then the user's words, as GRUB and QEMU do it.</summary>
    private static string CommandLine(BootBlobReader file, BootRequest request) =>
        request.CommandLine.Length == 0 ? file.Name : $"{file.Name} {request.CommandLine}";

    private static MultibootImage LoadImage(
        GuestMemory memory, BootBlobReader file, KernelIdentity identity, BootRequest request)
    {
        PackingMethod packing = identity.Packing == PackingMethod.Unknown ? PackingMethod.None : identity.Packing;
        MultibootHeader header = identity.Multiboot!;
        try
        {
            // It was opened a moment ago to find the header, so the library is there.
            using Stream source = KernelPayload.TryOpen(packing, file, 0, file.Length)!;
            if (header.Addresses is MultibootAddresses addresses)
            {
                return AddressedImage.Load(source, file.Name, memory, header, addresses);
            }

            LoadedElf elf = ElfLoader.Load(source, file.Name, memory, request.MemoryIsFresh, floor: 0);
            ulong entry = header.Entry ?? elf.Image.PhysicalEntry();
            return new MultibootImage(elf.Start, elf.End, CheckEntry(entry, elf.Start, elf.End, file.Name));
        }
        catch (InvalidDataException e)
        {
            throw new HullException($"{file.Name} cannot be unpacked: {KernelPayload.Reason(packing, e)}", e);
        }
    }

    /// <summary>The entry, if it lies in [start, end).</summary>
    /// <exception cref="HullException">It does not.</exception>
    internal static ulong CheckEntry(ulong entry, ulong start, ulong end, string name) =>
        entry >= start && entry < end
            ? entry
            : throw new HullException($"{name}: the entry 0x{entry:x} lies outside of what is loaded: the file is damaged");

    // The modules follow the kernel, each from a page's start: where GRUB and QEMU put them, and so where kernels
    // expect them.
    private static List<LoadedModule> LoadModules(GuestMemory memory, BootRequest request, ulong kernelEnd, out ulong end)
    {
        List<BootModule> wanted = [];
        foreach (BootBlob initrd in request.Initrd)
        {
            wanted.Add(new BootModule(initrd, initrd.Name));
        }

        wanted.AddRange(request.Modules);
        List<LoadedModule> modules = [];
        end = Math.Max(kernelEnd, 0x10_0000);
        foreach (BootModule module in wanted)
        {
            ulong start = (end + PageMask) & ~PageMask;
            end = start;
            foreach (BootBlob blob in (IEnumerable<BootBlob>)[module.File, .. module.More])
            {
                using BootBlobReader part = BootBlobReader.Open(blob, "module");
                end = LoadPart(memory, (end + PartMask) & ~PartMask, part);
            }

            modules.Add(new LoadedModule((uint)start, (uint)end, module.CommandLine));
        }

        return modules;
    }

    private static ulong LoadPart(GuestMemory memory, ulong start, BootBlobReader part)
    {
        if (start > memory.LowSize || (ulong)part.Length > memory.LowSize - start)
        {
            throw new HullException(
                $"no room for module {part.Name}: it has {(part.Length + 0xF_FFFF) >> 20} MiB and starts at " +
                $"{start >> 20} MiB, and the guest has {memory.LowSize >> 20} MiB below 4 GiB: give it more (-m 1G)");
        }

        InitrdLoader.Copy(memory, start, part);
        return start + (ulong)part.Length;
    }

    // At the top of conventional memory, out of the way of kernels that take what follows their image; a long command
    // line, or a kernel that lies there, moves it behind the modules.
    private static ulong Place(GuestMemory memory, MultibootImage image, ulong end, ulong size, string name)
    {
        ulong room = (ArchStates.GdtRoom + size + 15) & ~15UL;
        ulong at = (BootLayout.ConventionalEnd & ~15UL) - room;
        if (room <= LargestLowInformation && (image.End <= at || image.Start >= BootLayout.ConventionalEnd))
        {
            return at;
        }

        at = (end + PageMask) & ~PageMask;
        return at <= memory.LowSize && room <= memory.LowSize - at
            ? at
            : throw new HullException($"no room for the boot information of {name} ({room >> 10} KiB): shorten --append, or give more memory (-m 1G)");
    }
}
