using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Engine;
using Hull.Host;
using Hull.Xen;

namespace Hull;

/// <summary>
/// A virtual machine that runs. A reset by the guest throws its parts away and builds them anew from the same
/// specification, so that nothing of the old life can leak into the next.
/// </summary>
public sealed class Machine : IAsyncDisposable
{
    private const int LinesKept = 24;

    // A kernel whose panic is over waits before it resets, or loops for ever; it is not waited for longer than this.
    private static readonly TimeSpan PanicGrace = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan PortWait = TimeSpan.FromMilliseconds(50);

    private MachineSpec _spec;
    private readonly ConsoleTail _tail = new(LinesKept);
    private readonly BlockingCollection<Request> _requests = [];
    private readonly TaskCompletionSource<MachineEnd> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Thread _control;
    private readonly Timer _panicTimer;
    private volatile MachineParts _parts;

    private Machine(MachineSpec spec)
    {
        (_spec, _parts) = EngineChoice.Build(spec, chosen => Build(chosen, life: 0));
        _panicTimer = new Timer(_ => Post(new Request(RequestKind.Panic, _parts.Life, null)));
        _control = new Thread(Control) { Name = "hull-machine", IsBackground = true };
    }

    private enum RequestKind
    {
        PowerOff,
        Reset,
        Stop,
        VcpuEnded,
        Panic,
        Exited,
        Crashed,
    }

    /// <summary>The name from the specification.</summary>
    public string Name => _spec.Name;

    /// <summary>The engine that runs the guest: "soft" or "kvm".</summary>
    public string EngineName => _parts.Engine.Name;

    /// <summary>What the kernel asks for and does not get, for the user; null: nothing.</summary>
    public string? Notice => _parts.Notice;

    /// <summary>Builds the machine and starts its vCPUs.</summary>
    /// <exception cref="HullException">The specification or one of its files cannot work.</exception>
    public static Task<Machine> StartAsync(MachineSpec spec) => Task.Run(() => Start(spec));

    /// <summary>As <see cref="StartAsync"/>, on the caller's thread.</summary>
    /// <exception cref="HullException">The specification or one of its files cannot work.</exception>
    public static Machine Start(MachineSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        spec.Validate();
        Machine machine = new(spec);
        machine._control.Start();
        machine._parts.Start();
        return machine;
    }

    /// <summary>Waits for the machine's end.</summary>
    public Task<MachineEnd> WaitAsync(CancellationToken cancellationToken = default) =>
        _end.Task.WaitAsync(cancellationToken);

    /// <summary>What the engine counted in the machine's last life. Only after <see cref="WaitAsync"/>.</summary>
    public IReadOnlyList<EngineCounter> ReadCounters() => _parts.Engine.ReadCounters();

    /// <summary>Presses the power button: the guest's system decides. Any thread.</summary>
    /// <returns>False when the guest does not listen to it, so nothing will come of it.</returns>
    public bool PressPowerButton() => _parts.PressPowerButton();

    /// <summary>What is in the PCI slots for the user's devices. Any thread.</summary>
    public IReadOnlyList<DeviceStatus> ListDevices() => _parts.Devices.List();

    /// <summary>Puts a device into a free PCI slot of the running machine, and tells the guest. Any thread.</summary>
    /// <returns>The device's name: its own, or one that Hull makes.</returns>
    /// <exception cref="HullException">It cannot be had, or there is no slot.</exception>
    public string AddDevice(DeviceSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        return _parts.Devices.Add(spec);
    }

    /// <summary>
    /// Asks the guest to let go of a device, and takes it out when the guest has. A guest that does not listen, or still
    /// needs it, keeps it. Any thread.
    /// </summary>
    /// <param name="id">The device's name.</param>
    /// <param name="wait">For how long to wait for the guest.</param>
    /// <returns>False when the guest has not let go of it in time.</returns>
    /// <exception cref="HullException">There is no such device.</exception>
    public async Task<bool> RemoveDeviceAsync(string id, TimeSpan wait)
    {
        Task gone = _parts.Devices.Remove(id);
        return await Task.WhenAny(gone, Task.Delay(wait)).ConfigureAwait(false) == gone;
    }

    /// <summary>Asks the guest to keep so many bytes of its memory, and to give the rest to the host. Any thread.</summary>
    /// <exception cref="HullException">The machine has no balloon.</exception>
    public void SetBalloon(ulong bytes) => Balloon.SetTarget(bytes);

    /// <summary>Bytes of memory that the guest has now. Any thread.</summary>
    /// <exception cref="HullException">The machine has no balloon.</exception>
    public ulong GuestMemoryBytes => Balloon.Size;

