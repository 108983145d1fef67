using System;
using System.Net.Sockets;

namespace Hull.Devices.Virtio;

/// <summary>How far a connection is.</summary>
internal enum VsockState
{
    /// <summary>A program of the host's is to say which port it wants.</summary>
    Asked,

    /// <summary>The guest is asked.</summary>
    Requested,

    /// <summary>Both sides talk.</summary>
    Open,
}

/// <summary>
/// A connection between a port of the guest's and a Unix socket of the host's. What the guest sends and the socket does not
/// take yet waits here, no more than the guest was promised room for.
/// </summary>
internal sealed class VsockConnection(Socket socket) : IDisposable
{
    /// <summary>Bytes promised to the guest.</summary>
    internal const int Room = 128 << 10;

    private const int LongestLine = 32;

    private readonly byte[] _line = new byte[LongestLine];
    private byte[] _waiting = [];
    private int _first;
    private int _lineLength;
    private uint _sentToGuest;
    private uint _guestForwarded;
    private uint _guestRoom;
    private uint _toldForwarded;

    /// <summary>How far it is.</summary>
    internal VsockState State { get; set; }

    /// <summary>The guest's port.</summary>
    internal uint GuestPort { get; set; }

    /// <summary>The host's port.</summary>
    internal uint HostPort { get; set; }

    /// <summary>The socket's descriptor, to be polled.</summary>
    internal int Descriptor { get; } = (int)socket.Handle;

    /// <summary>Bytes of the guest's that wait for the socket.</summary>
    internal int WaitingBytes { get; private set; }

    /// <summary>Bytes of the guest's that the socket has taken, in all; wraps.</summary>
    internal uint Forwarded { get; private set; }

    /// <summary>The host's program has said all.</summary>
    internal bool HostIsDone { get; set; }

    /// <summary>The host's program is gone: there is nobody to poll for.</summary>
    internal bool HostIsGone { get; set; }

    /// <summary>The guest sends nothing more; the socket is told when all is with it.</summary>
    internal bool GuestIsDone { get; set; }

    /// <summary>The guest takes nothing more.</summary>
    internal bool GuestIsDeaf { get; set; }

    /// <summary>The host's program has sent something, or has ended.</summary>
    internal bool IsReadable { get; set; }

    /// <summary>Bytes that the guest has room for.</summary>
    internal uint Credit
    {
        get
        {
            // A hostile guest may forward more than it got: then it has all its room, not more.
            uint under = _sentToGuest - _guestForwarded;
            return under > _guestRoom ? 0 : _guestRoom - under;
        }
    }

    /// <summary>The guest would like to know how much was forwarded.</summary>
    internal bool OwesCredit => Forwarded - _toldForwarded >= Room / 2;

    /// <summary>Something of the host's may be read now.</summary>
    internal bool WantsHost => !HostIsDone && (State == VsockState.Asked || (State == VsockState.Open && !GuestIsDeaf && Credit > 0));

    /// <summary>Takes what a packet of the guest's says of its room.</summary>
    internal void TakeCredit(in VsockPacket packet)
    {
        _guestRoom = packet.BufferBytes;
        _guestForwarded = packet.ForwardedBytes;
    }

    /// <summary>A packet to the guest told it what was forwarded.</summary>
    internal void Told() => _toldForwarded = Forwarded;

    /// <summary>Reads from the host.</summary>
    /// <returns>Bytes; 0 at the end; -1 when nothing is there.</returns>
    internal int Receive(Span<byte> buffer)
    {
        int count = socket.Receive(buffer, SocketFlags.None, out SocketError error);
        return error == SocketError.Success ? count : error == SocketError.WouldBlock ? -1 : 0;
    }

    /// <summary>Bytes that went to the guest.</summary>
    internal void Sent(int count) => _sentToGuest += (uint)count;

    /// <summary>Passes bytes of the guest's on, or keeps them.</summary>
    /// <returns>False when the guest sent more than it was promised room for, or the host's program is gone.</returns>
    internal bool TryForward(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > Room - WaitingBytes)
        {
            return false;
        }

        int sent = 0;
        if (WaitingBytes == 0 && (sent = TrySend(bytes)) < 0)
        {
            return false;
        }

        Keep(bytes[sent..]);
        return true;
    }

    /// <summary>Gives the socket what waits.</summary>
    /// <returns>False when the host's program is gone.</returns>
    internal bool TryFlush()
    {
        while (WaitingBytes > 0)
        {
            int sent = TrySend(_waiting.AsSpan(_first, Math.Min(WaitingBytes, _waiting.Length - _first)));
            if (sent <= 0)
            {
                return sent == 0;
            }

            _first = (_first + sent) % _waiting.Length;
            WaitingBytes -= sent;
        }

        if (GuestIsDone)
        {
            Shut();
        }

        return true;
    }

    /// <summary>Says something to the host's program: a short line, which a new socket has room for.</summary>
    internal void Answer(ReadOnlySpan<byte> line) => _ = socket.Send(line, SocketFlags.None, out _);

    /// <summary>Reads on in the line that says which port is wanted: <c>CONNECT PORT</c>.</summary>
    /// <returns>The line when it is whole; null when it is not yet; empty when it is none, or the program is gone.</returns>
    internal ReadOnlySpan<byte> ReadLine(out bool isWhole)
    {
        // Byte by byte: what comes behind the line is the guest's.
        Span<byte> one = stackalloc byte[1];
        int count;
        while ((count = Receive(one)) > 0 && _lineLength < LongestLine)
        {
            if (one[0] == '\n')
            {
                isWhole = true;
                return _line.AsSpan(0, _lineLength).TrimEnd((byte)'\r');
            }

            _line[_lineLength++] = one[0];
        }

        isWhole = count >= 0;
        return [];
    }

    /// <inheritdoc/>
    public void Dispose() => socket.Dispose();

    // Bytes taken; 0 when there is no room; -1 when nobody takes any.
    private int TrySend(ReadOnlySpan<byte> bytes)
    {
        int sent = socket.Send(bytes, SocketFlags.None, out SocketError error);
        if (error is not (SocketError.Success or SocketError.WouldBlock))
        {
            return -1;
        }

        sent = error == SocketError.Success ? sent : 0;
        Forwarded += (uint)sent;
        return sent;
    }

    private void Keep(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > 0 && _waiting.Length == 0)
        {
            _waiting = new byte[Room];
        }

        int at = bytes.Length == 0 ? 0 : (_first + WaitingBytes) % Room;
        int head = Math.Min(bytes.Length, Room - at);
        bytes[..head].CopyTo(_waiting.AsSpan(bytes.Length == 0 ? 0 : at));
        bytes[head..].CopyTo(_waiting);
        WaitingBytes += bytes.Length;
    }

    private void Shut()
    {
        try
        {
            socket.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            // It is gone altogether.
        }
    }
}
