using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using Hull.Host;

namespace Hull.Net;

/// <summary>
/// The user's own network through passt: a process of the host's that answers for the whole outside and speaks through
/// ordinary sockets, so no root is needed. It lives as long as the port, on one inherited socket; when it dies the cable is
/// out, and in again when another one runs.
/// </summary>
internal sealed class PasstPort : IEthernetPort
{
    /// <summary>Bytes of payload in a frame: passt's own greatest.</summary>
    internal const int GreatestMtu = 65520;

    private const string Program = "passt";
    private const int FirstPauseMs = 100;
    private const int LongestPauseMs = 30_000;
    private const int AnswerMs = 5_000;
    private const int GraceMs = 200;
    private static readonly TimeSpan Healthy = TimeSpan.FromSeconds(10);

    private readonly List<string> _arguments;
    private readonly byte[] _mac;
    private readonly Action<string> _notice;
    private readonly ManualResetEventSlim _stopped = new();
    private readonly PasstFilter _filter = new();
    private readonly Lock _lock = new();
    private HostChild _child;
    private FrameStream _stream;
    private long _startedAt;
    private int _pauseMs = FirstPauseMs;
    private volatile bool _isUp;
    private bool _saidDown;

    /// <summary>Starts passt, and waits until it answers.</summary>
    /// <param name="mac">The guest's address, for passt's first answer.</param>
    /// <param name="mtu">The network's largest payload; 0: <see cref="GreatestMtu"/>.</param>
    /// <param name="published">The host's ports that lead to the guest.</param>
    /// <param name="notice">Gets a line for the user when passt dies, and when it is back.</param>
    /// <exception cref="HullException">It is not there, or does not start; with its own last words.</exception>
    internal PasstPort(ReadOnlySpan<byte> mac, int mtu, IReadOnlyList<PublishedPort> published, Action<string> notice)
    {
        Mtu = mtu == 0 ? GreatestMtu : mtu;
        _mac = mac.ToArray();
        _notice = notice;
        _arguments = ["--foreground", "--quiet", "--stderr", "--fd", $"{HostChild.SocketNumber}", "--mtu", $"{Mtu}"];
        foreach (PublishedPort port in published)
        {
            _arguments.AddRange([port.IsUdp ? "-u" : "-t", port.ToPasst()]);
        }

        (_child, _stream) = Start();
        _isUp = true;
    }

    // passt ends TCP itself, so a long segment is as good as many; but a checksum goes with each frame.
    /// <inheritdoc/>
    public OffloadAbility Takes => OffloadAbility.Tcp4 | OffloadAbility.Tcp6 | OffloadAbility.Ecn;

    /// <inheritdoc/>
    public int LargestFrame => FrameStream.LargestFrame;

    /// <inheritdoc/>
    public int Mtu { get; }

    /// <inheritdoc/>
    public bool IsUp => _isUp;

    /// <inheritdoc/>
    public Action? LinkChanged { get; set; }

    /// <summary>The process, for tests that kill it.</summary>
    internal int ProcessId => _child.Id;

    /// <inheritdoc/>
    public void SetReceiver(OffloadAbility able)
    {
    }

