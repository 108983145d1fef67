using System;
using System.IO;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>liblzma's streaming decoder for .xz. See "lzma/base.h" and "lzma/container.h".</summary>
internal static unsafe partial class Liblzma
{
    internal const int Ok = 0;
    internal const int StreamEnd = 1;
    internal const int MemoryLimit = 6;
    internal const int ActionRun = 0;
    internal const int ActionFinish = 3;

    /// <summary>lzma_stream_decoder: starts decoding one .xz stream.</summary>
    [LibraryImport("liblzma.so.5", EntryPoint = "lzma_stream_decoder")]
    internal static partial int StreamDecoder(LzmaStream* stream, ulong memoryLimit, uint flags);

    /// <summary>lzma_code: takes input, gives output.</summary>
    [LibraryImport("liblzma.so.5", EntryPoint = "lzma_code")]
    internal static partial int Code(LzmaStream* stream, int action);

    /// <summary>lzma_end: frees what the decoder holds.</summary>
    [LibraryImport("liblzma.so.5", EntryPoint = "lzma_end")]
    internal static partial void End(LzmaStream* stream);
}

/// <summary>lzma_stream of liblzma 5; the reserved members are zero.</summary>
[StructLayout(LayoutKind.Sequential, Size = 136)]
internal unsafe struct LzmaStream
{
    internal byte* NextIn;
    internal nuint AvailIn;
    internal ulong TotalIn;
    internal byte* NextOut;
    internal nuint AvailOut;
    internal ulong TotalOut;
}

/// <summary>Unpacks .xz.</summary>
internal sealed unsafe class XzUnpacker : NativeUnpacker
{
    // Linux packs with a dictionary of at most 128 MiB; what asks for more is not a kernel.
    private const ulong MemoryLimitBytes = 256UL << 20;

    private readonly byte[] _chunk = new byte[InputChunk];
    private LzmaStream* _stream;
    private int _at;
    private int _filled;
    private bool _finished;

    /// <summary>Starts unpacking.</summary>
    /// <exception cref="DllNotFoundException">The host has no liblzma.so.5.</exception>
    internal XzUnpacker(Stream input)
        : base(input)
    {
        _stream = (LzmaStream*)NativeMemory.AllocZeroed((nuint)sizeof(LzmaStream));
        int result;
        try
        {
            result = Liblzma.StreamDecoder(_stream, MemoryLimitBytes, 0);
        }
        catch (DllNotFoundException)
        {
            NativeMemory.Free(_stream);
            _stream = null;
            throw;
        }

        if (result != Liblzma.Ok)
        {
            throw new InvalidDataException($"liblzma cannot start (error {result})");
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

            given += Step(buffer[given..]);
        }

        return given;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (_stream is not null)
        {
            Liblzma.End(_stream);
            NativeMemory.Free(_stream);
            _stream = null;
        }

        base.Dispose(disposing);
    }

    private int Step(Span<byte> output)
    {
        // SAFETY: both spans are pinned for the call; liblzma stays inside the lengths given with the
        // pointers, and the pointers are not used after the call.
        fixed (byte* from = _chunk, to = output)
        {
            _stream->NextIn = from + _at;
            _stream->AvailIn = (nuint)(_filled - _at);
            _stream->NextOut = to;
            _stream->AvailOut = (nuint)output.Length;
            int result = Liblzma.Code(_stream, _filled == 0 ? Liblzma.ActionFinish : Liblzma.ActionRun);
            _at = _filled - (int)_stream->AvailIn;
            _finished = result == Liblzma.StreamEnd;
            if (result != Liblzma.Ok && !_finished)
            {
                throw new InvalidDataException(result == Liblzma.MemoryLimit
                    ? "the xz dictionary is larger than 256 MiB"
                    : $"the xz data are damaged (liblzma error {result})");
            }

            return output.Length - (int)_stream->AvailOut;
        }
    }
}
