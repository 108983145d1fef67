using System;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;
using Hull.Boot;
using Hull.Cli.Control;
using Hull.Cli.Guest;
using Hull.Cli.Store;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>One run of a guest, from the request to the exit status.</summary>
internal sealed class GuestRun : IDisposable
{
    private static readonly TimeSpan PowerOffGrace = TimeSpan.FromSeconds(5);

    private readonly RunRequest _request;
    private readonly GuestSettings? _settings;
    private readonly TaskCompletionSource<RunOutcome> _outcome = new();
    private readonly PosixSignalRegistration[] _signals;
    private readonly GuestOutput _output;
    private readonly CommandChannel? _channel;
    private readonly CheckpointFile? _checkpoints;
    private readonly ConsoleLog? _log;
    private readonly TraceOutput? _trace;
    private readonly ControlServer? _control;
    private volatile GuestControl? _guest;
    private Machine? _machine;
    private Timer? _timeLimit;
    private Timer? _grace;
    private RunOutcome? _brokenOff;
    private int _signal;

    private GuestRun(RunRequest request, GuestSettings? settings)
    {
        _request = request;
        _settings = settings;

        // Before there is anything that a signal would leave behind, as the control socket.
        _signals =
        [
            Listen(PosixSignal.SIGTERM, 15), Listen(PosixSignal.SIGINT, 2), Listen(PosixSignal.SIGHUP, 1), Listen(PosixSignal.SIGQUIT, 3),
        ];
        _output = new GuestOutput(HasCommand, BreakOff);
        _checkpoints = request.Checkpoints is null ? null : CheckpointFile.Open(request.Checkpoints);
        _log = request.Log is null ? null : new ConsoleLog(request.Log);
        _trace = request.Trace is null ? null : TraceOutput.Open(request.Trace, _output.Error);
        _control = StartControl(request.Name, Answer);
        _channel = settings is null ? null : new CommandChannel(settings, _output, Exited);
    }

    private bool HasCommand => _request.Command.Length > 0;

    /// <summary>The port that the terminal talks to: COM1, or COM2 for a command on a terminal.</summary>
    private int TerminalPort => _settings?.Mode == GuestMode.Terminal ? 1 : 0;

    /// <summary>The terminal is a virtio console's, not a serial port's: a command on a terminal keeps its own.</summary>
    private bool HasConsoleDevice => _settings?.Mode != GuestMode.Terminal && HasTerminalIn(_request);

    /// <summary>Runs the guest to its end.</summary>
    /// <returns>The exit status.</returns>
    /// <exception cref="HullException">It cannot start.</exception>
    internal static int Execute(RunRequest request)
    {
        GuestSettings? settings = null;
        return Interruption.TryRun(token => Prepare(ref request, out settings, token), out GuestImage? image, out int status)
            ? Execute(request, settings, image)
            : status;
    }

    /// <summary>Runs a guest that is made already.</summary>
    /// <returns>The exit status.</returns>
    /// <exception cref="HullException">It cannot start.</exception>
    internal static int Execute(RunRequest request, GuestSettings? settings, GuestImage image)
    {
        using GuestRun run = new(request, settings);
        return run.Run(image);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _timeLimit?.Dispose();
        _grace?.Dispose();
        _control?.Dispose();
        _channel?.Dispose();
        _checkpoints?.Dispose();
        _log?.Dispose();
        _trace?.Dispose();
        _output.Dispose();
        foreach (PosixSignalRegistration signal in _signals)
        {
            signal.Dispose();
        }
    }

