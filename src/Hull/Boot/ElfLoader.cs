using System;
using System.Buffers;
using System.Collections.Generic;
using System.IO;
using Hull.Host;
using Hull.Memory;

namespace Hull.Boot;

/// <summary>An ELF kernel that lies in guest memory.</summary>
/// <param name="Image">Its headers.</param>
/// <param name="Start">First guest-physical byte.</param>
/// <param name="End">End (exclusive), with uninitialised data.</param>
/// <param name="Notes">The content of its PT_NOTE segments, each cut at 64 KiB.</param>
internal sealed record LoadedElf(ElfImage Image, ulong Start, ulong End, IReadOnlyList<byte[]> Notes);

/// <summary>
/// Loads the segments of an ELF kernel at their physical addresses, in one pass over a stream: the source may
/// be a decompressor, and the whole file is never held.
/// </summary>
internal static class ElfLoader
{
    private const int ChunkSize = 256 << 10;
    private const int NoteLimit = 64 << 10;

    /// <summary>Loads the kernel.</summary>
    /// <param name="source">The file from its first byte; read up to the end of its last segment.</param>
    /// <param name="name">What messages call it.</param>
    /// <param name="memory">Where it goes.</param>
    /// <param name="memoryIsFresh">True when memory holds zeros, so that zeros need not be written.</param>
    /// <param name="copy">Sees each chunk that was read; null if nobody wants it.</param>
    /// <param name="floor">The lowest guest-physical address that it may have.</param>
    /// <exception cref="HullException">The file is damaged, or does not fit guest memory.</exception>
    internal static LoadedElf Load(
        Stream source,
        string name,
        GuestMemory memory,
        bool memoryIsFresh,
        ICopySink? copy = null,
        ulong floor = BootLayout.KernelFloor)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(ChunkSize);
        try
        {
            Span<byte> chunk = buffer.AsSpan(0, ChunkSize);
            int filled = source.ReadAtLeast(chunk, ElfImage.HeadSize, false);
            ElfImage image = ElfImage.Parse(chunk[..Math.Min(filled, ElfImage.HeadSize)], name);
            (ulong start, ulong end) = CheckPlacement(image, memory, floor);
            List<byte[]> notes = MakeNotes(image);
            ulong at = 0;
            ulong fileEnd = image.FileEnd;
            while (true)
            {
                Place(image, at, chunk[..filled], memory, memoryIsFresh, notes);
                copy?.Append(chunk[..filled]);
                at += (ulong)filled;
                if (at >= fileEnd)
                {
                    break;
                }

                filled = source.ReadAtLeast(chunk, ChunkSize, false);
                if (filled == 0)
                {
                    throw new HullException(
                        $"{name} is truncated: it has {at} bytes and needs {fileEnd}: copy or build it again");
                }
            }

            ClearTails(image, memory, memoryIsFresh);
            return new LoadedElf(image, start, end, notes);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static (ulong Start, ulong End) CheckPlacement(ElfImage image, GuestMemory memory, ulong floor)
    {
        ulong start = ulong.MaxValue;
        ulong end = 0;
        for (int i = 0; i < image.Segments.Count; i++)
        {
            ElfSegment segment = image.Segments[i];
            if (segment.IsNote)
            {
                continue;
            }

            CheckOverlap(image, i);
            start = Math.Min(start, segment.Physical);
            end = Math.Max(end, segment.PhysicalEnd);
        }

        if (end == 0)
        {
            throw new HullException($"{image.Name} has nothing to load: it is not a linked kernel");
        }

        if (start < floor)
        {
            throw new HullException($"{image.Name} wants to load at 0x{start:x}; kernels go above 1 MiB");
        }

        // A kernel is linked low; ranges in the PCI hole or beyond RAM both mean that RAM ends too early.
        if (end > memory.LowSize)
        {
            throw new HullException(end <= GuestMemory.LowLimit
                ? $"{image.Name} needs memory up to {Mebibytes(end)} MiB and the guest has " +
                    $"{memory.LowSize >> 20}: give it more (-m {Mebibytes(end) + 64}M)"
                : $"{image.Name} wants memory at 0x{end:x}, above what a guest has below 3 GiB: the file is damaged");
        }

        return (start, end);
    }

    private static ulong Mebibytes(ulong bytes) => (bytes + 0xF_FFFF) >> 20;

    private static void CheckOverlap(ElfImage image, int index)
    {
        ElfSegment one = image.Segments[index];
        for (int i = 0; i < index; i++)
        {
            ElfSegment other = image.Segments[i];
            if (!other.IsNote && one.Physical < other.PhysicalEnd && other.Physical < one.PhysicalEnd)
            {
                throw new HullException(
                    $"{image.Name}: segments overlap at 0x{Math.Max(one.Physical, other.Physical):x}: " +
                    "the file is damaged");
            }
        }
    }

    private static List<byte[]> MakeNotes(ElfImage image)
    {
        List<byte[]> notes = [];
        foreach (ElfSegment segment in image.Segments)
        {
            notes.Add(segment.IsNote ? new byte[Math.Min(segment.FileSize, NoteLimit)] : []);
        }

        return notes;
    }

    private static void Place(
        ElfImage image,
        ulong at,
        ReadOnlySpan<byte> chunk,
        GuestMemory memory,
        bool memoryIsFresh,
        List<byte[]> notes)
    {
        for (int i = 0; i < image.Segments.Count; i++)
        {
            ElfSegment segment = image.Segments[i];
            ulong fileEnd = segment.IsNote ? segment.Offset + (ulong)notes[i].Length : segment.FileEnd;
            ulong from = Math.Max(at, segment.Offset);
            ulong to = Math.Min(at + (ulong)chunk.Length, fileEnd);
            if (from >= to)
            {
                continue;
            }

            ReadOnlySpan<byte> bytes = chunk.Slice((int)(from - at), (int)(to - from));
            if (segment.IsNote)
            {
                bytes.CopyTo(notes[i].AsSpan((int)(from - segment.Offset)));
            }
            else
            {
                Write(memory, segment.Physical + (from - segment.Offset), bytes, memoryIsFresh);
            }
        }
    }

    /// <summary>
    /// Writes bytes of a checked segment. Linux's image holds its .bss as zeros (13 MiB and more), so in
    /// fresh memory a page of zeros is left to be given by the host when the guest first touches it.
    /// </summary>
    private static void Write(GuestMemory memory, ulong at, ReadOnlySpan<byte> bytes, bool memoryIsFresh)
    {
        if (!memoryIsFresh)
        {
            memory.TryWrite(new GuestPhysical(at), bytes);
            return;
        }

        while (!bytes.IsEmpty)
        {
            int first = bytes.IndexOfAnyExcept((byte)0);
            if (first < 0)
            {
                return;
            }

            int zeros = first & ~(GuestMemory.PageSize - 1);
            at += (ulong)zeros;
            bytes = bytes[zeros..];
            int length = LengthBeforeZeroPage(bytes);
            memory.TryWrite(new GuestPhysical(at), bytes[..length]);
            at += (ulong)length;
            bytes = bytes[length..];
        }
    }

    private static int LengthBeforeZeroPage(ReadOnlySpan<byte> bytes)
    {
        int length = 0;
        while (length < bytes.Length)
        {
            int step = Math.Min(GuestMemory.PageSize, bytes.Length - length);
            if (bytes.Slice(length, step).IndexOfAnyExcept((byte)0) < 0)
            {
                break;
            }

            length += step;
        }

        return length;
    }

    private static void ClearTails(ElfImage image, GuestMemory memory, bool memoryIsFresh)
    {
        if (memoryIsFresh)
        {
            return;
        }

        foreach (ElfSegment segment in image.Segments)
        {
            if (!segment.IsNote && segment.MemorySize > segment.FileSize)
            {
                memory.TryClear(
                    new GuestPhysical(segment.Physical + segment.FileSize),
                    segment.MemorySize - segment.FileSize);
            }
        }
    }
}
