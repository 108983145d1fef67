using System;
using System.IO;

namespace Hull.Host;

/// <summary>
/// A forward-only stream that unpacks another one through a library of the host. The subclass fills a span;
/// this class has what every such stream has in common. Damaged input gives <see
/// cref="InvalidDataException"/>.
/// </summary>
internal abstract class NativeUnpacker : Stream
{
    /// <summary>Bytes read from the packed input at once.</summary>
    protected const int InputChunk = 256 << 10;

    /// <summary>Makes the stream; the input is disposed with it.</summary>
    protected NativeUnpacker(Stream input) => Input = input;

    /// <summary>The packed bytes.</summary>
    protected Stream Input { get; }

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => false;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public abstract override int Read(Span<byte> buffer);

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Input.Dispose();
        }

        base.Dispose(disposing);
    }
}