    private static GuestImage Prepare(ref RunRequest request, out GuestSettings? settings, CancellationToken cancellation)
    {
        // Before a kernel is fetched for nothing.
        request = Networks.AddTo(FirmwareChoice.AddTo(request, cancellation), cancellation);
        SpecFor(request, BootBlob.FromBytes("", default)).Validate();
        CheckTrace(request);
        bool isMultiboot = request.Kernel is not null
            && KernelFile.Identify(BootBlob.FromFile(request.Kernel)) == KernelProtocol.Multiboot;
        settings = isMultiboot ? NoSettingsFor(request)
            : request.Firmware is null ? SettingsFor(request) : null;
        if (settings is not null && request.Kernel is not null && KernelFile.Is32BitLinux(BootBlob.FromFile(request.Kernel)))
        {
            throw new HullException(
                $"{request.Kernel} is a 32-bit kernel, and Hull's own RAM disk is for 64-bit ones: give another (--initrd F)");
        }

        return GuestImage.Prepare(request, settings, isMultiboot, cancellation);
    }

    private static void CheckTrace(RunRequest request)
    {
        if (request.Trace is not null && !request.Xen)
        {
            throw new HullException("--trace hypercalls: only a guest that finds Xen makes them: give --xen");
        }
    }

    // Hull's own initramfs and its commands are for Linux.
    private static GuestSettings? NoSettingsFor(RunRequest request) => request.Command.Length == 0
        ? null
        : throw new HullException($"'-- COMMAND' needs a Linux kernel, and {request.Kernel} is a Multiboot kernel: use --append");

    /// <summary>What Hull's init is told of a request; null when the RAM disk is the user's.</summary>
    /// <exception cref="HullException">The request needs Hull's init and has another RAM disk.</exception>
    internal static GuestSettings? SettingsFor(RunRequest request)
    {
        if (request.Initrd is not null)
        {
            return request.Command.Length == 0 && request.Root is null
                ? null
                : throw new HullException("'-- COMMAND' and --root need Hull's own initramfs: leave out --initrd");
        }

        bool onTerminal = StandardStream.Input.IsTerminal && StandardStream.Output.IsTerminal;
        bool sized = HostTerminal.TryGetSize(out int rows, out int columns);
        return new GuestSettings
        {
            Mode = request.Command.Length == 0 ? GuestMode.Console
                : onTerminal ? GuestMode.Terminal : GuestMode.Command,
            FeedInput = !StandardStream.Input.IsNull,
            Window = sized ? (rows, columns) : (24, 80),
            Term = Environment.GetEnvironmentVariable("TERM") ?? "vt100",
            HostName = request.Name ?? "hull",
            HasNetwork = Networks.IsIn(request),
            NamedPorts = CountPorts(request),
            Console = request.Xen || HasTerminalIn(request) ? "/dev/hvc0" : "/dev/ttyS0",
            Command = request.Command,
        };
    }

    private static bool HasTerminalIn(RunRequest request) =>
        Array.Exists(request.Devices, static device => device is ConsoleSpec { HasTerminal: true });

    private static int CountPorts(RunRequest request)
    {
        int count = 0;
        foreach (DeviceSpec device in request.Devices)
        {
            count += device is ConsoleSpec console ? console.NamedPorts : 0;
        }

        return count;
    }

    private int Run(GuestImage image)
    {
        // With a command on pipes the user's terminal stays as it is: Ctrl-C is Hull's.
        using HostTerminal? terminal = _settings?.Mode == GuestMode.Command ? null : HostTerminal.TryEnterRawMode();
        using PosixSignalRegistration window = PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => SendWindow());
        if (_request.Timeout is TimeSpan limit)
        {
            _timeLimit = new Timer(_ => BreakOffSoon(TimedOut(limit)), null, limit, Timeout.InfiniteTimeSpan);
        }

        _machine = Machine.Start(SpecFor(image));
        _ = _machine.WaitAsync().ContinueWith(
            ended => MachineEnded(ended.Result),
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
        if (_machine.Notice is string notice)
        {
            Notice.Write(notice);
        }

        if (HasTerminalIn(_request) && HostTerminal.TryGetSize(out int rows, out int columns))
        {
            _machine.ResizeTerminal(rows, columns);
        }

        _channel?.Attach(_machine);
        _guest = new GuestControl(_request, _machine, AskToStop);
        StartInput(terminal is not null);

        RunOutcome outcome = _outcome.Task.GetAwaiter().GetResult();
        _machine.FlushConsoles();
        outcome = _output.Finish() ? outcome : _brokenOff ?? outcome;
        _output.Dispose();
        StatReport? stat = _request.Stat ? Measure(_machine) : null;
        _machine.DisposeAsync().AsTask().GetAwaiter().GetResult();
        terminal?.Dispose();
        Report(outcome);
        stat?.Print(_request.StatForm);
        return outcome.Status;
    }