    /// <summary>Asks the guest what it has to say of its memory, and waits for that. Any thread.</summary>
    /// <param name="wait">For how long.</param>
    /// <returns>Null when it does not answer: its balloon's driver is not there, or tells nothing.</returns>
    /// <exception cref="HullException">The machine has no balloon.</exception>
    public GuestMemoryStatistics? ReadMemoryStatistics(TimeSpan wait) => Balloon.ReadStatistics(wait);

    /// <summary>What Xen keeps for the guest now: event channels, grants, the store. Any thread.</summary>
    /// <exception cref="HullException">The guest does not find Xen.</exception>
    public XenView ReadXen() => Domain.Read();

    /// <summary>Asks a guest of Xen to sleep, as before it is saved, and waits for it. Any thread.</summary>
    /// <returns>False when it does not in time.</returns>
    /// <exception cref="HullException">The guest does not find Xen, or sleeps already.</exception>
    public bool SuspendXen(TimeSpan wait) => !Domain.Suspension.IsAsleep ? Domain.Suspension.TrySuspend(wait)
        : throw new HullException($"{Name} sleeps already: hull xen resume {Name}");

    /// <summary>Lets a guest of Xen go on, in a domain that is new to it. Any thread.</summary>
    /// <exception cref="HullException">The guest does not find Xen, or does not sleep.</exception>
    public void ResumeXen()
    {
        if (!Domain.Suspension.TryResume())
        {
            throw new HullException($"{Name} does not sleep: hull xen suspend {Name}");
        }
    }

    /// <summary>Restarts the machine as a reset button does. Any thread.</summary>
    public void Reset() => Post(new Request(RequestKind.Reset, _parts.Life, null, Forced: true));

    /// <summary>
    /// Ends the machine at once, as a pulled plug does. Any thread; returns before the end. In deterministic mode, from a
    /// call that the guest's own output made, it ends with exactly that instruction.
    /// </summary>
    public void Stop()
    {
        _parts.Freeze();
        Post(new Request(RequestKind.Stop, _parts.Life, null, Forced: true));
    }

    /// <summary>
    /// Sends bytes to a guest's serial port (0 is COM1), as far as the port has room. Any thread.
    /// </summary>
    /// <returns>Bytes taken; the rest is to be sent again later.</returns>
    public int SendSerial(int port, ReadOnlySpan<byte> bytes) => _parts.SendSerial(port, bytes);

    /// <summary>Sends bytes to the virtio console that is on the user's terminal, as far as it has room. Any thread.</summary>
    /// <returns>Bytes taken; the rest is to be sent again later.</returns>
    public int SendTerminal(ReadOnlySpan<byte> bytes) => _parts.SendTerminal(bytes);

    /// <summary>
    /// Sends bytes to a port of <see cref="MachineSpec.Ports"/>, as far as it has room, and waits a moment where it has none. Any thread.
    /// </summary>
    /// <returns>Bytes taken; the rest is to be sent again. -1: the machine has ended, or has no such port.</returns>
    public int SendPort(string name, ReadOnlySpan<byte> bytes)
    {
        MachineParts parts = _parts;
        int taken = parts.SendPort(name, bytes);
        if (taken == 0)
        {
            parts.Devices.FindPort(name)?.WaitForRoom(PortWait);
        }

        return taken;
    }

    /// <summary>No more bytes come to a port of <see cref="MachineSpec.Ports"/>: the guest reads to the end. Any thread.</summary>
    public void EndPort(string name) => _parts.EndPort(name);

    /// <summary>
    /// Takes what the guest has written to its virtio consoles so far, and returns when all of it is with the ports' ends. Any
    /// thread, before <see cref="DisposeAsync"/>.
    /// </summary>
    public void FlushConsoles() => _parts.Devices.FlushConsoles();

    /// <summary>The user's terminal has another size. Any thread.</summary>
    public void ResizeTerminal(int rows, int columns) => _parts.ResizeTerminal(rows, columns);

    /// <summary>The last lines that the guest wrote to its first serial port.</summary>
    public string[] LastLines() => _tail.ToArray();

    /// <summary>Stops the machine if it runs, and frees what it held.</summary>
    public async ValueTask DisposeAsync()
    {
        Stop();
        await _end.Task.ConfigureAwait(false);
        _control.Join();
        _parts.Dispose();
        await _panicTimer.DisposeAsync().ConfigureAwait(false);
        _requests.Dispose();
    }

    private Domain Domain => _parts.Domain ?? throw new HullException($"{Name} does not find Xen: start it with --xen");

    private BalloonDevice Balloon => _parts.Devices.FindFirst<BalloonDevice>()
        ?? throw new HullException($"{Name} has no balloon: start it with --device balloon");

