using System;
using System.Buffers.Text;
using System.Collections.Generic;
using System.Globalization;
using System.Text;
using Hull.Host;

namespace Hull.Devices.Virtio;

/// <summary>
/// Joins the guest's ports with Unix sockets of the host's: who is connected with whom, and what the guest is to be told.
/// A guest that takes no answers, or opens connections without end, finds a bound. One thread at a time.
/// </summary>
internal sealed class VsockSwitch : IDisposable
{
    private const int MostConnections = 256;
    private const int MostAnswers = 256;
    private const uint FirstHostPort = 1 << 30;
    private const ulong PollHangUp = 16UL << 48;

    private readonly string _path;
    private readonly ulong _cid;
    private readonly UnixListener _listener;
    private readonly List<VsockConnection> _all = [];
    private readonly Dictionary<(uint Guest, uint Host), VsockConnection> _known = [];
    private readonly Queue<VsockPacket> _answers = [];
    private readonly ulong[] _polled = new ulong[MostConnections + 2];
    private uint _nextHostPort = FirstHostPort;
    private bool _wasReset;
    private int _turn;

    /// <summary>Makes the Unix socket.</summary>
    /// <exception cref="HullException">It cannot be made.</exception>
    internal VsockSwitch(string path, ulong cid)
    {
        _path = path;
        _cid = cid;
        _listener = UnixListener.Open(path, "the guest's sockets");
    }

    /// <summary>The guest may be listened to: not too many answers wait for it.</summary>
    internal bool HasRoom => _answers.Count < MostAnswers;

    /// <summary>Something waits for the guest.</summary>
    internal bool HasPacket => _answers.Count > 0 || _all.Exists(static connection => connection.IsReadable);

    /// <summary>The guest has buffers, so that it makes sense to look at what the host has to say.</summary>
    internal bool GuestHasRoom { get; set; } = true;

    /// <summary>What is to be waited for with poll(2): what wakes the thread, the listener, each connection.</summary>
    /// <param name="wake">Wakes the thread.</param>
    /// <param name="isReady">True when there is no need to wait.</param>
    internal Span<ulong> Prepare(HostWake wake, out bool isReady)
    {
        Span<ulong> polled = _polled.AsSpan(0, _all.Count + 2);
        polled[0] = Poll(wake.Descriptor, LibcNet.PollIn);
        polled[1] = Poll(_listener.Descriptor, _all.Count < MostConnections ? LibcNet.PollIn : 0);
        isReady = false;
        _wasReset = false;
        for (int i = 0; i < _all.Count; i++)
        {
            VsockConnection connection = _all[i];
            bool wants = connection.WantsHost && (GuestHasRoom || connection.State == VsockState.Asked);
            isReady |= wants && connection.HostIsGone;
            polled[i + 2] = Poll(
                connection.HostIsGone ? -1 : connection.Descriptor,
                (wants ? LibcNet.PollIn : 0) | (connection.WaitingBytes > 0 ? LibcNet.PollOut : 0));
        }

        return polled;
    }

    /// <summary>Takes what poll(2) found. The driver may have gone meanwhile, and with it the connections.</summary>
    internal void TakePolled(ReadOnlySpan<ulong> polled)
    {
        for (int i = 0; i < _all.Count && !_wasReset; i++)
        {
            Note(_all[i], polled[i + 2]);
        }

        if (polled[1] >> 48 != 0 && _listener.Accept() is { } socket)
        {
            socket.Blocking = false;
            _all.Add(new VsockConnection(socket) { State = VsockState.Asked });
        }
    }

    /// <summary>Does what the sockets want and the guest need not be there for.</summary>
    internal void LookAtHost()
    {
        for (int i = _all.Count - 1; i >= 0; i--)
        {
            VsockConnection connection = _all[i];
            if (connection.State == VsockState.Asked)
            {
                Ask(connection);
            }
            else if ((connection.WaitingBytes > 0 && !connection.TryFlush())
                || (connection is { GuestIsDone: true, GuestIsDeaf: true, WaitingBytes: 0 }))
            {
                Abort(connection);
            }
            else if (connection.OwesCredit)
            {
                Answer(connection, VsockOperation.CreditUpdate);
            }
        }
    }

