using System;
using System.IO;
using Hull.Host;
using Microsoft.Win32.SafeHandles;

namespace Hull.Storage;

/// <summary>A raw image: the file's bytes are the disk's. Never probed: what the bytes look like does not matter.</summary>
internal sealed class RawStore : IByteStore
{
    private readonly string _path;
    private readonly SafeFileHandle _file;
    private volatile bool _canPunch = true;

    private RawStore(string path, SafeFileHandle file, ulong length, bool readOnly)
    {
        _path = path;
        _file = file;
        Length = length;
        IsReadOnly = readOnly;
    }

    /// <inheritdoc/>
    public ulong Length { get; }

    /// <inheritdoc/>
    public bool IsReadOnly { get; }

    /// <inheritdoc/>
    public uint BlockSize => 4096;

    /// <summary>Opens an image and locks it: for writing alone, for reading together with other readers.</summary>
    /// <exception cref="HullException">It cannot be opened, is in use, or holds less than a sector.</exception>
    internal static RawStore Open(string path, bool readOnly)
    {
        SafeFileHandle file = ImageFile.Open(path, readOnly);
        try
        {
            ulong length = (ulong)RandomAccess.GetLength(file);
            return length >= 512
                ? new RawStore(path, file, length & ~511UL, readOnly)
                : throw new HullException($"{path} has {length} bytes, less than a sector: it is no disk image");
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> destination)
    {
        while (destination.Length > 0)
        {
            int count = RandomAccess.Read(_file, destination, (long)offset);
            if (count == 0)
            {
                throw new IOException($"{_path} ends at {offset}: it was cut while in use");
            }

            offset += (uint)count;
            destination = destination[count..];
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> source) => RandomAccess.Write(_file, source, (long)offset);

    /// <inheritdoc/>
    public void Flush() => RandomAccess.FlushToDisk(_file);

    /// <inheritdoc/>
    public void Discard(ulong offset, ulong length)
    {
        if (_canPunch)
        {
            _canPunch = ImageFile.TryPunch(_file, offset, length);
        }
    }

    /// <inheritdoc/>
    public void WriteZeroes(ulong offset, ulong length, bool mayFree)
    {
        if (mayFree && _canPunch && (_canPunch = ImageFile.TryPunch(_file, offset, length)))
        {
            return;
        }

        Span<byte> zeros = stackalloc byte[4096];
        zeros.Clear();
        while (length > 0)
        {
            int count = (int)Math.Min(length, (ulong)zeros.Length);
            Write(offset, zeros[..count]);
            offset += (uint)count;
            length -= (uint)count;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