    private MachineParts Build(MachineSpec spec, int life) => MachineBuilder.Build(spec, life, new MachineHooks
    {
        SerialOutput = OnSerial,
        PowerOff = () => Post(new Request(RequestKind.PowerOff, life, null)),
        Crashed = message => Post(new Request(RequestKind.Crashed, life, null, Message: message)),
        Reset = () => Post(new Request(RequestKind.Reset, life, null)),
        Exited = value => Post(new Request(RequestKind.Exited, life, null, ExitValue: value)),
        Stop = Stop,
        VcpuEnded = vcpu => Post(new Request(RequestKind.VcpuEnded, life, vcpu)),
    });

    private void OnSerial(int port, ReadOnlySpan<byte> bytes)
    {
        if (port == 0)
        {
            bool before = _tail.PanicIsOver;
            _tail.Write(bytes);
            if (!before && _tail.PanicIsOver)
            {
                _panicTimer.Change(PanicGrace, Timeout.InfiniteTimeSpan);
            }
        }

        if (port < _spec.Serial.Count)
        {
            _spec.Serial[port]?.Invoke(bytes);
        }
    }

    private void Post(Request request)
    {
        try
        {
            _requests.Add(request);
        }
        catch (InvalidOperationException)
        {
            // The machine has ended (and may be disposed): nobody is left to act on the request.
        }
    }

    // The control thread: the only one that starts, stops and replaces the parts.
    private void Control()
    {
        MachineEnd? end = null;
        while (end is null)
        {
            Request request = _requests.Take();
            if (request.Life == _parts.Life || request.Kind == RequestKind.Stop)
            {
                end = Handle(request);
            }
        }

        _requests.CompleteAdding();
        _end.SetResult(end);
    }

    private MachineEnd? Handle(Request request)
    {
        _parts.StopVcpus();
        if (request.Kind is RequestKind.Stop or RequestKind.PowerOff)
        {
            return request.Kind == RequestKind.Stop
                ? End(MachineEndReason.Stopped, "the machine was stopped", null)
                : End(MachineEndReason.PoweredOff, "the guest switched the power off", null);
        }

        if (request.Kind == RequestKind.Exited)
        {
            return End(MachineEndReason.Exited, "the guest wrote to its exit port", null) with
            {
                ExitValue = request.ExitValue,
            };
        }

        // Linux restarts by a triple fault where nothing else works, and says so before.
        bool reset = request.Kind == RequestKind.Reset
            || (request.Vcpu?.Exit == VcpuExit.Shutdown && _tail.SawRestart && _tail.Panic is null);
        if (_tail.Panic is not null && !request.Forced)
        {
            return End(MachineEndReason.Panicked, $"the guest's kernel panicked ({_tail.Panic})", _parts.Rip(0));
        }

        if (request.Kind == RequestKind.Crashed)
        {
            return End(MachineEndReason.Crashed, request.Message!, _parts.Rip(0)); // it says what
        }

        if (!reset)
        {
            return Describe(request.Vcpu!); // what is left is a vCPU that ended
        }

        if (!_spec.RestartOnReset && !request.Forced)
        {
            return End(MachineEndReason.Reset, "the guest reset the machine", null);
        }

        return Restart();
    }

    private MachineEnd? Restart()
    {
        int life = _parts.Life + 1;
        try
        {
            _spec = _spec with { Devices = _parts.Devices.Specs() };
            _parts.Dispose();
            _tail.Clear();
            _parts = Build(_spec, life);
            _parts.Start();
            return null;
        }
        catch (HullException e)
        {
            // The kernel or the RAM disk is read again; somebody may have replaced it.
            return End(MachineEndReason.Failed, $"cannot restart: {e.Message}", null);
        }
    }

    private MachineEnd Describe(VcpuThread vcpu) => vcpu.Exit switch
    {
        VcpuExit.Shutdown => End(MachineEndReason.TripleFault, "the guest triple-faulted", _parts.Rip(vcpu.Index)),
        VcpuExit.HaltedForever => End(
            MachineEndReason.Halted, "the guest halted with interrupts off", _parts.Rip(vcpu.Index)),
        _ => DescribeFailure(vcpu.FailureMessage ?? "no reason given", vcpu.Index),
    };

    // Most failures name the place themselves.
    private MachineEnd DescribeFailure(string message, int vcpu) => End(
        MachineEndReason.Failed,
        $"the {EngineName} engine gave up: {message}",
        message.Contains("rip 0x", StringComparison.Ordinal) ? null : _parts.Rip(vcpu));

    private MachineEnd End(MachineEndReason reason, string message, ulong? rip) =>
        new(reason, message, rip, _tail.ToArray());

    private readonly record struct Request(RequestKind Kind, int Life, VcpuThread? Vcpu, bool Forced = false, uint ExitValue = 0, string? Message = null);
}
