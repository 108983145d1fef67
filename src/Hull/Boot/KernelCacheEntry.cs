using System;
using System.Buffers.Binary;
using System.IO;
using System.Numerics;
using Hull.Host;

namespace Hull.Boot;

/// <summary>Takes the bytes that a loader reads, in order.</summary>
internal interface ICopySink
{
    /// <summary>The next bytes.</summary>
    void Append(ReadOnlySpan<byte> bytes);
}

/// <summary>
/// The form of an unpacked kernel in the cache: blocks of 1 MiB, each followed by its CRC-32C, then a trailer
/// with magic, length and a CRC of both. A reader never passes on a byte of a block that it has not checked.
/// </summary>
internal static class KernelCacheEntry
{
    private const int BlockSize = 1 << 20;
    private const int TrailerSize = 20;
    private const ulong Magic = 0x314B_434C_4C55_48; // "HULLCK1"

    /// <summary>Starts writing an entry; null when the cache takes none.</summary>
    internal static Writer? TryCreate(IBootCache? cache, string key)
    {
        IBootCacheDraft? draft = cache?.Create(key);
        return draft is null ? null : new Writer(draft);
    }

    /// <summary>Opens an entry; null when there is none or its trailer shows that it is broken.</summary>
    internal static Stream? TryOpen(IBootCache? cache, string key)
    {
        Stream? file = cache?.Open(key);
        if (file is null)
        {
            return null;
        }

        try
        {
            Span<byte> trailer = stackalloc byte[TrailerSize];
            long packed = file.Length - TrailerSize;
            if (packed >= 0)
            {
                file.Position = packed;
                file.ReadExactly(trailer);
                ulong length = BinaryPrimitives.ReadUInt64LittleEndian(trailer[8..]);
                ulong blocks = (length + BlockSize - 1) / BlockSize;
                if (BinaryPrimitives.ReadUInt64LittleEndian(trailer) == Magic &&
                    BinaryPrimitives.ReadUInt32LittleEndian(trailer[16..]) == Crc(trailer[..16]) &&
                    length <= (ulong)packed && (ulong)packed == length + (4 * blocks))
                {
                    file.Position = 0;
                    return new Reader(file, (long)length);
                }
            }
        }
        catch (IOException)
        {
            // A cache that cannot be read is a cache without the entry.
        }

        file.Dispose();
        return null;
    }

    private static uint Crc(ReadOnlySpan<byte> bytes)
    {
        uint crc = ~0u;
        while (bytes.Length >= 8)
        {
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
            bytes = bytes[8..];
        }

        foreach (byte one in bytes)
        {
            crc = BitOperations.Crc32C(crc, one);
        }

        return ~crc;
    }

    /// <summary>Writes an entry. A full disk only means that nothing is cached.</summary>
    internal sealed class Writer(IBootCacheDraft draft) : ICopySink, IDisposable
    {
        private readonly byte[] _block = new byte[BlockSize + 4];
        private int _filled;
        private ulong _length;
        private bool _failed;

        /// <inheritdoc/>
        public void Append(ReadOnlySpan<byte> bytes)
        {
            while (!bytes.IsEmpty)
            {
                int step = Math.Min(bytes.Length, BlockSize - _filled);
                bytes[..step].CopyTo(_block.AsSpan(_filled));
                _filled += step;
                _length += (ulong)step;
                bytes = bytes[step..];
                if (_filled == BlockSize)
                {
                    FlushBlock();
                }
            }
        }

        /// <summary>Ends the entry and puts it into the cache.</summary>
        internal void Commit()
        {
            FlushBlock();
            Span<byte> trailer = stackalloc byte[TrailerSize];
            BinaryPrimitives.WriteUInt64LittleEndian(trailer, Magic);
            BinaryPrimitives.WriteUInt64LittleEndian(trailer[8..], _length);
            BinaryPrimitives.WriteUInt32LittleEndian(trailer[16..], Crc(trailer[..16]));
            Write(trailer);
            if (!_failed)
            {
                draft.Commit();
            }
        }

        /// <inheritdoc/>
        public void Dispose() => draft.Dispose();

        private void FlushBlock()
        {
            if (_filled > 0)
            {
                uint crc = Crc(_block.AsSpan(0, _filled));
                BinaryPrimitives.WriteUInt32LittleEndian(_block.AsSpan(_filled), crc);
                Write(_block.AsSpan(0, _filled + 4));
                _filled = 0;
            }
        }

        private void Write(ReadOnlySpan<byte> bytes)
        {
            try
            {
                if (!_failed)
                {
                    draft.Content.Write(bytes);
                }
            }
            catch (IOException)
            {
                _failed = true;
            }
        }
    }

    private sealed class Reader(Stream file, long length) : ForwardStream
    {
        private readonly byte[] _block = new byte[BlockSize + 4];
        private long _left = length;
        private int _at;
        private int _filled;

        public override int Read(Span<byte> buffer)
        {
            if (_at == _filled && _left > 0)
            {
                int size = (int)Math.Min(_left, BlockSize);
                file.ReadExactly(_block.AsSpan(0, size + 4));
                uint crc = BinaryPrimitives.ReadUInt32LittleEndian(_block.AsSpan(size));
                if (crc != Crc(_block.AsSpan(0, size)))
                {
                    throw new InvalidDataException("the cached kernel is damaged");
                }

                _filled = size;
                _at = 0;
                _left -= size;
            }

            int given = Math.Min(buffer.Length, _filled - _at);
            _block.AsSpan(_at, given).CopyTo(buffer);
            _at += given;
            return given;
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                file.Dispose();
            }

            base.Dispose(disposing);
        }
    }
}
