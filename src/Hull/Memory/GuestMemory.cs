using System;
using System.Runtime.CompilerServices;
using System.Threading;
using Hull.Host;

namespace Hull.Memory;

/// <summary>
/// The guest's RAM: one memfd-backed mapping, seen by the guest as a low part below the PCI hole and, when it is
/// larger, a high part from 4 GiB. Devices and loaders copy in and out; no span into live RAM leaves this class.
/// Behind RAM in the mapping are <see cref="Rom"/>, <see cref="Spare"/> pages and <see cref="Files"/>.
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
    /// <param name="lowLimit">Where low RAM ends at the latest.</param>
    /// <param name="romSize">Bytes of the ROM that ends at 4 GiB; a multiple of 4 KiB.</param>
    /// <param name="sparePages">Pages beyond RAM, which are nowhere until they are placed.</param>
    /// <param name="fileBytes">Bytes of the host files that will be above RAM; whole steps of <see cref="FileArea.Step"/>.</param>
    /// <exception cref="HullException">The size is odd, or the host has no such memory.</exception>
    public GuestMemory(ulong size, ulong lowLimit = LowLimit, ulong romSize = 0, int sparePages = 0, ulong fileBytes = 0)
    {
        if (size < 0x10_0000 || size % PageSize != 0 || size > 1UL << 40)
        {
            throw new HullException($"guest memory of {size} bytes: give a multiple of 4 KiB, from 1 MiB to 1 TiB (-m 512M)");
        }

        Size = size;
        LowSize = Math.Min(size, lowLimit);
        MappedSize = size + romSize + ((ulong)sparePages * PageSize) + fileBytes;
        _fd = Libc.MemfdCreate("hull-ram", 1);
        if (_fd < 0 || Libc.Ftruncate(_fd, (long)MappedSize) != 0)
        {
            throw new HullException($"cannot make {size >> 20} MiB of guest memory: {Libc.LastErrorMessage()}");
        }

        _base = (byte*)Libc.MapOrThrow(
            (nuint)MappedSize,
            Libc.ProtRead | Libc.ProtWrite,
            Libc.MapShared | Libc.MapNoReserve,
            _fd,
            "guest memory");
        Pages = new PageTracker(MappedSize / PageSize);
        Rom = new RomArea(romSize, size, _base, Pages);
        Spare = new SparePages(this, sparePages, size + romSize);
        Files = new FileArea(HighBase + HighSize, fileBytes, MappedSize - fileBytes, _base, _fd, Pages);
    }

    /// <summary>All RAM, in bytes.</summary>
    public ulong Size { get; }

    /// <summary>RAM below the PCI hole, in bytes; the rest starts at 4 GiB.</summary>
    public ulong LowSize { get; }

    /// <summary>RAM from 4 GiB on, in bytes.</summary>
    public ulong HighSize => Size - LowSize;

    /// <summary>RAM, ROM, spare pages and files, in bytes: what offsets in the mapping are below.</summary>
    internal ulong MappedSize { get; }

    /// <summary>Where the guest's memory ends, files and all, guest-physical.</summary>
    internal ulong End => Files.Size == 0 ? HighBase + HighSize : Files.Base + Files.Size;

    /// <summary>The ROM below 4 GiB.</summary>
    internal RomArea Rom { get; }

    /// <summary>The part below 1 MiB that a chipset protects.</summary>
    internal ShadowArea Shadow { get; } = new();

    /// <summary>Pages that come and go where there is no RAM.</summary>
    internal SparePages Spare { get; }

    /// <summary>The host files that are memory of the guest's.</summary>
    internal FileArea Files { get; }

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
    /// RAM itself, for who hands it to the host's kernel at once and keeps it no longer than the machine; not a file's pages, which the
    /// host may cut off. The guest may change it at any moment. Who has written to it calls <see cref="RangeWritten"/>.
    /// </summary>
    /// <returns>False when any byte is not RAM.</returns>
    internal bool TryRange(GuestPhysical at, int length, out HostRange range)
    {
        ulong offset = OffsetOf(at.Value, (ulong)length);

        // SAFETY: OffsetOf has checked that the whole range lies inside the mapping, which outlives the machine.
        range = offset >= Size ? default : new HostRange(_base + offset, length);
        return offset < Size;
    }

    /// <summary>Bytes of a range were written: tells those who watch the pages.</summary>
    internal void RangeWritten(GuestPhysical at, ulong length)
    {
        ulong offset = OffsetOf(at.Value, length);
        if (offset != ulong.MaxValue)
        {
            Pages.Written(offset, length);
        }
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

    /// <summary>True when a processor's store to this address goes to memory, if memory is there.</summary>
    internal bool TakesStores(ulong at) => !Shadow.IsProtected(at) && !Rom.Contains(at);

    /// <summary>True when a guest-physical address is RAM, low or high.</summary>
    internal bool IsRam(ulong at) => at < LowSize || at - HighBase < HighSize;

    /// <summary>
    /// Gives the pages of a range back to the host: they read as zeros, and take no memory until they are written again.
    /// The mapping stays, so what translated code knows of the pages stays right.
    /// </summary>
    /// <param name="at">The first page's address.</param>
    /// <param name="length">Bytes; whole pages.</param>
    /// <returns>False, with nothing changed, when a byte is not RAM, or the host cannot.</returns>
    internal bool TryDiscard(GuestPhysical at, ulong length)
    {
        ulong offset = OffsetOf(at.Value, length);
        if (offset >= Size || length == 0 || ((at.Value | length) & (PageSize - 1)) != 0)
        {
            return false;
        }

        // SAFETY: OffsetOf has checked that the whole range lies inside the mapping, which outlives the machine.
        bool done = Libc.Madvise(_base + offset, (nuint)length, Libc.AdviceRemove) == 0;
        Pages.Written(offset, length);
        return done;
    }

    /// <summary>Maps pages of RAM a second time, over what is at a host address.</summary>
    /// <param name="host">Where; pages of the caller's own mapping.</param>
    /// <param name="offset">The first page's offset in the guest's mapping.</param>
    /// <param name="pages">How many.</param>
    /// <param name="writable">They may be stored to.</param>
    /// <returns>False when one is not RAM, or the host cannot.</returns>
    internal bool TryMapAgain(byte* host, ulong offset, int pages, bool writable)
    {
        nuint bytes = (nuint)pages * PageSize;
        int protection = writable ? Libc.ProtRead | Libc.ProtWrite : Libc.ProtRead;
        return offset < Size && bytes <= Size - offset
            && Libc.Mmap(host, bytes, protection, Libc.MapShared | Libc.MapFixed | Libc.MapPopulate, _fd, (long)offset) == host;
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
        return at >= HighBase && high < HighSize && length <= HighSize - high
            ? LowSize + high
            : OffsetBeyondRam(at, length);
    }

    /// <summary>The guest-physical address of a byte at an offset in the mapping; of a spare page, one that it has.</summary>
    internal ulong PhysicalOf(ulong offset) => offset < LowSize ? offset
        : offset < Size ? offset - LowSize + HighBase
        : offset < Size + Rom.Size ? offset - Size + Rom.Base
        : offset >= Files.Offset ? offset - Files.Offset + Files.Base
        : Spare.PhysicalOf(offset);

    /// <summary>
    /// Replaces an aligned 32-bit value if it is still <paramref name="expected"/>, at once for all vCPUs.
    /// </summary>
    /// <returns>What was there before; <paramref name="expected"/> where there is no RAM.</returns>
    internal uint CompareExchange(GuestPhysical at, uint value, uint expected)
    {
        ulong offset = OffsetOf(at.Value & ~3UL, sizeof(uint));
        if (offset == ulong.MaxValue)
        {
            return expected;
        }

        // SAFETY: OffsetOf has checked that the whole range lies inside the mapping, which outlives the machine.
        uint before = Interlocked.CompareExchange(ref *(uint*)(_base + offset), value, expected);
        Pages.Written(offset, sizeof(uint));
        return before;
    }

    /// <summary>The host address of the page that holds a guest-physical address; null when that is neither RAM nor ROM.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte* HostPage(ulong at)
    {
        ulong offset = OffsetOf(at & ~0xFFFUL, PageSize);
        return offset == ulong.MaxValue ? Rom.HostPage(at) : _base + offset;
    }

    private ulong OffsetBeyondRam(ulong at, ulong length)
    {
        ulong inFiles = at - Files.Base;
        return inFiles < Files.Size && length <= Files.Size - inFiles
            ? Files.Offset + inFiles
            : Spare.OffsetOf(at, length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Pages.Dispose();
        _ = Libc.Munmap(_base, (nuint)MappedSize);
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
