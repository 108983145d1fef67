using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Engine;
using Hull.Memory;

namespace Hull.Cpu.Assist;

/// <summary>A vCPU's registers and memory as a personality sees them in a hypercall.</summary>
internal sealed unsafe class HypercallRegisters(SoftVcpu vcpu) : IHypercallRegisters
{
    /// <inheritdoc/>
    public ulong this[int index]
    {
        get => vcpu.Cpu->Gpr[index & 15];
        set => vcpu.Cpu->Gpr[index & 15] = value;
    }

    /// <inheritdoc/>
    public bool Is64Bit => CpuMode.Is64Bit(vcpu.Cpu);

    /// <inheritdoc/>
    public int Cpl => vcpu.Cpu->Cpl;

    /// <inheritdoc/>
    public bool TryLoad(ulong linear, Span<byte> destination)
    {
        while (destination.Length > 0)
        {
            int step = StepFrom(linear, destination.Length);
            if (!TryTranslate(linear, Access.Load, out GuestPhysical at)
                || !vcpu.Mmu.Memory.TryRead(at, destination[..step]))
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
        while (source.Length > 0)
        {
            int step = StepFrom(linear, source.Length);
            if (!TryTranslate(linear, Access.Store, out GuestPhysical at)
                || !vcpu.Mmu.Memory.TryWrite(at, source[..step]))
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

    // A fault that the walk records is the hypercall's result, not the guest's.
    private bool TryTranslate(ulong linear, Access access, out GuestPhysical at)
    {
        ulong cr2 = vcpu.Cpu->Cr2;
        bool found = vcpu.Mmu.Translate(linear, access, out PageTranslation page);
        if (!found)
        {
            vcpu.Cpu->Cr2 = cr2;
            vcpu.Pending = default;
        }

        at = new GuestPhysical(page.PhysicalPage + (linear & 0xFFF));
        return found;
    }
}
