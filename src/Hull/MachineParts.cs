using System;
using System.Threading;
using Hull.Engine;
using Hull.Memory;
using Hull.Timeline;
using Hull.Xen;

namespace Hull;

/// <summary>Gets the output of one serial port (0 is COM1). Called on a vCPU's thread.</summary>
internal delegate void PortOutput(int port, ReadOnlySpan<byte> bytes);

/// <summary>What the parts tell the machine. All are called on a vCPU's thread and return at once.</summary>
internal sealed record MachineHooks
{
    /// <summary>A serial port sent bytes.</summary>
    internal required PortOutput SerialOutput { get; init; }

    /// <summary>The guest entered S5.</summary>
    internal required Action PowerOff { get; init; }

    /// <summary>The guest ended in Xen's eyes, for a reason that the text says.</summary>
    internal required Action<string> Crashed { get; init; }

    /// <summary>The guest asked for a reset.</summary>
    internal required Action Reset { get; init; }

    /// <summary>The guest wrote a value to its exit port.</summary>
    internal required Action<uint> Exited { get; init; }

    /// <summary>The last checkpoint was reached.</summary>
    internal required Action Stop { get; init; }

    /// <summary>A vCPU ended by itself.</summary>
    internal required Action<VcpuThread> VcpuEnded { get; init; }
}

/// <summary>One life of a machine, from reset to reset: what <see cref="MachineBuilder"/> has put together.</summary>
internal sealed class MachineParts : IDisposable
{
    private readonly VcpuThread[] _vcpus;
    private readonly GuestMemory _memory;
    private readonly TimerQueue? _timers;
    private readonly HostInput _input;
    private readonly Lock _inputLock = new();
    private bool _disposed;

    internal MachineParts(
        int life, GuestMemory memory, TimerQueue? timers, HostInput input, IEngine engine, VcpuThread[] vcpus)
    {
        Life = life;
        Engine = engine;
        _memory = memory;
        _timers = timers;
        _input = input;
        _vcpus = vcpus;
    }

    /// <summary>Counts the lives of the machine, from 0.</summary>
    internal int Life { get; }

    /// <summary>What the kernel asks for and does not get; null: nothing.</summary>
    internal string? Notice { get; init; }

    /// <summary>The user's devices.</summary>
    internal required MachineDevices Devices { get; init; }

    /// <summary>What the guest finds of Xen; null: it finds none.</summary>
    internal Domain? Domain { get; init; }

    /// <summary>What runs the vCPUs.</summary>
    internal IEngine Engine { get; }

    internal void Start()
    {
        foreach (VcpuThread vcpu in _vcpus)
        {
            vcpu.Start();
        }
    }

    /// <summary>Takes all vCPUs out of the guest for good. Not on a vCPU's thread.</summary>
    internal void StopVcpus()
    {
        Domain?.Suspension.Dispose(); // a vCPU may sleep there
        foreach (VcpuThread vcpu in _vcpus)
        {
            vcpu.RequestStop();
        }

        foreach (VcpuThread vcpu in _vcpus)
        {
            vcpu.Join();
        }
    }

    /// <summary>Where a vCPU stands; only after <see cref="StopVcpus"/>.</summary>
    internal ulong Rip(int vcpu) => _vcpus[vcpu].GetState().Rip;

    /// <summary>On the vCPU's own thread, in deterministic mode: no further instruction runs. Else does nothing.</summary>
    internal void Freeze()
    {
        if (_vcpus[0].IsCurrent)
        {
            _input.Freeze();
        }
    }

    /// <summary>Presses the power button; false when the guest does not listen, or is gone.</summary>
    internal bool PressPowerButton()
    {
        lock (_inputLock)
        {
            return !_disposed && _input.PressPowerButton();
        }
    }

    /// <summary>Sends bytes to a serial port. What comes when this life is over finds no chips: an interrupt would go to freed memory.</summary>
    /// <returns>Bytes taken.</returns>
    internal int SendSerial(int port, ReadOnlySpan<byte> bytes)
    {
        lock (_inputLock)
        {
            return _disposed ? 0 : _input.SendSerial(port, bytes);
        }
    }

    /// <summary>Sends bytes to the console that is on the user's terminal.</summary>
    /// <returns>Bytes taken.</returns>
    internal int SendTerminal(ReadOnlySpan<byte> bytes)
    {
        lock (_inputLock)
        {
            return _disposed ? 0 : _input.SendTerminal(bytes);
        }
    }

    /// <summary>Sends bytes to a console port of the program's.</summary>
    /// <returns>Bytes taken; -1 when there is none, or the machine has ended.</returns>
    internal int SendPort(string name, ReadOnlySpan<byte> bytes)
    {
        lock (_inputLock)
        {
            return _disposed ? -1 : Devices.FindPort(name)?.Send(bytes) ?? -1;
        }
    }

    /// <summary>No more bytes come to a console port of the program's.</summary>
    internal void EndPort(string name)
    {
        lock (_inputLock)
        {
            if (!_disposed)
            {
                Devices.FindPort(name)?.EndInput();
            }
        }
    }

    /// <summary>The user's terminal has another size.</summary>
    internal void ResizeTerminal(int rows, int columns)
    {
        lock (_inputLock)
        {
            if (!_disposed)
            {
                _input.ResizeTerminal(rows, columns);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_inputLock)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        // Timers and devices first: their threads may signal a vCPU; then vCPUs, engine, and last the memory that all of
        // them use.
        StopVcpus();
        _timers?.Dispose();
        Devices.Dispose();

        foreach (VcpuThread vcpu in _vcpus)
        {
            vcpu.Dispose();
        }

        Engine.Dispose();
        _memory.Dispose();
    }
}
