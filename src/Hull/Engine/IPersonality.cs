using System;

namespace Hull.Engine;

/// <summary>The four registers that CPUID returns.</summary>
public readonly record struct CpuidResult(uint Eax, uint Ebx, uint Ecx, uint Edx);

/// <summary>
/// What the guest finds besides a PC: hypervisor CPUID leaves, MSRs and hypercalls. The KVM-style paravirtual clock is
/// one, Xen another. Engines know this interface only. Called on the vCPU's own thread.
/// </summary>
public interface IPersonality
{
    /// <summary>Answers a leaf in 0x40000000-0x400000FF (or overrides another).</summary>
    /// <returns>False: not this personality's.</returns>
    bool TryCpuid(int vcpu, uint leaf, uint subleaf, out CpuidResult result);

    /// <summary>RDMSR of an index that the engine does not know.</summary>
    /// <returns>False for #GP.</returns>
    bool TryReadMsr(int vcpu, uint index, out ulong value);

    /// <summary>WRMSR to an index that the engine does not know.</summary>
    /// <returns>False for #GP.</returns>
    bool TryWriteMsr(int vcpu, uint index, ulong value);

    /// <summary>
    /// The MSR by which a guest asks for a page of code with its hypercalls. 0: there is none, and an engine whose kernel
    /// knows hypercalls of its own may answer them itself.
    /// </summary>
    uint HypercallMsr => 0;

    /// <summary>VMCALL or VMMCALL.</summary>
    /// <returns>False for #UD.</returns>
    bool TryHypercall(int vcpu, IHypercallRegisters registers);

    /// <summary>
    /// HLT with RFLAGS.IF clear: nothing but an NMI or INIT wakes this vCPU. An engine that has to look for it says so
    /// again while it lasts.
    /// </summary>
    void HaltedWithInterruptsOff(int vcpu);
}

/// <summary>The registers of a hypercall in progress: general registers in encoding order, and where the call came from.</summary>
public interface IHypercallRegisters
{
    /// <summary>Reads or writes general register <paramref name="index"/>.</summary>
    ulong this[int index] { get; set; }

    /// <summary>True in 64-bit mode.</summary>
    bool Is64Bit { get; }

    /// <summary>The privilege level of the caller, 0-3.</summary>
    int Cpl { get; }

    /// <summary>Copies from the caller's linear memory, with the caller's rights. Nothing is raised in the guest.</summary>
    /// <returns>False when a page is not there, not allowed or not RAM; the destination is then undefined.</returns>
    bool TryLoad(ulong linear, Span<byte> destination);

    /// <summary>Copies to the caller's linear memory, with the caller's rights. Nothing is raised in the guest.</summary>
    /// <returns>False when a page is not there, not allowed or not RAM; pages before it may have been written.</returns>
    bool TryStore(ulong linear, ReadOnlySpan<byte> source);
}
