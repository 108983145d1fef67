using System;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using Hull.Engine;
using Hull.Host;
using Hull.Memory;

namespace Hull.Boot;

/// <summary>
/// Boots a bzImage through Linux's 64-bit boot protocol, or the 32-bit one where it has no other entry. The kernel
/// inside is unpacked on the host, put at its link address and entered there, as the kernel's own decompressor would
/// without KASLR; where the host cannot unpack it, the decompressor is entered instead. Linux, "The Linux/x86 Boot
/// Protocol", "64-bit Boot Protocol" and "32-bit Boot Protocol".
/// </summary>
internal static class BzImageLoader
{
    private const int Entry64Offset = 0x200;
    private const int CopyChunk = 1 << 20;

    /// <summary>Loads the kernel and writes boot parameters, tables and RAM disk.</summary>
    /// <exception cref="HullException">The image is damaged or does not fit.</exception>
    internal static LoadedKernel Load(GuestMemory memory, BootBlobReader file, BootRequest request, ulong rsdp)
    {
        SetupHeader header = SetupHeader.Read(file);
        // A 64-bit kernel older than Linux 3.8 has a 32-bit entry only, but its inside is 64-bit all the same.
        LoadedElf? elf = TryLoadUnpacked(memory, file, header, request);
        bool is64 = elf?.Image.Is64 ?? header.Is64;
        string protocol = is64 ? "Linux 64-bit" : "Linux 32-bit";
        (ulong start, ulong end, ulong entry) = elf is null ? default : (elf.Start, elf.End, elf.Image.PhysicalEntry());
        if (elf is null)
        {
            protocol += ", unpacked by the guest";
            (start, end, entry) = LoadPacked(memory, file, header);
        }

        InitrdLimits limits = new(end, header.InitrdMax, header.AllowsHighData);
        Placement initrd = InitrdLoader.Load(memory, request, limits);
        LinuxParameters.Write(memory, header, request.CommandLine, initrd, rsdp, file.Name);
        ArchState state = is64
            ? ArchStates.Long(memory, entry, BootLayout.ZeroPage)
            : ArchStates.Linux32(memory, entry, BootLayout.ZeroPage);
        return new LoadedKernel
        {
            InitialState = state,
            Protocol = protocol,
            Entry = entry,
            KernelStart = start,
            KernelEnd = end,
            InitrdStart = initrd.Start,
            InitrdSize = initrd.Size,
        };
    }

    /// <summary>Loads the ELF kernel inside; null when the host cannot unpack it.</summary>
    /// <exception cref="HullException">The image is damaged or does not fit.</exception>
    internal static LoadedElf? TryLoadUnpacked(
        GuestMemory memory,
        BootBlobReader file,
        SetupHeader header,
        BootRequest request)
    {
        long offset = header.ProtectedModeOffset + header.PayloadOffset;
        long length = header.PayloadLength;
        if (length == 0)
        {
            return null;
        }

        if (offset + length > file.Length)
        {
            throw new HullException(
                $"{file.Name} is truncated: it has {file.Length} bytes and its kernel ends at {offset + length}: " +
                "copy or build it again");
        }

        Span<byte> magic = stackalloc byte[KernelPayload.MagicSize];
        PackingMethod method = KernelPayload.Identify(magic[..file.Read(offset, magic)]);
        if (method == PackingMethod.Unknown)
        {
            return null;
        }

        // LZ4 unpacks about as fast as the cache is read; see Boot/README.md.
        IBootCache? cache = method is PackingMethod.Lz4 or PackingMethod.None ? null : request.Cache;
        string key = cache is null ? "" : CacheKey(file, offset);
        return TryLoadCached(memory, file, request, cache, key) ??
            TryUnpack(memory, file, request, method, offset, length, cache, key);
    }

    private static LoadedElf? TryLoadCached(
        GuestMemory memory,
        BootBlobReader file,
        BootRequest request,
        IBootCache? cache,
        string key)
    {
        Stream? entry = KernelCacheEntry.TryOpen(cache, key);
        if (entry is null)
        {
            return null;
        }

        using ReadAhead cached = new(entry);
        try
        {
            return ElfLoader.Load(cached, InnerName(file), memory, request.MemoryIsFresh);
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            // Damaged. What was loaded so far had passed its checks, so unpacking anew writes the same bytes.
            return null;
        }
    }

