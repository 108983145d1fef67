using System;
using System.IO;
using Hull.Host;
using Microsoft.Win32.SafeHandles;

namespace Hull.Boot;

/// <summary>Something to boot from: a file on the host, or bytes that the caller holds.</summary>
public sealed record BootBlob
{
    private BootBlob(string name, string? path, ReadOnlyMemory<byte> bytes)
    {
        Name = name;
        Path = path;
        Bytes = bytes;
    }

    /// <summary>What error messages call it: the path, or the name given with the bytes.</summary>
    public string Name { get; }

    /// <summary>The file; null when the blob is bytes.</summary>
    public string? Path { get; }

    /// <summary>The bytes; empty when the blob is a file.</summary>
    internal ReadOnlyMemory<byte> Bytes { get; }

    /// <summary>A file, read when the machine is built.</summary>
    public static BootBlob FromFile(string path) => new(path, path, default);

    /// <summary>Bytes, with a name for messages.</summary>
    public static BootBlob FromBytes(string name, ReadOnlyMemory<byte> bytes) => new(name, null, bytes);
}

/// <summary>
/// An open <see cref="BootBlob"/>: read at any offset, so that only what is needed is read.
/// </summary>
internal sealed class BootBlobReader : IDisposable
{
    private readonly SafeFileHandle? _file;
    private readonly ReadOnlyMemory<byte> _bytes;

    private BootBlobReader(string name, SafeFileHandle? file, ReadOnlyMemory<byte> bytes, long length)
    {
        Name = name;
        Identity = file is null
            ? $"{name}\n{length}"
            : $"{Path.GetFullPath(name)}\n{length}\n{File.GetLastWriteTimeUtc(file).Ticks}";
        _file = file;
        _bytes = bytes;
        Length = length;
    }

    /// <summary>What messages call it.</summary>
    internal string Name { get; }

    /// <summary>Bytes in all.</summary>
    internal long Length { get; }

    /// <summary>
    /// What tells this file from others of its name: path, size and time of the last change.
    /// </summary>
    internal string Identity { get; }

    /// <summary>Opens a blob.</summary>
    /// <param name="blob">What to open.</param>
    /// <param name="role">"kernel" or "initrd", for the message.</param>
    /// <exception cref="HullException">The file cannot be opened, or is not a plain file.</exception>
    internal static BootBlobReader Open(BootBlob blob, string role)
    {
        if (blob.Path is null)
        {
            return new BootBlobReader(blob.Name, null, blob.Bytes, blob.Bytes.Length);
        }

        SafeFileHandle? file = null;
        try
        {
            file = File.OpenHandle(blob.Path);
            return new BootBlobReader(blob.Name, file, default, RandomAccess.GetLength(file));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or
            ArgumentException)
        {
            file?.Dispose();
            throw new HullException($"cannot open {role} {blob.Name}: {e.Message}", e);
        }
    }

    /// <summary>Fills the span from an offset.</summary>
    /// <returns>Bytes read; fewer than asked at the end of the blob.</returns>
    internal int Read(long offset, Span<byte> destination)
    {
        if (_file is null)
        {
            if (offset >= _bytes.Length)
            {
                return 0;
            }

            int length = Math.Min(destination.Length, _bytes.Length - (int)offset);
            _bytes.Span.Slice((int)offset, length).CopyTo(destination);
            return length;
        }

        int got = 0;
        try
        {
            while (got < destination.Length)
            {
                int step = RandomAccess.Read(_file, destination[got..], offset + got);
                if (step == 0)
                {
                    break;
                }

                got += step;
            }
        }
        catch (IOException e)
        {
            throw new HullException($"cannot read {Name}: {e.Message}", e);
        }

        return got;
    }

    /// <summary>A stream over part of the blob; it does not own the blob.</summary>
    internal Stream OpenRange(long offset, long length) => new Range(this, offset, length);

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();

    private sealed class Range(BootBlobReader blob, long start, long length) : ForwardStream
    {
        private long _at;

        public override long Length => length;

        public override long Position
        {
            get => _at;
            set => throw new NotSupportedException();
        }

        public override int Read(Span<byte> buffer)
        {
            int wanted = (int)Math.Min(buffer.Length, length - _at);
            int got = wanted <= 0 ? 0 : blob.Read(start + _at, buffer[..wanted]);
            _at += got;
            return got;
        }
    }
}
