using System;
using System.IO;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>libzstd's streaming decoder. See "zstd.h".</summary>
internal static unsafe partial class Libzstd
{
    /// <summary>ZSTD_createDStream.</summary>
    [LibraryImport("libzstd.so.1", EntryPoint = "ZSTD_createDStream")]
    internal static partial void* CreateStream();

    /// <summary>ZSTD_freeDStream.</summary>
    [LibraryImport("libzstd.so.1", EntryPoint = "ZSTD_freeDStream")]
    internal static partial nuint FreeStream(void* stream);

    /// <summary>ZSTD_decompressStream: 0 at the end of a frame, else a hint or an error.</summary>
    [LibraryImport("libzstd.so.1", EntryPoint = "ZSTD_decompressStream")]
    internal static partial nuint DecompressStream(void* stream, ZstdBuffer* output, ZstdBuffer* input);

    /// <summary>ZSTD_isError.</summary>
    [LibraryImport("libzstd.so.1", EntryPoint = "ZSTD_isError")]
    internal static partial uint IsError(nuint code);
}

/// <summary>ZSTD_inBuffer and ZSTD_outBuffer, which have the same shape.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ZstdBuffer
{
    internal byte* Data;
    internal nuint Size;
    internal nuint Position;
}

/// <summary>Unpacks one Zstandard frame. The window is bounded by the library's default of 128 MiB.</summary>
internal sealed unsafe class ZstdUnpacker : NativeUnpacker
{
    private readonly byte[] _chunk = new byte[InputChunk];
    private void* _stream;
    private int _at;
    private int _filled;
    private bool _finished;

    /// <summary>Starts unpacking.</summary>
    /// <exception cref="DllNotFoundException">The host has no libzstd.so.1.</exception>
    internal ZstdUnpacker(Stream input)
        : base(input)
    {
        _stream = Libzstd.CreateStream();
        if (_stream is null)
        {
            throw new InvalidDataException("libzstd has no memory to start");
        }
    }

    /// <inheritdoc/>
    public override int Read(Span<byte> buffer)
    {
        ObjectDisposedException.ThrowIf(_stream is null, this);
        int given = 0;
        while (given < buffer.Length && !_finished)
        {
            if (_at == _filled)
            {
                _filled = Input.Read(_chunk);
                _at = 0;
            }

            int step = Step(buffer[given..]);
            if (step == 0 && _filled == 0 && !_finished)
            {
                throw new InvalidDataException("the zstd data end too early");
            }

            given += step;
        }

        return given;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (_stream is not null)
        {
            _ = Libzstd.FreeStream(_stream);
            _stream = null;
        }

        base.Dispose(disposing);
    }

    private int Step(Span<byte> output)
    {
        // SAFETY: both spans are pinned for the call and libzstd stays inside the sizes given with the pointers.
        fixed (byte* from = _chunk, to = output)
        {
            ZstdBuffer input = new() { Data = from, Size = (nuint)_filled, Position = (nuint)_at };
            ZstdBuffer result = new() { Data = to, Size = (nuint)output.Length };
            nuint code = Libzstd.DecompressStream(_stream, &result, &input);
            if (Libzstd.IsError(code) != 0)
            {
                throw new InvalidDataException("the zstd data are damaged");
            }

            _at = (int)input.Position;
            _finished = code == 0;
            return (int)result.Position;
        }
    }
}