    // A guest without a name is nobody's business but its user's.
    private static ControlServer? StartControl(string? name, Func<ControlRequest, ControlAnswer> answer) =>
        name is null ? null : ControlServer.Start(name, answer);

    private ControlAnswer Answer(ControlRequest asked) => _guest?.Answer(asked)
        ?? throw new HullException($"the guest {_request.Name} is not up yet: try again");

    // What the engine counted, once no vCPU runs any more.
    private static StatReport Measure(Machine machine)
    {
        machine.Stop();
        machine.WaitAsync().GetAwaiter().GetResult();
        return new StatReport(machine.EngineName, machine.ReadCounters());
    }

    private static MachineSpec SpecFor(RunRequest request, BootBlob? kernel) => new()
    {
        Name = request.Name ?? "guest",
        MemoryBytes = request.MemoryBytes,
        VcpuCount = request.VcpuCount,
        Engine = request.Engine,
        Cpu = request.Cpu,
        Deterministic = request.Deterministic,
        BlockLimit = request.BlockLimit ?? new MachineSpec().BlockLimit,
        Kernel = kernel,
        Xen = request.Xen,
        Devices = request.Devices,
        ExitPort = request.ExitPort,
        TestDevice = request.TestDevice,
        RestartOnReset = request.Command.Length == 0,
        Strict = Environment.GetEnvironmentVariable("HULL_STRICT") == "1",
        Verdicts = new VerdictFile(XdgDirectories.FromEnvironment()),
    };

    private MachineSpec SpecFor(GuestImage image) => SpecFor(_request, image.Kernel) with
    {
        Firmware = image.Firmware,
        FirmwareLog = image.Firmware is not null && Environment.GetEnvironmentVariable("HULL_DEBUG") == "1" ? _output.Error.Write : null,
        Checkpoints = _checkpoints?.Spec,
        HypercallTrace = _trace is null ? null : _trace.Write,
        Devices = image.Devices,
        Initrd = image.Initrd,
        Modules = image.Modules,
        CommandLine = image.CommandLine,
        BootCache = image.Cache,
        Notice = Hull.Cli.Notice.Write,
        Terminal = _output.Output.Write,
        Serial = HasCommand
            ? [_log is null ? null : _log.Write, _output.Output.Write, _output.Error.Write, _channel!.Receive] // a command implies Hull's init and its channel
            : [_output.Output.Write, null, null, _channel is null ? null : _channel.Receive],
        Ports = HasCommand && !_request.Deterministic ? StreamPorts.For(_output) : new MachineSpec().Ports,
    };

