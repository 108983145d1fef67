using System;
using System.Runtime.CompilerServices;
using Hull.Host;

namespace Hull.Memory;

/// <summary>
/// The guest's RAM: one memfd-backed mapping, seen by the guest as a low part below the PCI hole and, when it is
/// larger, a high part from 4 GiB. Devices and loaders copy in and out; no span into live RAM leaves this class.
/// </summary>
public sealed unsafe class GuestMemory : IDisposable
{
    /// <summary>Where low RAM ends at the latest: the PCI hole starts here.</summary>
    public const ulong LowLimit = 0xC000_0000;

    /// <summary>Where RAM goes on above the hole.</summary>
    public const ulong HighBase = 0x1_0000_0000;

    /// <summary>Bytes in a page.</summary>
    public const int PageSize = 4096;

    private readonly byte* _base;
    private readonly int _fd;

    /// <summary>Maps <paramref name="size"/> bytes, all zero; the host gives the pages when they are touched.</summary>
    /// <param name="size">Bytes; a multiple of 4 KiB, at least 1 MiB.</param>
    /// <exception cref="HullException">The size is odd, or the host has no such memory.</exception>
    public GuestMemory(ulong size)
    {
        if (size < 0x10_0000 || size % PageSize != 0 || size > 1UL << 40)
        {
            throw new HullException($"guest memory of {size} bytes: give a multiple of 4 KiB, from 1 MiB to 1 TiB (-m 512M)");
        }

        Size = size;
        LowSize = Math.Min(size, LowLimit);
        _fd = Libc.MemfdCreate("hull-ram", 1);
        if (_fd < 0 || Libc.Ftruncate(_fd, (long)size) != 0)
        {
            throw new HullException($"cannot make {size >> 20} MiB of guest memory: {Libc.LastErrorMessage()}");
        }

        _base = (byte*)Libc.MapOrThrow(
            (nuint)size,
            Libc.ProtRead | Libc.ProtWrite,
            Libc.MapShared | Libc.MapNoReserve,
            _fd,
            "guest memory");
        Pages = new PageTracker(size / PageSize);
    }

    /// <summary>All RAM, in bytes.</summary>
    public ulong Size { get; }

    /// <summary>RAM below the PCI hole, in bytes; the rest starts at 4 GiB.</summary>
    public ulong LowSize { get; }

    /// <summary>RAM from 4 GiB on, in bytes.</summary>
    public ulong HighSize => Size - LowSize;

    /// <summary>What is known of each page: translated code in it, dirty bits.</summary>
    internal PageTracker Pages { get; }

    /// <summary>The host address of RAM's first byte; for engines only.</summary>
    internal byte* Base => _base;

    /// <summary>True when [at, at+length) is RAM and does not straddle the hole.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Contains(GuestPhysical at, ulong length) => OffsetOf(at.Value, length) != ulong.MaxValue;

    /// <summary>Copies guest bytes out.</summary>
    /// <returns>False, with nothing copied, when any byte is not RAM.</returns>
    public bool TryRead(GuestPhysical at, Span<byte> destination)
    {
        ulong offset = OffsetOf(at.Value, (ulong)destination.Length);
        if (offset == ulong.MaxValue)
        {
            return false;
        }

        // SAFETY: OffsetOf has checked that the whole range lies inside the mapping, which outlives the machine.
        new ReadOnlySpan<byte>(_base + offset, destination.Length).CopyTo(destination);
        return true;
    }

    /// <summary>Copies bytes in, and tells those who watch the pages (translated code, dirty bits).</summary>
    /// <returns>False, with nothing copied, when any byte is not RAM.</returns>
    public bool TryWrite(GuestPhysical at, ReadOnlySpan<byte> source)
    {
        ulong offset = OffsetOf(at.Value, (ulong)source.Length);
        if (offset == ulong.MaxValue)
        {
            return false;
        }

        // SAFETY: OffsetOf has checked that the whole range lies inside the mapping, which outlives the machine.
        source.CopyTo(new Span<byte>(_base + offset, source.Length));
        Pages.Written(offset, (ulong)source.Length);
        return true;
    }