    /// <summary>Takes a packet of the guest's.</summary>
    internal void Take(in VsockPacket packet, ReadOnlySpan<byte> data)
    {
        if (packet.SourceCid != _cid)
        {
            return;
        }

        if (packet.DestinationCid == VsockPacket.HostCid && packet.Type == VsockPacket.Stream
            && _known.TryGetValue((packet.SourcePort, packet.DestinationPort), out VsockConnection? connection))
        {
            connection.TakeCredit(packet);
            Take(connection, packet, data);
        }
        else if (packet.Operation == VsockOperation.Request && TryConnect(packet))
        {
            Answer(_known[(packet.SourcePort, packet.DestinationPort)], VsockOperation.Response);
        }
        else if (packet.Operation != VsockOperation.Reset)
        {
            Refuse(packet);
        }
    }

    /// <summary>The next packet for the guest; there is one.</summary>
    /// <param name="buffer">Gets its data.</param>
    /// <param name="packet">Gets its head.</param>
    /// <returns>Bytes of data.</returns>
    internal int Give(Span<byte> buffer, out VsockPacket packet)
    {
        if (_answers.TryDequeue(out packet))
        {
            return 0;
        }

        // Each in turn, so that one that has much to say does not hold up the others.
        VsockConnection connection;
        do
        {
            _turn = (_turn + 1) % _all.Count;
            connection = _all[_turn];
        }
        while (!connection.IsReadable);
        int wanted = (int)Math.Min((uint)buffer.Length, connection.Credit);
        int count = wanted == 0 ? -1 : connection.Receive(buffer[..wanted]);
        connection.IsReadable = count == wanted && count > 0 && connection.Credit > (uint)count;
        if (count == 0)
        {
            connection.HostIsDone = true;
            packet = Packet(connection, VsockOperation.Shutdown) with { Flags = Done(connection) };
            return 0;
        }

        connection.Sent(Math.Max(count, 0));
        packet = Packet(connection, count > 0 ? VsockOperation.Data : VsockOperation.CreditUpdate) with { Length = (uint)Math.Max(count, 0) };
        return Math.Max(count, 0);
    }

    /// <summary>The driver is gone, and all its connections.</summary>
    internal void Reset()
    {
        _all.ForEach(static connection => connection.Dispose());
        _all.Clear();
        _known.Clear();
        _answers.Clear();
        _wasReset = true;
        GuestHasRoom = true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Reset();
        _listener.Dispose();
    }

    private static ulong Poll(int descriptor, int events) => (uint)descriptor | ((ulong)(ushort)events << 32);

    // Whoever is gone altogether will not take anything either.
    private static uint Done(VsockConnection connection) =>
        connection.HostIsGone ? VsockPacket.NoSend | VsockPacket.NoReceive : VsockPacket.NoSend;

    private void Note(VsockConnection connection, ulong polled)
    {
        if ((polled & PollHangUp) != 0)
        {
            connection.HostIsGone = true;
            if (connection is { HostIsDone: true, State: VsockState.Open })
            {
                _answers.Enqueue(Packet(connection, VsockOperation.Shutdown) with { Flags = Done(connection) });
            }
        }

        connection.IsReadable = connection.State == VsockState.Open && connection.WantsHost
            && (connection.HostIsGone || polled >> 48 != 0);
    }

