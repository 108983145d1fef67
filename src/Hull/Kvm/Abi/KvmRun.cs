using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hull.Kvm.Abi;

/// <summary>
/// struct kvm_run, what kernel and user space share of a vCPU. From byte 32 on lies what belongs to the exit reason, so
/// those fields overlap.
/// </summary>
[StructLayout(LayoutKind.Explicit)]
internal struct KvmRun
{
    /// <summary>Exit as soon as an external interrupt could be injected.</summary>
    [FieldOffset(0)]
    internal byte RequestInterruptWindow;

    /// <summary>KVM_RUN finishes what the last exit left open, and returns EINTR without running the guest.</summary>
    [FieldOffset(1)]
    internal byte ImmediateExit;

    [FieldOffset(8)]
    internal KvmExitReason ExitReason;

    /// <summary>KVM_INTERRUPT may be called now.</summary>
    [FieldOffset(12)]
    internal byte ReadyForInterruptInjection;

    /// <summary>RFLAGS.IF.</summary>
    [FieldOffset(13)]
    internal byte InterruptFlag;

    [FieldOffset(32)]
    internal ulong HardwareReason;

    [FieldOffset(32)]
    internal byte IoIsOut;

    [FieldOffset(33)]
    internal byte IoSize;

    [FieldOffset(34)]
    internal ushort IoPort;

    [FieldOffset(36)]
    internal uint IoCount;

    /// <summary>Where the data are, from the start of this structure.</summary>
    [FieldOffset(40)]
    internal ulong IoDataOffset;

    [FieldOffset(32)]
    internal ulong MmioAddress;

    [FieldOffset(40)]
    internal ulong MmioData;

    [FieldOffset(48)]
    internal uint MmioLength;

    [FieldOffset(52)]
    internal byte MmioIsWrite;

    [FieldOffset(32)]
    internal uint InternalSuberror;

    [FieldOffset(32)]
    internal byte EoiVector;

    /// <summary>Out: 1 raises #GP in the guest.</summary>
    [FieldOffset(32)]
    internal byte MsrError;

    [FieldOffset(44)]
    internal uint MsrIndex;

    [FieldOffset(48)]
    internal ulong MsrData;

    [FieldOffset(40)]
    internal ulong DebugRip;

    /// <summary>The only kind that there is: 1, a hypercall.</summary>
    [FieldOffset(32)]
    internal uint XenKind;

    /// <summary>The caller is 64-bit code.</summary>
    [FieldOffset(40)]
    internal uint XenIs64Bit;

    [FieldOffset(44)]
    internal uint XenCpl;

    /// <summary>RAX or EAX.</summary>
    [FieldOffset(48)]
    internal ulong XenNumber;

    /// <summary>Out: RAX or EAX.</summary>
    [FieldOffset(56)]
    internal ulong XenResult;

    /// <summary>RDI, RSI, RDX, R10, R8, R9 of 64-bit code; EBX, ECX, EDX, ESI, EDI, EBP of other.</summary>
    [FieldOffset(64)]
    internal Arguments6 XenArguments;

    /// <summary>The arguments of a hypercall.</summary>
    [InlineArray(6)]
    internal struct Arguments6
    {
        internal ulong First;
    }
}