    /// <summary>
    /// Reads one little-endian value; zero where there is no RAM. An aligned one of up to 8 bytes is read at once.
    /// </summary>
    public T Read<T>(GuestPhysical at)
        where T : unmanaged
    {
        ulong offset = OffsetOf(at.Value, (ulong)sizeof(T));

        // SAFETY: OffsetOf has checked that the whole range lies inside the mapping, which outlives the machine.
        return offset == ulong.MaxValue ? default : Unsafe.ReadUnaligned<T>(_base + offset);
    }

    /// <summary>
    /// Writes one little-endian value; nothing happens where there is no RAM. An aligned one of up to 8 bytes is written
    /// at once.
    /// </summary>
    public void Write<T>(GuestPhysical at, T value)
        where T : unmanaged
    {
        ulong offset = OffsetOf(at.Value, (ulong)sizeof(T));
        if (offset != ulong.MaxValue)
        {
            // SAFETY: OffsetOf has checked that the whole range lies inside the mapping, which outlives the machine.
            Unsafe.WriteUnaligned(_base + offset, value);
            Pages.Written(offset, (ulong)sizeof(T));
        }
    }

    /// <summary>Fills a range with zeros.</summary>
    /// <returns>False, with nothing written, when any byte is not RAM.</returns>
    public bool TryClear(GuestPhysical at, ulong length)
    {
        ulong offset = OffsetOf(at.Value, length);
        if (offset == ulong.MaxValue)
        {
            return false;
        }

        // SAFETY: OffsetOf has checked that the whole range lies inside the mapping, which outlives the machine.
        NativeClear(_base + offset, length);
        Pages.Written(offset, length);
        return true;
    }

    /// <summary>A hash of all RAM, for comparing runs. Only while no vCPU runs, or on the only one's thread.</summary>
    internal ulong Hash()
    {
        ulong sum = 0;
        for (long at = 0; (at = Libc.Lseek(_fd, at, Libc.SeekData)) >= 0 && (ulong)at < Size;)
        {
            long end = Libc.Lseek(_fd, at, Libc.SeekHole);
            for (; at < end; at += PageSize)
            {
                // SAFETY: the kernel names parts of the file, which is exactly as long as the mapping.
                ReadOnlySpan<byte> page = new(_base + at, PageSize);
                sum += page.ContainsAnyExcept((byte)0) ? StateHash.Of(page, (ulong)at) : 0;
            }
        }

        return sum;
    }

    /// <summary>The offset of a range in the mapping (low and high RAM joined), or ulong.MaxValue if it is not RAM.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ulong OffsetOf(ulong at, ulong length)
    {
        if (at < LowSize)
        {
            return length <= LowSize - at ? at : ulong.MaxValue;
        }

        ulong high = at - HighBase;
        return at >= HighBase && high < HighSize && length <= HighSize - high ? LowSize + high : ulong.MaxValue;
    }

    /// <summary>The guest-physical address of a byte at an offset in the mapping.</summary>
    internal ulong PhysicalOf(ulong offset) => offset < LowSize ? offset : offset - LowSize + HighBase;

    /// <summary>The host address of the page that holds a guest-physical address; null when that is not RAM.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte* HostPage(ulong at)
    {
        ulong offset = OffsetOf(at & ~0xFFFUL, PageSize);
        return offset == ulong.MaxValue ? null : _base + offset;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Pages.Dispose();
        _ = Libc.Munmap(_base, (nuint)Size);
        _ = Libc.Close(_fd);
    }

    private static void NativeClear(byte* at, ulong length)
    {
        while (length > 0)
        {
            uint step = (uint)Math.Min(length, 1u << 30);
            Unsafe.InitBlockUnaligned(at, 0, step);
            at += step;
            length -= step;
        }
    }
}
