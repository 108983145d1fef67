using System;
using Hull.Host;

namespace Hull.Cpu.State;

/// <summary>The mapping behind a vCPU: room for signal frames, then <see cref="CpuState"/>, TLBs and jump caches.</summary>
internal sealed unsafe class VcpuMemory : IDisposable
{
    private const nuint Bytes = StateLayout.SignalRoom + StateLayout.Size;
    private readonly byte* _base;

    internal VcpuMemory()
    {
        _base = (byte*)Libc.MapOrThrow(
            Bytes,
            Libc.ProtRead | Libc.ProtWrite,
            Libc.MapPrivate | Libc.MapAnonymous,
            -1,
            "vCPU state");
        State = (CpuState*)(_base + StateLayout.SignalRoom);
    }

    /// <summary>The state; page-aligned, zero at first.</summary>
    internal CpuState* State { get; }

    /// <inheritdoc/>
    public void Dispose() => _ = Libc.Munmap(_base, Bytes);
}
