using System.Collections.Generic;
using System.Threading;
using Hull.Host;
using Microsoft.Win32.SafeHandles;

namespace Hull.Memory;

/// <summary>
/// The part of guest memory above RAM where host files are: their pages themselves, not copies. How large it is, is said
/// before the machine is built; where no file is yet, or none any more, there is memory of the guest's own.
/// </summary>
internal sealed unsafe class FileArea
{
    /// <summary>A file starts, and the area of one ends, at a multiple of this: Linux takes memory in such steps.</summary>
    internal const ulong Step = 2 << 20;

    /// <summary>Bytes of all files at the most.</summary>
    internal const ulong Limit = 256UL << 30;

    private const ulong Alignment = 1 << 30;

    private readonly Lock _lock = new();
    private readonly List<Place> _places = [];
    private readonly PageTracker _pages;
    private readonly byte* _host;
    private readonly int _fd;
    private ulong _used;

    /// <summary>Makes the area, without files.</summary>
    /// <param name="memoryEnd">Where RAM ends, guest-physical.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="offset">Where the area is in the guest's mapping, and in the file behind that.</param>
    /// <param name="mapping">The guest's mapping.</param>
    /// <param name="fd">The file behind it.</param>
    /// <param name="pages">What is known of each page of the mapping.</param>
    internal FileArea(ulong memoryEnd, ulong size, ulong offset, byte* mapping, int fd, PageTracker pages)
    {
        Base = (memoryEnd + Alignment - 1) / Alignment * Alignment;
        Size = size;
        Offset = offset;
        _host = mapping + offset;
        _fd = fd;
        _pages = pages;
    }

    /// <summary>Where it starts, guest-physical.</summary>
    internal ulong Base { get; }

    /// <summary>Bytes.</summary>
    internal ulong Size { get; }

    /// <summary>Where it starts in the guest's mapping.</summary>
    internal ulong Offset { get; }

    /// <summary>True when a guest-physical address is in it.</summary>
    internal bool Contains(ulong at) => at - Base < Size;

    /// <summary>The room that a file of some bytes needs.</summary>
    internal static ulong RoomFor(ulong length) => (length + Step - 1) / Step * Step;

    /// <summary>Maps a file. Its last page, and its last step of the area, are filled up with zeros that are the guest's own.</summary>
    /// <param name="file">The file; open for as long as it is mapped.</param>
    /// <param name="name">Its name, for messages.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="isPrivate">What the guest writes is its own, and gone when the file is unmapped.</param>
    /// <returns>Where it is, guest-physical.</returns>
    /// <exception cref="HullException">There is no room, or the host cannot map it.</exception>
    internal ulong Map(SafeFileHandle file, string name, ulong length, bool isPrivate)
    {
        lock (_lock)
        {
            if (RoomFor(length) > Size - _used)
            {
                throw new HullException($"{name}: a file comes into a guest's memory only when the machine starts, and must not grow then");
            }

            ulong at = _used;
            byte* host = _host + at;
            int watched = MappedFiles.Add(host, RoomFor(length));
            int flags = (isPrivate ? Libc.MapPrivate | Libc.MapNoReserve : Libc.MapShared) | Libc.MapFixed;

            // SAFETY: [host, host + length) is inside the area, which is part of the guest's mapping: nothing else is replaced.
            if (Libc.Mmap(host, (nuint)length, Libc.ProtRead | Libc.ProtWrite, flags, (int)file.DangerousGetHandle(), 0) == (void*)-1)
            {
                MappedFiles.Remove(watched);
                throw new HullException($"cannot map {name} into the guest's memory: {Libc.LastErrorMessage()}");
            }

            _used += RoomFor(length);
            _places.Add(new Place(Base + at, length, watched, file));
            return Base + at;
        }
    }

    /// <summary>Takes a file out: zeros come in its place. vCPUs may run.</summary>
    internal void Unmap(ulong at)
    {
        lock (_lock)
        {
            Place place = _places.Find(place => place.At == at);
            if (place.File is not null)
            {
                Replace(at - Base, place.Length);
                MappedFiles.Remove(place.Watched);
                _places.Remove(place);
            }
        }
    }

    /// <summary>True when pages of a file were lost: the file was cut, or the host's disk was full.</summary>
    internal bool HasLost(ulong at)
    {
        lock (_lock)
        {
            Place place = _places.Find(place => place.At == at);
            return place.File is not null && MappedFiles.LostPages(place.Watched) != 0;
        }
    }

    private void Replace(ulong offset, ulong length)
    {
        const int flags = Libc.MapShared | Libc.MapNoReserve | Libc.MapFixed;

        // SAFETY: the range is that of a file that was mapped here; the same part of the guest's memory file replaces it.
        _ = Libc.Mmap(_host + offset, (nuint)length, Libc.ProtRead | Libc.ProtWrite, flags, _fd, (long)(Offset + offset));
        _pages.Written(Offset + offset, length);
    }

    private readonly record struct Place(ulong At, ulong Length, int Watched, SafeFileHandle? File);
}
