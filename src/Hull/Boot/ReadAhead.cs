using System;
using System.Collections.Concurrent;
using System.IO;
using System.Runtime.ExceptionServices;
using System.Threading;
using System.Threading.Tasks;
using Hull.Host;

namespace Hull.Boot;

/// <summary>
/// A forward-only stream whose source is read by another thread, a few chunks ahead: unpacking a kernel and
/// giving its pages to the guest each take half of the time, and so they overlap. An exception of the source
/// comes out of <see cref="Read(Span{byte})"/> at its place in the stream.
/// </summary>
internal sealed class ReadAhead : ForwardStream
{
    private const int ChunkSize = 512 << 10;
    private const int Chunks = 4;

    private readonly Stream _source;
    private readonly BlockingCollection<Chunk> _full = new(Chunks);
    private readonly ConcurrentBag<byte[]> _free = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _reader;
    private Chunk _current;
    private int _at;

    /// <summary>Starts to read; the source is disposed with the stream.</summary>
    internal ReadAhead(Stream source)
    {
        _source = source;
        _reader = Task.Run(Fill);
    }

    /// <inheritdoc/>
    public override int Read(Span<byte> buffer)
    {
        if (_at == _current.Length)
        {
            if (_current.Bytes is not null)
            {
                _free.Add(_current.Bytes);
            }

            _at = 0;
            if (!_full.TryTake(out _current, Timeout.Infinite))
            {
                _current = default;
                return 0;
            }

            if (_current.Failure is { } failure)
            {
                _current = default;
                failure.Throw();
            }
        }

        int given = Math.Min(buffer.Length, _current.Length - _at);
        _current.Bytes.AsSpan(_at, given).CopyTo(buffer);
        _at += given;
        return given;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            // The source is in use until the reader has ended, which it does after the chunk it is at.
            _stop.Cancel();
            _reader.Wait();
            _source.Dispose();
            _full.Dispose();
            _stop.Dispose();
        }

        base.Dispose(disposing);
    }

    private void Fill()
    {
        try
        {
            int got;
            do
            {
                byte[] bytes = _free.TryTake(out byte[]? used) ? used : new byte[ChunkSize];
                got = _source.ReadAtLeast(bytes, bytes.Length, false);
                if (got > 0)
                {
                    _full.Add(new Chunk(bytes, got, null), _stop.Token);
                }
            }
            while (got > 0);
        }
        catch (OperationCanceledException)
        {
            return;
        }
#pragma warning disable CA1031 // thread root: whatever the source throws goes to the reader of this stream
        catch (Exception e)
#pragma warning restore CA1031
        {
            Report(ExceptionDispatchInfo.Capture(e));
        }

        _full.CompleteAdding();
    }

    private void Report(ExceptionDispatchInfo failure)
    {
        try
        {
            _full.Add(new Chunk(null, 0, failure), _stop.Token);
        }
        catch (OperationCanceledException)
        {
            // Nobody reads any more.
        }
    }

    private readonly record struct Chunk(byte[]? Bytes, int Length, ExceptionDispatchInfo? Failure);
}
