using System;
using System.IO;

namespace Hull.Storage.Qcow2;

/// <summary>What a piece of the disk is.</summary>
internal enum PieceKind
{
    /// <summary>The backing file's; zeros where there is none.</summary>
    Absent,

    /// <summary>Zeros.</summary>
    Zero,

    /// <summary>Bytes in the file.</summary>
    Data,

    /// <summary>A packed cluster.</summary>
    Packed,
}

/// <summary>A piece of the disk that is one thing.</summary>
/// <param name="Kind">What.</param>
/// <param name="Host">Offset in the file of its first byte; of a packed one the descriptor.</param>
/// <param name="Length">Bytes.</param>
/// <param name="IsOwn">It may be written in place.</param>
internal readonly record struct Piece(PieceKind Kind, ulong Host, int Length, bool IsOwn);

/// <summary>Finds and reads the disk's bytes. Any thread, while nobody changes the image.</summary>
internal sealed class Qcow2Reader(Qcow2Image image, IByteStore? backing)
{
    private readonly ClusterLayout _layout = image.Layout;
    private readonly Decompressor _packed = new(image.File, image.Layout, image.Header.UsesZstd);

    /// <summary>A packed cluster's place may get other content.</summary>
    internal void Forget(ulong descriptor) => _packed.Forget(descriptor);

    /// <summary>The image has nothing at an offset, and neither has one below it.</summary>
    internal bool IsNothingBelow(ulong offset) => backing is null || offset >= backing.Length;

    /// <summary>Reads a range.</summary>
    /// <exception cref="IOException">The host cannot, or the image is damaged.</exception>
    internal void Read(ulong offset, Span<byte> destination)
    {
        while (destination.Length > 0)
        {
            Piece piece = FindLong(offset, destination.Length);
            Span<byte> part = destination[..piece.Length];
            switch (piece.Kind)
            {
                case PieceKind.Data:
                    image.File.ReadPadded(piece.Host, part);
                    break;
                case PieceKind.Packed:
                    _packed.Read(piece.Host, (int)(offset & ((uint)_layout.ClusterSize - 1)), part);
                    break;
                case PieceKind.Absent:
                    ReadBelow(offset, part);
                    break;
                default:
                    part.Clear();
                    break;
            }

            offset += (uint)piece.Length;
            destination = destination[piece.Length..];
        }
    }

    /// <summary>The piece that starts at an offset, over neighbouring clusters that lie together.</summary>
    /// <param name="offset">First byte, on the disk.</param>
    /// <param name="most">Bytes at the most.</param>
    internal Piece FindLong(ulong offset, int most)
    {
        Piece piece = Find(offset, most);
        while (piece.Length < most && piece.Kind != PieceKind.Packed)
        {
            Piece next = Find(offset + (uint)piece.Length, most - piece.Length);
            if (next.Kind != piece.Kind || next.IsOwn != piece.IsOwn
                || (next.Kind == PieceKind.Data && next.Host != piece.Host + (uint)piece.Length))
            {
                break;
            }

            piece = piece with { Length = piece.Length + next.Length };
        }

        return piece;
    }

    private Piece Find(ulong offset, int most)
    {
        ClusterEntry entry = image.Map.Find(offset >> _layout.ClusterBits);
        int within = (int)(offset & ((uint)_layout.ClusterSize - 1));
        most = Math.Min(most, _layout.ClusterSize - within);
        if (entry.IsCompressed)
        {
            return new Piece(PieceKind.Packed, entry.Host, most, false);
        }

        int unit = within >> _layout.UnitBits;
        PieceKind kind = KindOf(entry, unit);
        int next = unit + 1;
        while (next < _layout.Units && next << _layout.UnitBits < within + most && KindOf(entry, next) == kind)
        {
            next++;
        }

        int length = Math.Min(most, (next << _layout.UnitBits) - within);
        return kind == PieceKind.Data
            ? new Piece(kind, entry.Host + (uint)within, length, entry.IsCopied)
            : new Piece(kind, 0, length, false);
    }

    private static PieceKind KindOf(ClusterEntry entry, int unit) =>
        (entry.Data >> unit & 1) != 0 ? PieceKind.Data
        : (entry.Zero >> unit & 1) != 0 ? PieceKind.Zero
        : PieceKind.Absent;

    private void ReadBelow(ulong offset, Span<byte> destination)
    {
        int there = backing is null || offset >= backing.Length
            ? 0
            : (int)Math.Min((ulong)destination.Length, backing.Length - offset);
        if (there > 0)
        {
            backing!.Read(offset, destination[..there]); // not null: something is there
        }

        destination[there..].Clear();
    }

    /// <summary>See <see cref="IByteStore.FindRun"/>.</summary>
    internal ulong FindRun(ulong offset, out bool isZero)
    {
        int most = (int)Math.Min(image.Size - offset, 1 << 30);
        Piece piece = FindLong(offset, most);
        isZero = piece.Kind == PieceKind.Zero || (piece.Kind == PieceKind.Absent && IsNothingBelow(offset));
        if (piece.Kind != PieceKind.Absent || isZero)
        {
            return (uint)piece.Length;
        }

        return Math.Min((uint)piece.Length, backing!.FindRun(offset, out isZero)); // not null: something is below
    }
}