    private static LoadedElf? TryUnpack(
        GuestMemory memory,
        BootBlobReader file,
        BootRequest request,
        PackingMethod method,
        long offset,
        long length,
        IBootCache? cache,
        string key)
    {
        try
        {
            using Stream? unpacked = KernelPayload.TryOpen(method, file, offset, length);
            if (unpacked is null)
            {
                return null;
            }

            using KernelCacheEntry.Writer? copy = KernelCacheEntry.TryCreate(cache, key);
            LoadedElf elf = ElfLoader.Load(unpacked, InnerName(file), memory, request.MemoryIsFresh, copy);
            Drain(unpacked, InnerName(file));
            copy?.Commit();
            return elf;
        }
        catch (InvalidDataException e)
        {
            string reason = KernelPayload.Reason(method, e);
            throw new HullException($"the kernel inside {file.Name} cannot be unpacked: {reason}", e);
        }
    }

    /// <summary>
    /// Reads the rest (relocations, which a kernel at its link address does not need), so that the packer's
    /// own check sum is tested before the kernel is trusted.
    /// </summary>
    private static void Drain(Stream unpacked, string name)
    {
        const long limit = 256L << 20;
        byte[] scratch = new byte[CopyChunk >> 4];
        long total = 0;
        int step;
        while ((step = unpacked.Read(scratch)) > 0)
        {
            total += step;
            if (total > limit)
            {
                throw new HullException($"more than {limit >> 20} MiB follow {name}: the file is damaged");
            }
        }
    }

    private static string InnerName(BootBlobReader file) => $"the kernel inside {file.Name}";

    private static string CacheKey(BootBlobReader file, long payloadOffset)
    {
        byte[] sample = new byte[0x8000];
        int head = file.Read(0, sample.AsSpan(0, 0x4000));
        head += file.Read(payloadOffset, sample.AsSpan(head, 0x3000));
        file.Read(Math.Max(0, file.Length - 0x1000), sample.AsSpan(head, 0x1000));
        // Not a cryptographic hash: starting that library takes longer than the rest of the look-up, and who can
        // write the user's files needs no collision.
        ulong hash = Hash(0xCBF2_9CE4_8422_2325, MemoryMarshal.AsBytes(file.Identity.AsSpan()));
        return string.Create(CultureInfo.InvariantCulture, $"vmlinux-{file.Length:x}-{Hash(hash, sample):x16}");
    }

    /// <summary>FNV-1a, 64 bits.</summary>
    private static ulong Hash(ulong hash, ReadOnlySpan<byte> bytes)
    {
        foreach (byte one in bytes)
        {
            hash = unchecked((hash ^ one) * 0x100_0000_01B3);
        }

        return hash;
    }

    private static (ulong Start, ulong End, ulong Entry) LoadPacked(
        GuestMemory memory,
        BootBlobReader file,
        SetupHeader header)
    {
        long offset = header.ProtectedModeOffset;
        long length = file.Length - offset;
        long entryOffset = header.Is64 ? Entry64Offset : header.Entry32Offset;
        ulong start = header.LoadAddress;
        ulong size = Math.Max(header.InitSize, (ulong)Math.Max(0, length));
        if (length <= entryOffset)
        {
            throw new HullException($"{file.Name} is truncated: it has no code after its header");
        }

        if (start < BootLayout.KernelFloor || start >= memory.LowSize || size > memory.LowSize - start)
        {
            throw new HullException(
                $"{file.Name} needs {size >> 20} MiB of memory at 0x{start:x} and the guest has " +
                $"{memory.LowSize >> 20} MiB below 4 GiB: give it more (-m 512M)");
        }

        byte[] chunk = new byte[CopyChunk];
        for (long at = 0; at < length; at += CopyChunk)
        {
            int got = file.Read(offset + at, chunk.AsSpan(0, (int)Math.Min(CopyChunk, length - at)));
            memory.TryWrite(new GuestPhysical(start + (ulong)at), chunk.AsSpan(0, got));
        }

        return (start, start + size, start + (ulong)entryOffset);
    }
}
