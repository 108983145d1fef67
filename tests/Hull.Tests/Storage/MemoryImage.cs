using System;
using System.Collections.Generic;
using System.IO;
using Hull.Host;
using Hull.Storage;

namespace Hull.Tests.Storage;

/// <summary>
/// An image file in memory that remembers what was done to it, so that a test can see it as a host that was cut at any point
/// would have left it.
/// </summary>
internal sealed class MemoryImage : IImageFile
{
    private readonly List<Change> _log = [];
    private byte[] _bytes = [];
    private int _length;

    internal MemoryImage(byte[]? content = null)
    {
        _bytes = content is null ? [] : [.. content];
        _length = _bytes.Length;
    }

    public string Name => "test.qcow2";

    public ulong Length => (ulong)_length;

    /// <summary>Bytes that the file may grow to; more than that is a full host.</summary>
    internal int Capacity { get; set; } = 64 << 20;

    /// <summary>Called once, before the next write; it may use the image itself.</summary>
    internal Action? BeforeNextWrite { get; set; }

    /// <summary>Writes, cuts and syncs so far.</summary>
    internal int LogLength => _log.Count;

    /// <summary>Bytes read and written, for bounds on time.</summary>
    internal long Traffic { get; private set; }

    /// <summary>
    /// The file as it is after some of the log: all up to a point, or what was synced before it and any of the rest, sector
    /// by sector.
    /// </summary>
    internal byte[] After(byte[] start, int point, Random? loses)
    {
        int synced = 0;
        for (int i = 0; i < point; i++)
        {
            synced = _log[i].IsSync ? i : synced;
        }

        MemoryImage image = new(start);
        for (int i = 0; i < point; i++)
        {
            image.Apply(_log[i], i > synced ? loses : null);
        }

        return image.ToArray();
    }

    internal byte[] ToArray() => _bytes.AsSpan(0, _length).ToArray();

    public int Read(ulong offset, Span<byte> destination)
    {
        Traffic += destination.Length;
        if (offset >= (ulong)_length)
        {
            return 0;
        }

        int count = Math.Min(destination.Length, _length - (int)offset);
        _bytes.AsSpan((int)offset, count).CopyTo(destination);
        return count;
    }

    public long Read(ulong offset, Span<HostRange> pieces)
    {
        long done = 0;
        foreach (HostRange piece in pieces)
        {
            done += Read(offset + (ulong)done, piece.Bytes);
        }

        return done;
    }

    public void Write(ulong offset, ReadOnlySpan<byte> source)
    {
        Action? before = BeforeNextWrite;
        BeforeNextWrite = null;
        before?.Invoke();
        Traffic += source.Length;
        if (offset + (uint)source.Length > (ulong)Capacity)
        {
            throw new IOException("the test's host is full");
        }

        Change change = new(offset, source.ToArray(), -1, false);
        _log.Add(change);
        Apply(change, null);
    }

    public void SetLength(ulong length)
    {
        if (length > (ulong)Capacity)
        {
            throw new IOException("the test's host is full");
        }

        Change change = new(0, [], (long)length, false);
        _log.Add(change);
        Apply(change, null);
    }

    public void Sync() => _log.Add(new Change(0, [], -1, true));

    public bool TryPunch(ulong offset, ulong length)
    {
        if (offset < (ulong)_length)
        {
            Write(offset, new byte[Math.Min(length, (ulong)_length - offset)]);
        }

        return true;
    }

    public ulong FindRun(ulong offset, out bool isHole)
    {
        isHole = false;
        return (ulong)_length - offset;
    }

    public void Dispose()
    {
    }

    private void Apply(Change change, Random? loses)
    {
        if (change.Length >= 0)
        {
            Reserve((int)change.Length);
            _bytes.AsSpan((int)change.Length).Clear();
            _length = (int)change.Length;
            return;
        }

        Reserve((int)change.Offset + change.Bytes.Length);
        _length = change.Bytes.Length == 0 ? _length : Math.Max(_length, (int)change.Offset + change.Bytes.Length);
        for (int done = 0; done < change.Bytes.Length;)
        {
            int part = Math.Min(512 - (int)((change.Offset + (uint)done) & 511), change.Bytes.Length - done);
            if (loses is null || loses.Next(2) == 0)
            {
                change.Bytes.AsSpan(done, part).CopyTo(_bytes.AsSpan((int)change.Offset + done));
            }

            done += part;
        }
    }

    private void Reserve(int length)
    {
        if (_bytes.Length < length)
        {
            Array.Resize(ref _bytes, Math.Max(length, _bytes.Length * 2));
        }
    }

    private sealed record Change(ulong Offset, byte[] Bytes, long Length, bool IsSync);
}