    private void Take(VsockConnection connection, in VsockPacket packet, ReadOnlySpan<byte> data)
    {
        switch (packet.Operation)
        {
            case VsockOperation.Response when connection.State == VsockState.Requested:
                connection.State = VsockState.Open;
                connection.Answer(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"OK {connection.HostPort}\n")));
                break;
            case VsockOperation.Data when connection is { State: VsockState.Open, GuestIsDone: false }
                && (uint)data.Length == packet.Length && connection.TryForward(data):
                break;
            case VsockOperation.CreditUpdate:
                break;
            case VsockOperation.CreditRequest:
                Answer(connection, VsockOperation.CreditUpdate);
                break;
            case VsockOperation.Shutdown when connection.State == VsockState.Open:
                connection.GuestIsDeaf |= (packet.Flags & VsockPacket.NoReceive) != 0;
                connection.GuestIsDone |= (packet.Flags & VsockPacket.NoSend) != 0;
                _ = connection.TryFlush();
                break;
            case VsockOperation.Reset:
                Forget(connection);
                break;
            default:
                Abort(connection);
                break;
        }
    }

    // The guest wants a port of the host's: the Unix socket of that name.
    private bool TryConnect(in VsockPacket packet)
    {
        if (packet.DestinationCid != VsockPacket.HostCid || packet.Type != VsockPacket.Stream || _all.Count == MostConnections
            || UnixListener.TryConnect(string.Create(CultureInfo.InvariantCulture, $"{_path}_{packet.DestinationPort}")) is not { } socket)
        {
            return false;
        }

        VsockConnection connection = new(socket)
        {
            State = VsockState.Open,
            GuestPort = packet.SourcePort,
            HostPort = packet.DestinationPort,
        };
        connection.TakeCredit(packet);
        _all.Add(connection);
        _known[(connection.GuestPort, connection.HostPort)] = connection;
        return true;
    }

    // A program of the host's wants a port of the guest's.
    private void Ask(VsockConnection connection)
    {
        ReadOnlySpan<byte> line = connection.ReadLine(out bool isWhole);
        if (!isWhole)
        {
            return;
        }

        ReadOnlySpan<byte> word = "CONNECT "u8;
        if (!line.StartsWith(word) || !Utf8Parser.TryParse(line[word.Length..], out uint port, out int used)
            || used != line.Length - word.Length)
        {
            Forget(connection);
            return;
        }

        do
        {
            connection.HostPort = _nextHostPort;
            _nextHostPort = _nextHostPort == uint.MaxValue ? FirstHostPort : _nextHostPort + 1;
        }
        while (_known.ContainsKey((port, connection.HostPort)));
        connection.GuestPort = port;
        connection.State = VsockState.Requested;
        _known[(port, connection.HostPort)] = connection;
        Answer(connection, VsockOperation.Request);
    }

    private void Abort(VsockConnection connection)
    {
        Answer(connection, VsockOperation.Reset);
        Forget(connection);
    }

    private void Forget(VsockConnection connection)
    {
        _all.Remove(connection);
        _known.Remove((connection.GuestPort, connection.HostPort));
        connection.Dispose();
    }

    private void Answer(VsockConnection connection, VsockOperation operation) => _answers.Enqueue(Packet(connection, operation));

    private VsockPacket Packet(VsockConnection connection, VsockOperation operation)
    {
        connection.Told();
        return new VsockPacket
        {
            SourceCid = VsockPacket.HostCid,
            DestinationCid = _cid,
            SourcePort = connection.HostPort,
            DestinationPort = connection.GuestPort,
            Type = VsockPacket.Stream,
            Operation = operation,
            BufferBytes = VsockConnection.Room,
            ForwardedBytes = connection.Forwarded,
        };
    }

    // Section 5.10.6.4.1: a packet for nobody is answered with a reset, of its own type.
    private void Refuse(in VsockPacket packet) => _answers.Enqueue(new VsockPacket
    {
        SourceCid = packet.DestinationCid,
        DestinationCid = packet.SourceCid,
        SourcePort = packet.DestinationPort,
        DestinationPort = packet.SourcePort,
        Type = packet.Type,
        Operation = VsockOperation.Reset,
    });
}
