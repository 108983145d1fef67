using System;

namespace Hull.Kvm.Abi;

/// <summary>What KVM_CHECK_EXTENSION is asked for. Linux, "KVM API", "Capabilities that can be enabled on VMs".</summary>
internal enum KvmCapability
{
    UserMemory = 3,
    MpState = 14,
    IrqRouting = 25,
    IrqFd = 32,
    IoEventFd = 36,
    XenHvm = 38,
    VcpuEvents = 41,
    DebugRegs = 50,
    Xsave = 55,
    Xcrs = 56,
    TscDeadlineTimer = 72,
    SignalMsi = 77,
    ReadOnlyMemory = 81,
    SplitIrqChip = 121,
    IoEventFdAnyLength = 122,
    ImmediateExit = 136,
    UserSpaceMsr = 188,
    MsrFilter = 189,
    DirtyLogRing = 192,
}

/// <summary>Why KVM_RUN returned: kvm_run.exit_reason.</summary>
internal enum KvmExitReason : uint
{
    Unknown = 0,
    Exception = 1,
    Io = 2,
    Hypercall = 3,
    Debug = 4,
    Halt = 5,
    Mmio = 6,
    InterruptWindowOpen = 7,
    Shutdown = 8,
    FailEntry = 9,
    Interrupted = 10,
    InternalError = 17,
    IoApicEoi = 26,
    ReadMsr = 29,
    WriteMsr = 30,
    DirtyRingFull = 31,
    Xen = 34,
}

/// <summary>What a vCPU is doing: KVM_GET_MP_STATE.</summary>
internal enum KvmMpState : uint
{
    Runnable = 0,
    Uninitialized = 1,
    InitReceived = 2,
    Halted = 3,
    SipiReceived = 4,
}

/// <summary>Flags of a memory slot.</summary>
[Flags]
internal enum KvmMemoryFlags : uint
{
    None = 0,
    LogDirtyPages = 1,
    ReadOnly = 2,
}

/// <summary>Which members of <see cref="KvmVcpuEvents"/> count.</summary>
[Flags]
internal enum KvmEventFlags : uint
{
    NmiPending = 1,
    SipiVector = 2,
    Shadow = 4,
}

/// <summary>Flags of <see cref="KvmIoEventFd"/>.</summary>
[Flags]
internal enum KvmIoEventFlags : uint
{
    None = 0,
    MatchData = 1,
    Detach = 4,
}

/// <summary>Flags of <see cref="KvmIrqFd"/>.</summary>
[Flags]
internal enum KvmIrqFlags : uint
{
    None = 0,
    Detach = 1,
}

/// <summary>What KVM_SET_GUEST_DEBUG turns on.</summary>
[Flags]
internal enum KvmDebugControl : uint
{
    None = 0,
    Enable = 1,
    SingleStep = 2,
    HardwareBreakpoints = 0x2_0000,
}

/// <summary>What of Xen a kernel has, as KVM_CAP_XEN_HVM says, and what KVM_XEN_HVM_CONFIG turns on.</summary>
[Flags]
internal enum KvmHypercallFlags : uint
{
    None = 0,
    HypercallMsr = 1,
    InterceptHypercalls = 2,
}

/// <summary>Which guest accesses to MSRs are user space's: arguments of KVM_CAP_X86_USER_SPACE_MSR.</summary>
[Flags]
internal enum KvmMsrExit : ulong
{
    Unknown = 2,
    Filtered = 4,
}
