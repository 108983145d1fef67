using System;
using System.Collections.Generic;
using Hull.Bus;
using Hull.Memory;
using Hull.Timeline;

namespace Hull.Xen;

/// <summary>Gets a domain's console output. Any thread; must not block for long.</summary>
internal delegate void ConsoleOutput(ReadOnlySpan<byte> bytes);

/// <summary>Why a domain ends. Xen, public/sched.h, "SHUTDOWN_*".</summary>
internal enum ShutdownReason
{
    PowerOff = 0,
    Reboot = 1,
    Suspend = 2,
    Crash = 3,
    Watchdog = 4,
    SoftReset = 5,
}

/// <summary>A range of a domain's memory, with a type as in E820. Xen, public/memory.h, XENMEM_memory_map.</summary>
internal readonly record struct MemoryMapEntry(ulong Start, ulong Length, uint Type);

/// <summary>What a domain is made of.</summary>
internal sealed record DomainOptions
{
    /// <summary>The domain's number; 0 would be dom0.</summary>
    internal int Id { get; init; } = 1;

    /// <summary>Its name.</summary>
    internal string Name { get; init; } = "guest";

    /// <summary>Virtual processors.</summary>
    internal int VcpuCount { get; init; } = 1;

    /// <summary>Its memory, with <see cref="SpecialPages.SpareCount"/> spare pages.</summary>
    internal required GuestMemory Memory { get; init; }

    /// <summary>What is where in its memory.</summary>
    internal IReadOnlyList<MemoryMapEntry> MemoryMap { get; init; } = [];

    /// <summary>Gets a line for each hypercall; null: nobody wants them. Any thread, soon done.</summary>
    internal Action<string>? Trace { get; init; }

    /// <summary>The machine's time.</summary>
    internal required ITimerQueue Timers { get; init; }

    /// <summary>
    /// Nanoseconds that a vCPU's thread has run and has waited for one of the host's processors, asked on that thread; null: it always
    /// runs.
    /// </summary>
    internal Func<int, (long RunNs, long WaitNs)>? VcpuTimes { get; init; }

    /// <summary>The way to the local APICs.</summary>
    internal required IInterruptInjector Interrupts { get; init; }

    /// <summary>Gets what the guest writes to its console.</summary>
    internal required ConsoleOutput ConsoleOutput { get; init; }

    /// <summary>The domain has switched itself off.</summary>
    internal required Action PoweredOff { get; init; }

    /// <summary>The domain has ended for a reason that is no wish of its user's, which the text says.</summary>
    internal required Action<string> Crashed { get; init; }

    /// <summary>The domain asks to be started again.</summary>
    internal required Action ResetRequested { get; init; }
}
