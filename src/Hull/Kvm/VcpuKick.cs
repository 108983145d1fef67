using System;
using System.Threading;
using Hull.Host;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>
/// Gets a thread out of KVM_RUN: immediate_exit catches what comes before the call, a signal whose handler does nothing
/// what comes inside. Lines and timers may call when the vCPU has been taken down already.
/// </summary>
internal sealed unsafe class VcpuKick
{
    // .NET takes the first real-time signals that glibc leaves; this one is far from them.
    private const int Signal = 44;
    private const byte Return = 0xC3;

    // Signals belong to the process: one handler for all machines, never taken away.
    private static readonly ExecutableMemory Handler = Install();

    private readonly Lock _lock = new();
    private KvmRun* _run;
    private int _thread;

    /// <summary>Prepares for the vCPU that shares this with the kernel.</summary>
    internal VcpuKick(KvmRun* run)
    {
        GC.KeepAlive(Handler);
        _run = run;
    }

    /// <summary>The caller is about to enter KVM_RUN and may be signalled from now on.</summary>
    internal void Enter()
    {
        lock (_lock)
        {
            _thread = LibcKvm.GetThreadId();
        }
    }

    /// <summary>The caller enters KVM_RUN no more; its thread may end.</summary>
    internal void Leave()
    {
        lock (_lock)
        {
            _thread = 0;
        }
    }

    /// <summary>Ends this KVM_RUN, or the next one before it begins. Any thread.</summary>
    internal void Send()
    {
        lock (_lock)
        {
            if (_run == null)
            {
                return;
            }

            // SAFETY: the mapping is not taken away before Close, which waits for the lock.
            Volatile.Write(ref _run->ImmediateExit, 1);
            if (_thread != 0 && _thread != LibcKvm.GetThreadId())
            {
                _ = LibcKvm.SignalThread(Environment.ProcessId, _thread, Signal);
            }
        }
    }

    /// <summary>The vCPU goes away.</summary>
    internal void Close()
    {
        lock (_lock)
        {
            _run = null;
        }
    }

    private static ExecutableMemory Install()
    {
        ExecutableMemory code = new(4096);

        // SAFETY: the page was just mapped and is never unmapped.
        *code.Base = Return;
        Libc.SignalAction action = default;
        action.Handler = (nint)code.Base;

        // KVM_RUN is never restarted; other calls of the thread, which the signal may hit too, are.
        action.Flags = LibcKvm.SaRestart;
        if (Libc.SigAction(Signal, &action, null) != 0)
        {
            throw new HullException($"cannot handle signal {Signal}: {Libc.LastErrorMessage()}");
        }

        return code;
    }
}
