using System;
using System.Globalization;
using System.Text;
using System.Threading;
using Hull.Cli.Guest;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>
/// The host's half of the talk with Hull's init: lines on COM4, and standard input, in chunks on COM2 when the guest asks for
/// them, or all of it through a console port once it asks for that. Neither side ever holds more than a little. docs/run-protocol.md.
/// </summary>
internal sealed class CommandChannel : IDisposable
{
    private const int InputPort = 1;
    private const int ControlPort = 3;
    private const int LineLimit = 64;

    // The guest's tty layer keeps 64 KiB that its reader has not taken; half of it can never overflow.
    private const int ChunkSize = 32 << 10;

    private const int PortChunkSize = 64 << 10;

    private readonly GuestSettings _settings;
    private readonly Action<int> _exited;
    private readonly LastOutput _lastOutput;
    private readonly object _lock = new();
    private readonly byte[] _line = new byte[LineLimit];
    private Machine? _machine;
    private Thread? _feeder;
    private int _length;
    private int _reads;
    private bool _asksForPort;
    private int _status;
    private volatile bool _ready;

    /// <summary>Makes the channel; <paramref name="exited"/> gets the command's status when its output is there too.</summary>
    internal CommandChannel(GuestSettings settings, GuestOutput output, Action<int> exited)
    {
        _settings = settings;
        _exited = exited;
        _lastOutput = new LastOutput(output, () => _exited(_status));
    }

    /// <inheritdoc/>
    public void Dispose() => _lastOutput.Dispose();

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
            case "plug" when _machine is Machine machine:
                ThreadPool.UnsafeQueueUserWorkItem(StreamPorts.TryPlug, machine, preferLocal: false);
                break;
            case "read" or "port" when _settings.FeedInput && _settings.Mode == GuestMode.Command:
                AskFeeder(line.StartsWith('p'));
                break;
            case var _ when line.StartsWith("exit ", StringComparison.Ordinal)
                && byte.TryParse(line.AsSpan(5).TrimEnd('\r'), NumberStyles.None, CultureInfo.InvariantCulture, out byte status):
                _status = status;
                _lastOutput.Start();
                break;
            case "done":
                _machine?.FlushConsoles(); // before the guest goes on: its power-off may drop what waits in the rings
                _exited(_status);
                break;
            default:
                break;
        }
    }

    private void AskFeeder(bool forPort)
    {
        lock (_lock)
        {
            _asksForPort |= forPort;
            _reads++;
            Monitor.PulseAll(_lock);
            if (_feeder is null)
            {
                _feeder = new Thread(Feed) { Name = "hull-stdin", IsBackground = true };
                _feeder.Start();
            }
        }
    }

    private Machine WaitForRead(out bool forPort)
    {
        lock (_lock)
        {
            while (_reads == 0 || _machine is null)
            {
                Monitor.Wait(_lock);
            }

            _reads--;
            forPort = _asksForPort;
            return _machine;
        }
    }

    private void Feed()
    {
        byte[] chunk = new byte[ChunkSize];
        int length;
        do
        {
            Machine machine = WaitForRead(out bool forPort);
            if (forPort)
            {
                FeedPort(machine);
                return;
            }

            length = StandardStream.Input.Read(chunk);
            string prefix = string.Create(CultureInfo.InvariantCulture, $"{length}\n");
            InputPump.Send(machine, InputPort, Encoding.ASCII.GetBytes(prefix));
            InputPump.Send(machine, InputPort, chunk.AsSpan(0, length));
        }
        while (length > 0);
    }

    private static void FeedPort(Machine machine)
    {
        byte[] chunk = new byte[PortChunkSize];
        int length;
        while ((length = StandardStream.Input.Read(chunk)) > 0)
        {
            for (Span<byte> rest = chunk.AsSpan(0, length); rest.Length > 0;)
            {
                int taken = machine.SendPort(StreamPorts.Input, rest);
                if (taken < 0)
                {
                    return;
                }

                rest = rest[taken..];
            }
        }

        machine.EndPort(StreamPorts.Input);
    }
}