    /// <inheritdoc/>
    public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        // A new passt may take the old one's place meanwhile, and the old one's descriptor its number.
        lock (_lock)
        {
            if (_isUp && _filter.Passes(frame, Environment.TickCount64))
            {
                _stream.Put(frame);
            }
        }
    }

    /// <inheritdoc/>
    public void Flush()
    {
        lock (_lock)
        {
            if (_isUp)
            {
                _stream.Flush();
            }
        }
    }

    /// <inheritdoc/>
    public Span<byte> Receive(out FrameOffload offload)
    {
        offload = default(FrameOffload) with { ChecksumIsGood = true };
        while (!_stopped.IsSet)
        {
            if (!_isUp && !TryRestart())
            {
                continue;
            }

            Span<byte> frame = _stream.Read();
            if (frame.Length > 0)
            {
                _filter.Watch(frame);
                return frame;
            }

            if (!_stopped.IsSet)
            {
                GoDown();
            }
        }

        return [];
    }

    /// <inheritdoc/>
    public void Stop()
    {
        _stopped.Set();
        lock (_lock)
        {
            _child.Channel.Stop();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _child.Dispose();
        _stopped.Dispose();
    }

    private (HostChild Child, FrameStream Stream) Start()
    {
        HostChild child;
        try
        {
            child = HostChild.Start(Program, _arguments);
        }
        catch (HullException e)
        {
            throw new HullException($"no network: {e.Message}: run: sudo apt-get install passt (or --net none)", e);
        }

        // Ports are bound before the first frame is looked at, so an answer means that all went well.
        FrameStream stream = new(child.Channel);
        stream.Put(Question());
        stream.Flush();
        if (stream.Read(AnswerMs).Length == 0)
        {
            string reason = ReasonIn(child.End());
            child.Dispose();
            throw new HullException($"no network: passt ended: {reason}{Hint(reason)}");
        }

        _startedAt = Stopwatch.GetTimestamp();
        return (child, stream);
    }

    // passt gives up its rights in a user namespace, which a host may forbid.
    private static string Hint(string reason) => reason.Contains("user namespace", StringComparison.Ordinal)
        ? " (see sysctl user.max_user_namespaces and kernel.unprivileged_userns_clone; or --net none)"
        : "";

    private bool TryRestart()
    {
        if (_stopped.Wait(_pauseMs))
        {
            return false;
        }

        try
        {
            (HostChild child, FrameStream stream) = Start();
            lock (_lock)
            {
                (_child, _stream, _isUp) = (child, stream, true);
                if (_stopped.IsSet)
                {
                    child.Channel.Stop();
                }
            }
        }
        catch (HullException)
        {
            _pauseMs = Math.Min(2 * _pauseMs, LongestPauseMs);
            return false;
        }

        if (_saidDown)
        {
            _notice("passt runs again: the guest's network is back");
            _saidDown = false;
        }

        LinkChanged?.Invoke();
        return true;
    }

    private void GoDown()
    {
        string reason;
        lock (_lock)
        {
            _isUp = false;
            reason = ReasonIn(_child.End(GraceMs));
            _child.Dispose();
        }

        // One that dies at once, again and again, is started ever more seldom, and not spoken of each time.
        bool wasHealthy = Stopwatch.GetElapsedTime(_startedAt) >= Healthy;
        _saidDown |= wasHealthy || _pauseMs == FirstPauseMs;
        if (_saidDown)
        {
            _notice($"passt ended ({reason}): the guest has no network until it runs again");
        }

        _pauseMs = wasHealthy ? FirstPauseMs : Math.Min(2 * _pauseMs, LongestPauseMs);
        LinkChanged?.Invoke();
    }

    private static string ReasonIn(string[] words)
    {
        for (int i = words.Length - 1; i >= 0; i--)
        {
            // It tells of a missing system log, too, and of every line that went there.
            if (!words[i].Contains("to syslog", StringComparison.Ordinal) && !words[i].StartsWith("Don't run as root", StringComparison.Ordinal))
            {
                return words[i].Trim();
            }
        }

        return "it gave no reason";
    }

    // An ARP request for any address (RFC 826): passt answers for all but the guest's, whose it asks about itself.
    private byte[] Question()
    {
        byte[] frame = new byte[42];
        frame.AsSpan(0, 6).Fill(0xFF);
        _mac.CopyTo(frame.AsSpan(6));
        ((ReadOnlySpan<byte>)[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]).CopyTo(frame.AsSpan(12));
        _mac.CopyTo(frame.AsSpan(22));
        ((ReadOnlySpan<byte>)[192, 0, 0, 8]).CopyTo(frame.AsSpan(38));
        return frame;
    }
}
