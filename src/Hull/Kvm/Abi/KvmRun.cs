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
}
