using System;
using System.Buffers.Binary;
using System.IO;
using System.Threading;
using Hull.Host;

namespace Hull.Net;

/// <summary>
/// A port whose frames are written to a file too, in the classic form of libpcap, which tcpdump and Wireshark read. Each
/// frame is in the file when it is on the wire. What a full disk has no room for is left out, whole frames of it. IETF
/// draft-ietf-opsawg-pcap, "PCAP Capture File Format".
/// </summary>
internal sealed class CapturedPort : IEthernetPort
{
    private const uint Magic = 0xA1B2_C3D4;
    private const uint LinkEthernet = 1;
    private const int FileHeaderBytes = 24;
    private const int RecordHeaderBytes = 16;

    private readonly IEthernetPort _inner;
    private readonly HostTrouble _trouble;
    private readonly Lock _lock = new();
    private readonly byte[] _record = new byte[RecordHeaderBytes + EthernetFrame.LargestUnsegmented];
    private readonly string _path;
    private readonly FileStream _file;
    private bool _closed;

    /// <summary>Makes the file.</summary>
    /// <param name="inner">The port to listen to.</param>
    /// <param name="path">The file; one that is there is replaced.</param>
    /// <param name="notice">Gets a line for the user when the file cannot be written, and when it can again.</param>
    /// <exception cref="HullException">The file cannot be made.</exception>
    internal CapturedPort(IEthernetPort inner, string path, Action<string> notice)
    {
        _inner = inner;
        _path = path;
        _trouble = new HostTrouble(notice, $"the capture {path}");
        Span<byte> header = stackalloc byte[FileHeaderBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(header, Magic);
        BinaryPrimitives.WriteUInt16LittleEndian(header[4..], 2);
        BinaryPrimitives.WriteUInt16LittleEndian(header[6..], 4);
        BinaryPrimitives.WriteUInt32LittleEndian(header[16..], 1 << 18);
        BinaryPrimitives.WriteUInt32LittleEndian(header[20..], LinkEthernet);
        FileStream? file = null;
        try
        {
            file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, 0);
            file.Write(header);
            _file = file;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            file?.Dispose();
            throw new HullException($"cannot write the capture {path}: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public OffloadAbility Takes => _inner.Takes;

    /// <inheritdoc/>
    public int LargestFrame => _inner.LargestFrame;

    /// <inheritdoc/>
    public int Mtu => _inner.Mtu;

    /// <inheritdoc/>
    public bool IsUp => _inner.IsUp;

    /// <inheritdoc/>
    public Action? LinkChanged
    {
        get => _inner.LinkChanged;
        set => _inner.LinkChanged = value;
    }

    /// <inheritdoc/>
    public void SetReceiver(OffloadAbility able) => _inner.SetReceiver(able);

    /// <inheritdoc/>
    public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        Note(frame);
        _inner.Put(frame, offload);
    }

    /// <inheritdoc/>
    public void Flush() => _inner.Flush();

    /// <inheritdoc/>
    public Span<byte> Receive(out FrameOffload offload)
    {
        Span<byte> frame = _inner.Receive(out offload);
        if (frame.Length > 0)
        {
            Note(frame);
        }

        return frame;
    }

    /// <inheritdoc/>
    public void Stop() => _inner.Stop();

    /// <inheritdoc/>
    public void Dispose()
    {
        _inner.Dispose();
        lock (_lock)
        {
            _closed = true;
            _file.Dispose();
        }
    }

    private void Note(ReadOnlySpan<byte> frame)
    {
        long microseconds = (DateTime.UtcNow - DateTime.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;
        lock (_lock)
        {
            Span<byte> record = _record.AsSpan(0, RecordHeaderBytes + frame.Length);
            BinaryPrimitives.WriteUInt32LittleEndian(record, (uint)(microseconds / 1_000_000));
            BinaryPrimitives.WriteUInt32LittleEndian(record[4..], (uint)(microseconds % 1_000_000));
            BinaryPrimitives.WriteInt32LittleEndian(record[8..], frame.Length);
            BinaryPrimitives.WriteInt32LittleEndian(record[12..], frame.Length);
            frame.CopyTo(record[RecordHeaderBytes..]);
            if (!_closed)
            {
                Write(record);
            }
        }
    }

    // The network goes on whatever becomes of the file.
    private void Write(ReadOnlySpan<byte> record)
    {
        long end = _file.CanSeek ? _file.Position : 0;
        try
        {
            _file.Write(record);
            _trouble.Worked();
        }
        catch (IOException e)
        {
            _trouble.Failed(e.Message);
            CutTo(end);
        }
    }

    // A part of a frame would hide all that come after it.
    private void CutTo(long end)
    {
        try
        {
            if (_file.CanSeek)
            {
                _file.SetLength(end);
                _file.Position = end;
            }
        }
        catch (IOException)
        {
            // It is said already.
        }
    }
}
