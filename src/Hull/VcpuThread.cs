using System;
using System.Threading;
using Hull.Engine;

namespace Hull;

/// <summary>The thread on which one vCPU runs, from its start to the end of this life of the machine.</summary>
internal sealed class VcpuThread : IDisposable
{
    // Generated code keeps 64 KiB below the state block for signals; this is for assists and devices.
    private const int StackSize = 4 << 20;

    private readonly IVcpu _vcpu;
    private readonly Action<VcpuThread> _ended;
    private readonly Thread _thread;
    private volatile bool _stopping;

    /// <summary>Makes the thread of one vCPU; <paramref name="ended"/> is called on it unless it was stopped.</summary>
    internal VcpuThread(int index, IVcpu vcpu, Action<VcpuThread> ended)
    {
        Index = index;
        _vcpu = vcpu;
        _ended = ended;
        _thread = new Thread(Run, StackSize) { Name = $"hull-vcpu{index}", IsBackground = true };
    }

    /// <summary>The vCPU's index.</summary>
    internal int Index { get; }

    /// <summary>Why the vCPU ended by itself; valid once it has.</summary>
    internal VcpuExit Exit { get; private set; }

    /// <summary>What the engine says about <see cref="VcpuExit.Failed"/>.</summary>
    internal string? FailureMessage { get; private set; }

    /// <summary>The vCPU's state. Only when the thread has ended.</summary>
    internal ArchState GetState() => _vcpu.GetState();

    /// <summary>The caller is on this thread.</summary>
    internal bool IsCurrent => Thread.CurrentThread == _thread;

    internal void Start() => _thread.Start();

    /// <summary>Asks the vCPU to leave the guest for good; returns at once. Any thread.</summary>
    internal void RequestStop()
    {
        _stopping = true;
        _vcpu.Kick();
    }

    /// <summary>Waits for the thread's end. Not on the thread itself.</summary>
    internal void Join()
    {
        if (_thread.ThreadState.HasFlag(ThreadState.Unstarted))
        {
            return;
        }

        _thread.Join();
    }

    /// <inheritdoc/>
    public void Dispose() => _vcpu.Dispose();

    private void Run()
    {
        try
        {
            do
            {
                Exit = _vcpu.Run();
            }
            while (Exit == VcpuExit.Kicked && !_stopping);

            FailureMessage = _vcpu.FailureMessage;
        }
#pragma warning disable CA1031 // thread root: report, then stop the machine
        catch (Exception e)
#pragma warning restore CA1031
        {
            Exit = VcpuExit.Failed;
            FailureMessage = $"{e.GetType().Name}: {e.Message}{Environment.NewLine}{e.StackTrace}";
        }

        if (!_stopping)
        {
            _ended(this);
        }
    }
}
