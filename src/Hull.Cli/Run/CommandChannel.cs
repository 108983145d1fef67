using System;
using System.Globalization;
using System.Text;
using System.Threading;
using Hull.Cli.Guest;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>
/// The host's half of the talk with Hull's init: lines on COM4, and chunks of standard input on COM2 when the guest
/// asks for them. The guest asks, so that neither side ever holds more than a chunk. docs/run-protocol.md.
/// </summary>
internal sealed class CommandChannel : IDisposable
{
    private const int InputPort = 1;
    private const int ControlPort = 3;
    private const int LineLimit = 64;

    // The guest's tty layer keeps 64 KiB that its reader has not taken; half of it can never overflow.
    private const int ChunkSize = 32 << 10;

    // How long the output of a command that has ended is waited for: a process that it left behind may hold it open.
    private static readonly TimeSpan OutputGrace = TimeSpan.FromSeconds(1);

    private readonly GuestSettings _settings;
    private readonly Action<int> _exited;
    private readonly Timer _graceOver;
    private readonly object _lock = new();
    private readonly byte[] _line = new byte[LineLimit];
    private Machine? _machine;
    private Thread? _feeder;
    private int _length;
    private int _reads;
    private int _status;
    private volatile bool _ready;

    /// <summary>Makes the channel; <paramref name="exited"/> gets the command's status.</summary>
    internal CommandChannel(GuestSettings settings, Action<int> exited)
    {
        _settings = settings;
        _exited = exited;
        _graceOver = new Timer(_ => _exited(_status));
    }

    /// <inheritdoc/>
    public void Dispose() => _graceOver.Dispose();

    /// <summary>Names the machine to send to.</summary>
    internal void Attach(Machine machine)
    {
        lock (_lock)
        {
            _machine = machine;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Takes what the guest writes to the control port. On a vCPU's thread.</summary>
    internal void Receive(ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes)
        {
            if (value == '\n')
            {
                Act(Encoding.ASCII.GetString(_line, 0, _length));
                _length = 0;
            }
            else if (_length < LineLimit)
            {
                _line[_length++] = value;
            }
        }
    }

    /// <summary>Asks the guest's init to end the command and switch off.</summary>
    /// <returns>False when it does not listen yet.</returns>
    internal bool TrySendPowerOff()
    {
        SendControl("poweroff\n");
        return _ready;
    }

    /// <summary>Tells the guest the terminal's new size.</summary>
    internal void SendWindow(int rows, int columns) =>
        SendControl(string.Create(CultureInfo.InvariantCulture, $"window {rows} {columns}\n"));

    private void SendControl(string line)
    {
        // Before its init is ready nobody listens.
        if (_ready && _machine is Machine machine)
        {
            InputPump.Send(machine, ControlPort, Encoding.ASCII.GetBytes(line));
        }
    }

    // The guest is not trusted: a line that is none of these is ignored.
    private void Act(string line)
    {
        switch (line.TrimEnd('\r'))
        {
            case "ready":
                _ready = true;
                break;
            case "read" when _settings.FeedInput && _settings.Mode == GuestMode.Command:
                AskFeeder();
                break;
            case var _ when line.StartsWith("exit ", StringComparison.Ordinal)
                && byte.TryParse(line.AsSpan(5).TrimEnd('\r'), NumberStyles.None, CultureInfo.InvariantCulture, out byte status):
                _status = status;
                _graceOver.Change(OutputGrace, Timeout.InfiniteTimeSpan);
                break;
            case "done":
                _exited(_status);
                break;
            default:
                break;
        }
    }

    private void AskFeeder()
    {
        lock (_lock)
        {
            _reads++;
            Monitor.PulseAll(_lock);
            if (_feeder is null)
            {
                _feeder = new Thread(Feed) { Name = "hull-stdin", IsBackground = true };
                _feeder.Start();
            }
        }
    }

    private Machine WaitForRead()
    {
        lock (_lock)
        {
            while (_reads == 0 || _machine is null)
            {
                Monitor.Wait(_lock);
            }

            _reads--;
            return _machine;
        }
    }

    private void Feed()
    {
        byte[] chunk = new byte[ChunkSize];
        int length;
        do
        {
            Machine machine = WaitForRead();
            length = StandardStream.Input.Read(chunk);
            string prefix = string.Create(CultureInfo.InvariantCulture, $"{length}\n");
            InputPump.Send(machine, InputPort, Encoding.ASCII.GetBytes(prefix));
            InputPump.Send(machine, InputPort, chunk.AsSpan(0, length));
        }
        while (length > 0);
    }
}
