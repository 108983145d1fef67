using System;
using System.Collections.Generic;
using Hull.Bus;

namespace Hull.Engine;

/// <summary>Makes vCPUs: the soft engine or the KVM engine.</summary>
public interface IEngine : IDisposable
{
    /// <summary>The engine's name as on the command line: "soft" or "kvm".</summary>
    string Name { get; }

    /// <summary>Makes a vCPU in its reset state; index 0 is the bootstrap processor.</summary>
    /// <param name="index">The index; also the APIC id.</param>
    /// <param name="apic">Its local APIC; null when the engine has that itself.</param>
    IVcpu CreateVcpu(int index, ILocalApic? apic);

    /// <summary>What the engine has counted so far, over all vCPUs. Only while no vCPU runs.</summary>
    IReadOnlyList<EngineCounter> ReadCounters();
}

/// <summary>Why <see cref="IVcpu.Run"/> returned.</summary>
public enum VcpuExit
{
    /// <summary><see cref="IVcpu.Kick"/> was called.</summary>
    Kicked,

    /// <summary>Triple fault: the machine is to be reset or stopped.</summary>
    Shutdown,

    /// <summary>HLT with interrupts off and nothing that could wake it (a personality may read this as power-off).</summary>
    HaltedForever,

    /// <summary>A breakpoint or single step that a debugger, not the guest, asked for.</summary>
    Debug,

    /// <summary>The engine cannot go on; <see cref="IVcpu.FailureMessage"/> says why.</summary>
    Failed,
}

/// <summary>
/// One virtual processor. <see cref="Run"/> belongs to the vCPU's own thread; port I/O and MMIO never surface here:
/// both engines call <see cref="IoBus"/>. HLT waits inside Run.
/// </summary>
public interface IVcpu : IVcpuSignals, IDisposable
{
    /// <summary>Runs the guest until something outside has to decide.</summary>
    VcpuExit Run();

    /// <summary>Makes <see cref="Run"/> return <see cref="VcpuExit.Kicked"/> soon. Any thread.</summary>
    void Kick();

    /// <summary>The line for the user when Run returned <see cref="VcpuExit.Failed"/>.</summary>
    string? FailureMessage { get; }

    /// <summary>The whole architectural state. Only while Run is not running.</summary>
    ArchState GetState();

    /// <summary>Replaces the whole architectural state. Only while Run is not running.</summary>
    void SetState(ArchState state);
}
