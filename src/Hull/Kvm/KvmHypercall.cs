using System;
using Hull.Engine;
using Hull.Kvm.Abi;
using Hull.Memory;

namespace Hull.Kvm;

/// <summary>
/// A vCPU's registers and memory as a personality sees them in a hypercall that KVM sent to user space: the registers that
/// Xen's calls use are in the shared page. On the vCPU's thread.
/// </summary>
internal sealed unsafe class KvmHypercall : IHypercallRegisters
{
    private const int Rax = 0;

    private readonly KvmVcpu _vcpu;
    private readonly GuestMemory _memory;
    private readonly KvmRun* _run;
    private KvmSregs _special;
    private ulong _rflags;
    private bool _isRead;

    internal KvmHypercall(KvmVcpu vcpu, GuestMemory memory, KvmRun* run)
    {
        _vcpu = vcpu;
        _memory = memory;
        _run = run;
    }

    /// <inheritdoc/>
    public ulong this[int index]
    {
        get => index == Rax ? _run->XenNumber : _run->XenArguments[PlaceOf(index)];
        set => _run->XenResult = index == Rax ? value : throw new ArgumentOutOfRangeException(nameof(index));
    }

    /// <inheritdoc/>
    public bool Is64Bit => _run->XenIs64Bit != 0;

    /// <inheritdoc/>
    public int Cpl => (int)_run->XenCpl;

    /// <summary>Another call begins.</summary>
    internal void Begin()
    {
        _isRead = false;
        _run->XenResult = _run->XenNumber;
    }

    /// <inheritdoc/>
    public bool TryLoad(ulong linear, Span<byte> destination)
    {
        KvmPageWalk walk = Walk();
        while (destination.Length > 0)
        {
            int step = StepFrom(linear, destination.Length);
            if (!walk.TryTranslate(linear, isStore: false, out GuestPhysical at) || !_memory.TryRead(at, destination[..step]))
            {
                return false;
            }

            linear += (ulong)step;
            destination = destination[step..];
        }

        return true;
    }

    /// <inheritdoc/>
    public bool TryStore(ulong linear, ReadOnlySpan<byte> source)
    {
        KvmPageWalk walk = Walk();
        while (source.Length > 0)
        {
            int step = StepFrom(linear, source.Length);
            if (!walk.TryTranslate(linear, isStore: true, out GuestPhysical at) || !_memory.TryWrite(at, source[..step]))
            {
                return false;
            }

            linear += (ulong)step;
            source = source[step..];
        }

        return true;
    }

    private static int StepFrom(ulong linear, int length) =>
        Math.Min(length, GuestMemory.PageSize - (int)(linear & 0xFFF));

    // Most calls point to nothing, or to one thing: the registers are asked for when they are wanted, and once.
    private KvmPageWalk Walk()
    {
        if (!_isRead)
        {
            KvmRegs general = default;
            _vcpu.File.Call(KvmRequests.GetSregs, ref _special);
            _vcpu.File.Call(KvmRequests.GetRegs, ref general);
            _rflags = general.Rflags;
            _isRead = true;
        }

        return new KvmPageWalk(_memory, _special, _rflags);
    }

    private int PlaceOf(int register) => (Is64Bit, register) switch
    {
        (true, 7) or (false, 3) => 0, // RDI, EBX
        (true, 6) or (false, 1) => 1, // RSI, ECX
        (_, 2) => 2, // RDX, EDX
        (true, 10) or (false, 6) => 3, // R10, ESI
        (true, 8) or (false, 7) => 4, // R8, EDI
        (true, 9) or (false, 5) => 5, // R9, EBP
        _ => throw new ArgumentOutOfRangeException(nameof(register)),
    };
}
