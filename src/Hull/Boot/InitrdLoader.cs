using System;
using Hull.Host;
using Hull.Memory;

namespace Hull.Boot;

/// <summary>A range of guest memory; size 0 means that there is none.</summary>
internal readonly record struct Placement(ulong Start, ulong Size);

/// <summary>Where a RAM disk may be.</summary>
/// <param name="KernelEnd">End (exclusive) of the kernel; the RAM disk goes above.</param>
/// <param name="LastByte">The highest address of its last byte.</param>
/// <param name="AllowsHigh">True when above 4 GiB will do too.</param>
internal readonly record struct InitrdLimits(ulong KernelEnd, ulong LastByte, bool AllowsHigh);

/// <summary>
/// Puts the initial RAM disk, in one or several parts, at the top of the memory that the kernel allows.
/// </summary>
internal static class InitrdLoader
{
    private const int CopyChunk = 1 << 20;

    /// <summary>Loads all parts, one after the other.</summary>
    /// <exception cref="HullException">A part cannot be read, or there is no room.</exception>
    internal static Placement Load(GuestMemory memory, BootRequest request, InitrdLimits limits)
    {
        BootBlobReader[] parts = new BootBlobReader[request.Initrd.Count];
        try
        {
            ulong size = 0;
            for (int i = 0; i < parts.Length; i++)
            {
                parts[i] = BootBlobReader.Open(request.Initrd[i], "initrd");
                size = AlignPart(size) + (ulong)parts[i].Length;
            }

            if (size == 0)
            {
                return default;
            }

            ulong start = Place(memory, size, limits, parts[0].Name);
            ulong at = 0;
            foreach (BootBlobReader part in parts)
            {
                at = AlignPart(at);
                Copy(memory, start + at, part);
                at += (ulong)part.Length;
            }

            return new Placement(start, size);
        }
        finally
        {
            foreach (BootBlobReader? part in parts)
            {
                part?.Dispose();
            }
        }
    }

    private static ulong AlignPart(ulong at) => (at + 3) & ~3UL;

    private static ulong Place(GuestMemory memory, ulong size, InitrdLimits limits, string name)
    {
        const ulong page = GuestMemory.PageSize;
        ulong rounded = (size + page - 1) & ~(page - 1);
        ulong top = Math.Min(memory.LowSize, limits.LastByte + 1) & ~(page - 1);
        if (rounded < top && top - rounded >= limits.KernelEnd)
        {
            return top - rounded;
        }

        if (limits.AllowsHigh && rounded <= memory.HighSize)
        {
            return GuestMemory.HighBase + memory.HighSize - rounded;
        }

        throw new HullException(
            $"no room for initrd {name}: it has {(size + 0xF_FFFF) >> 20} MiB, the kernel ends at " +
            $"{limits.KernelEnd >> 20} MiB and the guest has {memory.Size >> 20} MiB: give it more (-m 1G)");
    }

    /// <summary>Copies a file into memory that the caller has checked.</summary>
    /// <exception cref="HullException">It cannot be read.</exception>
    internal static void Copy(GuestMemory memory, ulong to, BootBlobReader part)
    {
        byte[] chunk = new byte[(int)Math.Min(CopyChunk, part.Length)];
        for (long at = 0; at < part.Length; at += chunk.Length)
        {
            int wanted = (int)Math.Min(chunk.Length, part.Length - at);
            int got = part.Read(at, chunk.AsSpan(0, wanted));
            if (got != wanted)
            {
                throw new HullException($"{part.Name} shrank while it was read: try again");
            }

            memory.TryWrite(new GuestPhysical(to + (ulong)at), chunk.AsSpan(0, got));
        }
    }
}
