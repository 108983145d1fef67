using System;
using System.IO;
using Hull.Host;
using Microsoft.Win32.SafeHandles;

namespace Hull.Boot;

/// <summary>Something to boot from: a file on the host, or bytes that the caller holds.</summary>
public sealed record BootBlob
{
    private BootBlob(string name) => Name = name;

    /// <summary>What error messages call it: the path, or the name given with the bytes.</summary>
    public string Name { get; }

    /// <summary>The file; null when the blob is bytes or a file that is open.</summary>
    public string? Path { get; private init; }

    /// <summary>The open file; null when the blob is something else. It is its maker's to close.</summary>
    internal SafeFileHandle? Handle { get; private init; }

    /// <summary>Bytes of the open file.</summary>
    internal long HandleLength { get; private init; }

    /// <summary>The bytes; empty when the blob is a file.</summary>
    internal ReadOnlyMemory<byte> Bytes { get; private init; }

    /// <summary>A file, read when the machine is built.</summary>
    public static BootBlob FromFile(string path) => new(path) { Path = path };

    /// <summary>The first bytes of a file that is open and stays so: it may lose its name before the machine is built.</summary>
    public static BootBlob FromHandle(string name, SafeFileHandle handle, long length) =>
        new(name) { Handle = handle, HandleLength = length };

    /// <summary>Bytes, with a name for messages.</summary>
    public static BootBlob FromBytes(string name, ReadOnlyMemory<byte> bytes) => new(name) { Bytes = bytes };

    /// <summary>Writes all of it to a stream.</summary>
    /// <exception cref="HullException">It cannot be read.</exception>
    public void CopyTo(Stream destination)
    {
        ArgumentNullException.ThrowIfNull(destination);
        using BootBlobReader reader = BootBlobReader.Open(this, "file");
        using Stream content = reader.OpenRange(0, reader.Length);
        content.CopyTo(destination);
    }
}

/// <summary>
/// An open <see cref="BootBlob"/>: read at any offset, so that only what is needed is read.
/// </summary>
internal sealed class BootBlobReader : IDisposable
{
    private readonly SafeFileHandle? _file;
    private readonly bool _ownsFile;
    private readonly ReadOnlyMemory<byte> _bytes;

    private BootBlobReader(BootBlob blob, SafeFileHandle? file)
    {
        Name = blob.Name;
        Length = file is null ? blob.Bytes.Length : blob.Handle is null ? RandomAccess.GetLength(file) : blob.HandleLength;
        Identity = file is null
            ? $"{Name}\n{Length}"
            : $"{Path.GetFullPath(Name)}\n{Length}\n{File.GetLastWriteTimeUtc(file).Ticks}";
        _file = file;
        _ownsFile = blob.Handle is null;
        _bytes = blob.Bytes;
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
            return new BootBlobReader(blob, blob.Handle);
        }

        SafeFileHandle? file = null;
        try
        {
            file = File.OpenHandle(blob.Path);
            return new BootBlobReader(blob, file);
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
    public void Dispose()
    {
        if (_ownsFile)
        {
            _file?.Dispose();
        }
    }

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