    private PosixSignalRegistration Listen(PosixSignal signal, int number) =>
        PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            Signalled(number);
        });

    // The first SIGTERM or SIGHUP asks the guest to power off, if it listens; a second signal, Ctrl-C or time ends the run.
    private void Signalled(int number)
    {
        int earlier = Interlocked.CompareExchange(ref _signal, number, 0);
        if (earlier != 0 || number is 2 or 3 || _machine is null)
        {
            BreakOffSoon(new RunOutcome(ExitStatus.Signal(number)));
            return;
        }

        if (TryPowerOff(_machine))
        {
            _grace = new Timer(_ => BreakOffSoon(SignalOutcome()), null, PowerOffGrace, Timeout.InfiniteTimeSpan);
        }
        else
        {
            BreakOffSoon(SignalOutcome());
        }
    }

    // `hull stop`: as a signal, with the time that its user gives.
    private void AskToStop(TimeSpan grace)
    {
        if (Interlocked.CompareExchange(ref _signal, 15, 0) == 0)
        {
            _ = TryPowerOff(_machine!); // it runs: its socket answered
        }

        _grace = new Timer(_ => BreakOffSoon(SignalOutcome()), null, grace, Timeout.InfiniteTimeSpan);
    }

    private bool TryPowerOff(Machine machine)
    {
        bool listens = machine.PressPowerButton();
        return (_channel?.TrySendPowerOff() ?? false) || listens;
    }

    private void StartInput(bool onTerminal)
    {
        if (_settings?.Mode == GuestMode.Command)
        {
            return;
        }

        Machine machine = _machine!; // made just before
        int port = TerminalPort;
        Func<ReadOnlySpan<byte>, int> send = HasConsoleDevice ? machine.SendTerminal : bytes => machine.SendSerial(port, bytes);
        new InputPump(send, onTerminal, Escaped).Start();
    }

    private void Escaped(EscapeAction action)
    {
        if (action == EscapeAction.Quit)
        {
            End(new RunOutcome(ExitStatus.Success));
        }
        else
        {
            Notice.Write(EscapeFilter.Help);
        }
    }

    private void SendWindow()
    {
        if (HostTerminal.TryGetSize(out int rows, out int columns))
        {
            _channel?.SendWindow(rows, columns);
            _machine?.ResizeTerminal(rows, columns);
        }
    }

    private void Exited(int status)
    {
        // After a signal the guest is on its way to power-off; the run ends with that, or with the grace.
        if (_signal == 0)
        {
            End(new RunOutcome(status));
            if (_request.Deterministic)
            {
                _machine?.Stop();
            }
        }
    }

    private void MachineEnded(MachineEnd end)
    {
        if (_signal != 0)
        {
            BreakOffSoon(SignalOutcome());
        }
        else if (end.ExitValue is uint value)
        {
            End(new RunOutcome(ExitStatus.Exited(value)));
        }
        else if (end.Reason is MachineEndReason.PoweredOff or MachineEndReason.Stopped && !HasCommand)
        {
            End(new RunOutcome(ExitStatus.Success));
        }
        else
        {
            int status = end.GuestDied && !HasCommand ? ExitStatus.GuestDied : ExitStatus.Hull;
            string when = HasCommand ? " before its command ended" : "";
            string where = end.Rip is ulong rip
                ? string.Create(CultureInfo.InvariantCulture, $" (rip 0x{rip:x})")
                : "";
            bool showLines = end.GuestDied || end.Reason == MachineEndReason.Failed;
            End(new RunOutcome(status, end.Message + when + where, showLines ? end : null));
        }
    }

    private RunOutcome SignalOutcome() => new(ExitStatus.Signal(_signal));

    private static RunOutcome TimedOut(TimeSpan limit) => new(
        ExitStatus.TimedOut,
        string.Create(CultureInfo.InvariantCulture, $"the time limit of {limit.TotalSeconds:0.###} s is over"));

    // What comes first counts: a signal, the time limit, the command's status, the machine's end.
    private void End(RunOutcome outcome) => _outcome.TrySetResult(outcome);

    // Output is lost. It counts too where only the last output of a command is still on its way.
    private void BreakOff(RunOutcome outcome)
    {
        Interlocked.CompareExchange(ref _brokenOff, outcome, null);
        End(outcome);
    }

    private void BreakOffSoon(RunOutcome outcome)
    {
        BreakOff(outcome);
        _output.GiveUpSoon();
    }

    private static void Report(RunOutcome outcome)
    {
        if (outcome.Message is not null)
        {
            bool lines = outcome.End?.LastLines.Length > 0;
            Notice.Write(outcome.Message + (lines ? "; its last lines:" : ""));
        }

        foreach (string line in outcome.End?.LastLines ?? [])
        {
            Notice.Write("  " + line);
        }
    }
}
