using System;
using System.IO;
using Hull.Host;

namespace Hull.Storage;

/// <summary>The file below an image. Any thread, several at once. All calls throw an <see cref="IOException"/> that names the
/// file when the host cannot, or when it has lost bytes that it had. Two of them: the host's file, and the tests' one in memory that forgets what was not synced.</summary>
internal interface IImageFile : IDisposable
{
    /// <summary>For messages.</summary>
    string Name { get; }

    /// <summary>Bytes; changes with writes behind the end.</summary>
    ulong Length { get; }

    /// <summary>Reads what is there.</summary>
    /// <returns>Bytes read; fewer than asked for only at the file's end.</returns>
    int Read(ulong offset, Span<byte> destination);

    /// <summary>Reads what is there into several pieces of memory.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="pieces">Get the bytes, in order; what they say is lost.</param>
    /// <returns>Bytes read; fewer than asked for only at the file's end.</returns>
    long Read(ulong offset, Span<HostRange> pieces);

    /// <summary>Writes a range; the file grows where needed.</summary>
    void Write(ulong offset, ReadOnlySpan<byte> source);

    /// <summary>Cuts or extends the file; what is added reads as zeros.</summary>
    void SetLength(ulong length);

    /// <summary>Returns when all that was written before is on the disk.</summary>
    void Sync();

    /// <summary>Gives a range back to the host; it reads as zeros.</summary>
    /// <returns>False when the file system cannot; nothing has changed then.</returns>
    bool TryPunch(ulong offset, ulong length);

    /// <summary>How far the range from an offset on is alike: a hole, or maybe data.</summary>
    /// <param name="offset">Below <see cref="Length"/>.</param>
    /// <param name="isHole">It reads as zeros.</param>
    /// <returns>Bytes, at least 1.</returns>
    ulong FindRun(ulong offset, out bool isHole);
}

/// <summary>Reading beyond the end.</summary>
internal static class ImageFileReading
{
    /// <summary>Reads a range; what lies behind the file's end is zeros.</summary>
    internal static void ReadPadded(this IImageFile file, ulong offset, Span<byte> destination)
    {
        int count = file.Read(offset, destination);
        destination[count..].Clear();
    }
}
