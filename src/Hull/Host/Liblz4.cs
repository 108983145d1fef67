using System;
using System.Buffers.Binary;
using System.IO;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>liblz4's block decoder. See "lz4.h".</summary>
internal static unsafe partial class Liblz4
{
    /// <summary>LZ4_decompress_safe: the bytes written, or a negative number for damaged input.</summary>
    [LibraryImport("liblz4.so.1", EntryPoint = "LZ4_decompress_safe")]
    internal static partial int DecompressSafe(byte* source, byte* target, int sourceSize, int targetCapacity);

    /// <summary>LZ4_versionNumber.</summary>
    [LibraryImport("liblz4.so.1", EntryPoint = "LZ4_versionNumber")]
    internal static partial int VersionNumber();
}

/// <summary>
/// Unpacks the LZ4 legacy frame, which Linux uses: a magic number, then blocks of a 32-bit size and packed
/// data, each of 8 MiB unpacked but the last. LZ4 Frame Format Description, "Legacy frame".
/// </summary>
internal sealed unsafe class Lz4LegacyUnpacker : NativeUnpacker
{
    /// <summary>The first four bytes, little endian.</summary>
    internal const uint Magic = 0x184C_2102;

    private const int BlockSize = 8 << 20;
    private const int PackedLimit = BlockSize + (BlockSize / 255) + 16;

    private byte[] _block = [];
    private byte[] _packed = [];
    private int _at;
    private int _filled;
    private bool _finished;

    /// <summary>Starts unpacking; the input ends with the last block.</summary>
    /// <exception cref="DllNotFoundException">The host has no liblz4.so.1.</exception>
    internal Lz4LegacyUnpacker(Stream input)
        : base(input)
    {
        _ = Liblz4.VersionNumber();
        Span<byte> magic = stackalloc byte[4];
        if (input.ReadAtLeast(magic, 4, false) != 4 ||
            BinaryPrimitives.ReadUInt32LittleEndian(magic) != Magic)
        {
            throw new InvalidDataException("the data are not an LZ4 legacy frame");
        }
    }

    /// <inheritdoc/>
    public override int Read(Span<byte> buffer)
    {
        if (_at == _filled && !_finished)
        {
            NextBlock();
        }

        int length = Math.Min(buffer.Length, _filled - _at);
        _block.AsSpan(_at, length).CopyTo(buffer);
        _at += length;
        return length;
    }

    private void NextBlock()
    {
        _at = 0;
        _filled = 0;
        Span<byte> prefix = stackalloc byte[4];
        int got = Input.ReadAtLeast(prefix, 4, false);
        if (got == 0)
        {
            _finished = true;
            return;
        }

        uint size = BinaryPrimitives.ReadUInt32LittleEndian(prefix);
        if (got != 4 || size == 0 || size > PackedLimit)
        {
            throw new InvalidDataException("the LZ4 data are damaged");
        }

        if (_packed.Length < size)
        {
            _packed = GC.AllocateUninitializedArray<byte>((int)size);
        }

        if (Input.ReadAtLeast(_packed.AsSpan(0, (int)size), (int)size, false) != size)
        {
            throw new InvalidDataException("the LZ4 data end too early");
        }

        if (_block.Length == 0)
        {
            _block = GC.AllocateUninitializedArray<byte>(BlockSize);
        }

        // SAFETY: both arrays are pinned for the call, and LZ4_decompress_safe stays inside the two sizes.
        fixed (byte* from = _packed, to = _block)
        {
            _filled = Liblz4.DecompressSafe(from, to, (int)size, BlockSize);
        }

        if (_filled <= 0)
        {
            _filled = 0;
            throw new InvalidDataException("the LZ4 data are damaged");
        }
    }
}
