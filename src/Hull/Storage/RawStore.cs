using System;
using Hull.Host;

namespace Hull.Storage;

/// <summary>A raw image: the file's bytes are the disk's. Never probed: what the bytes look like does not matter.</summary>
internal sealed class RawStore : IByteStore
{
    private readonly IImageFile _file;
    private volatile bool _canPunch = true;

    private RawStore(IImageFile file, ulong length, bool readOnly)
    {
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
        ImageFile file = ImageFile.Open(path, readOnly);
        try
        {
            ulong length = file.Length;
            return length >= 512
                ? new RawStore(file, length & ~511UL, readOnly)
                : throw new HullException($"{path} has {length} bytes, less than a sector: it is no disk image");
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> destination) => _file.Read(offset, destination);

    /// <inheritdoc/>
    public bool TryRead(ulong offset, Span<HostRange> pieces, int length) => _file.Read(offset, pieces) == length;

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> source) => _file.Write(offset, source);

    /// <inheritdoc/>
    public void Flush() => _file.Sync();

    /// <inheritdoc/>
    public void Discard(ulong offset, ulong length)
    {
        if (_canPunch)
        {
            _canPunch = _file.TryPunch(offset, length);
        }
    }

    /// <inheritdoc/>
    public void WriteZeroes(ulong offset, ulong length, bool mayFree)
    {
        if (mayFree && _canPunch && (_canPunch = _file.TryPunch(offset, length)))
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
    public ulong FindRun(ulong offset, out bool isZero) => Math.Min(_file.FindRun(offset, out isZero), Length - offset);

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
