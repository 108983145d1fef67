using System;
using System.Buffers;
using System.IO;
using Hull.Host;
using Hull.Memory;

namespace Hull.Boot.Multiboot;

/// <summary>
/// Loads a kernel of any file format by the addresses in its Multiboot header: one run of bytes, then zeros. Multiboot
/// 0.6.96, "The address fields of Multiboot header".
/// </summary>
internal static class AddressedImage
{
    private const int ChunkSize = 256 << 10;

    /// <summary>Loads it.</summary>
    /// <param name="source">The file from its first byte.</param>
    /// <param name="name">What messages call it.</param>
    /// <param name="memory">Where it goes.</param>
    /// <param name="header">The header, which was found in the file.</param>
    /// <param name="addresses">Its addresses.</param>
    /// <exception cref="HullException">The addresses contradict each other, the file, or guest memory.</exception>
    internal static MultibootImage Load(
        Stream source, string name, GuestMemory memory, MultibootHeader header, MultibootAddresses addresses)
    {
        long skip = header.Offset - ((long)addresses.Header - addresses.Load);
        bool contradicts = addresses.Header < addresses.Load || skip < 0 ||
            (addresses.LoadEnd != 0 && addresses.LoadEnd < addresses.Load) ||
            (addresses.BssEnd != 0 && addresses.BssEnd < Math.Max(addresses.LoadEnd, addresses.Load));
        if (contradicts || header.Entry is not uint entry)
        {
            throw new HullException($"{name}: the addresses in its Multiboot header contradict each other: the file is damaged");
        }

        ulong limit = addresses.LoadEnd != 0 ? addresses.LoadEnd : memory.LowSize;
        if (limit > memory.LowSize || addresses.BssEnd > memory.LowSize || addresses.Load > limit)
        {
            ulong needed = Math.Max(Math.Max(limit, addresses.BssEnd), addresses.Load);
            throw new HullException(
                $"{name} needs memory up to {(needed + 0xF_FFFF) >> 20} MiB and the guest has {memory.LowSize >> 20} " +
                "below 4 GiB: give it more (-m 1G)");
        }

        ulong end = Copy(source, name, memory, skip, addresses.Load, limit);
        if (addresses.LoadEnd != 0 && end < addresses.LoadEnd)
        {
            throw new HullException(
                $"{name} is truncated: it ends 0x{addresses.LoadEnd - end:x} bytes before its Multiboot header says");
        }

        if (addresses.BssEnd > end)
        {
            memory.TryClear(new GuestPhysical(end), addresses.BssEnd - end);
            end = addresses.BssEnd;
        }

        return new MultibootImage(
            addresses.Load, end, MultibootLoader.CheckEntry(entry, addresses.Load, end, name));
    }

    // Copies from offset skip of the file on, to the file's end or the limit.
    private static ulong Copy(Stream source, string name, GuestMemory memory, long skip, ulong to, ulong limit)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(ChunkSize);
        try
        {
            while (true)
            {
                int got = source.Read(buffer, 0, ChunkSize);
                if (got == 0)
                {
                    return to;
                }

                int from = (int)Math.Min(got, skip);
                skip -= from;
                ulong wanted = Math.Min((ulong)(got - from), limit - to);
                memory.TryWrite(new GuestPhysical(to), buffer.AsSpan(from, (int)wanted));
                to += wanted;
                if (wanted < (ulong)(got - from))
                {
                    return limit < memory.LowSize ? to : throw new HullException(
                        $"{name} does not fit: it goes beyond the {memory.LowSize >> 20} MiB of memory below 4 GiB: give it more (-m 1G)");
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
