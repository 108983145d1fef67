using System;
using System.Threading;

namespace Hull.Storage;

/// <summary>Copies a disk's bytes, but no zeros: they are in a new image already.</summary>
internal static class DiskCopy
{
    private const int Piece = 4096;
    private const int Chunk = 2 << 20;

    /// <summary>Copies all.</summary>
    /// <param name="from">Is read.</param>
    /// <param name="to">Is new, and at least as long.</param>
    /// <param name="progress">Is told the share that is done, 0 to 1.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="System.IO.IOException">The host cannot.</exception>
    internal static void Run(IByteStore from, IByteStore to, IProgress<double>? progress, CancellationToken cancellation)
    {
        byte[] buffer = new byte[Chunk];
        int piece = (int)Math.Max(to.BlockSize, Piece);
        for (ulong at = 0; at < from.Length;)
        {
            cancellation.ThrowIfCancellationRequested();
            ulong run = from.FindRun(at, out bool isZero);
            if (!isZero)
            {
                // Up to a whole chunk's end, so that a cluster of the copy is written once.
                run = Math.Min(from.Length - at, Chunk - (at & (Chunk - 1)));
                Span<byte> part = buffer.AsSpan(0, (int)run);
                from.Read(at, part);
                WriteData(to, at, part, piece);
            }

            at += run;
            progress?.Report((double)at / from.Length);
        }
    }

    // Runs of pieces that are not all zeros; pieces are aligned on the disk, not in the buffer.
    private static void WriteData(IByteStore to, ulong at, ReadOnlySpan<byte> bytes, int piece)
    {
        int start = 0;
        for (int end = 0; end < bytes.Length;)
        {
            int next = Math.Min(end + piece - (int)((at + (uint)end) & ((uint)piece - 1)), bytes.Length);
            if (bytes[end..next].IndexOfAnyExcept((byte)0) < 0)
            {
                to.WriteIfAny(at + (uint)start, bytes[start..end]);
                start = next;
            }

            end = next;
        }

        to.WriteIfAny(at + (uint)start, bytes[start..]);
    }

    private static void WriteIfAny(this IByteStore to, ulong at, ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > 0)
        {
            to.Write(at, bytes);
        }
    }
}
