using System;
using System.IO;
using Hull.Host;

namespace Hull.Storage;

/// <summary>
/// A disk's bytes, whatever format they are kept in. Any thread, several at once. Ranges are inside
/// [0, <see cref="Length"/>); who calls has checked that.
/// </summary>
internal interface IByteStore : IDisposable
{
    /// <summary>Bytes.</summary>
    ulong Length { get; }

    /// <summary>Writes, discards and zeroes are refused.</summary>
    bool IsReadOnly { get; }

    /// <summary>Bytes that are best read and written together, at aligned offsets; a power of two, at least 512.</summary>
    uint BlockSize { get; }

    /// <summary>Reads a range.</summary>
    /// <exception cref="IOException">The host cannot; the message names the file.</exception>
    void Read(ulong offset, Span<byte> destination);

    /// <summary>Writes a range. It is safe only behind the next <see cref="Flush"/>.</summary>
    /// <exception cref="IOException">The host cannot; the message names the file.</exception>
    void Write(ulong offset, ReadOnlySpan<byte> source);

    /// <summary>Reads a range into several pieces of memory with one call of the host's, where it lies together.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="pieces">Get the bytes, in order; what they say is lost.</param>
    /// <param name="length">Bytes of all pieces.</param>
    /// <returns>False, with nothing read, when it does not lie together.</returns>
    /// <exception cref="IOException">The host cannot; the message names the file. Some of it may have been read.</exception>
    bool TryRead(ulong offset, Span<HostRange> pieces, int length);

    /// <summary>Returns when all that was written before is on the host's disk.</summary>
    /// <exception cref="IOException">The host cannot; the message names the file.</exception>
    void Flush();

    /// <summary>The range's content is not needed any more; it reads as zeros or as before.</summary>
    /// <exception cref="IOException">The host cannot; the message names the file.</exception>
    void Discard(ulong offset, ulong length);

    /// <summary>The range reads as zeros from now on.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="mayFree">The host's space may be given back.</param>
    /// <exception cref="IOException">The host cannot; the message names the file.</exception>
    void WriteZeroes(ulong offset, ulong length, bool mayFree);

    /// <summary>How far the range from an offset on is alike: surely zeros, or maybe data.</summary>
    /// <param name="offset">Below <see cref="Length"/>.</param>
    /// <param name="isZero">It reads as zeros.</param>
    /// <returns>Bytes, at least 1, and none behind the end.</returns>
    /// <exception cref="IOException">The host cannot; the message names the file.</exception>
    ulong FindRun(ulong offset, out bool isZero);
}
