using System.Runtime.CompilerServices;

namespace Hull.Kvm.Abi;

/// <summary>An ioctl of KVM: its name, for messages, and its number.</summary>
internal readonly record struct KvmRequest(string Name, nuint Number);

/// <summary>
/// The ioctls that Hull uses. A number is made of direction, size of the argument, KVM's letter and an index; so a
/// structure of the wrong size is a request that the kernel does not know. Linux, "The Definitive KVM API".
/// </summary>
internal static class KvmRequests
{
    private const int SizeShift = 16;
    private const uint Letter = 0xAE00;
    private const uint ToKernel = 1u << 30;
    private const uint FromKernel = 2u << 30;

    internal static KvmRequest GetApiVersion { get; } = Plain("KVM_GET_API_VERSION", 0x00);

    internal static KvmRequest CreateVm { get; } = Plain("KVM_CREATE_VM", 0x01);

    internal static KvmRequest CheckExtension { get; } = Plain("KVM_CHECK_EXTENSION", 0x03);

    internal static KvmRequest GetVcpuMmapSize { get; } = Plain("KVM_GET_VCPU_MMAP_SIZE", 0x04);

    internal static KvmRequest GetSupportedCpuid { get; } = Both<KvmListHead>("KVM_GET_SUPPORTED_CPUID", 0x05);

    internal static KvmRequest CreateVcpu { get; } = Plain("KVM_CREATE_VCPU", 0x41);

    internal static KvmRequest GetDirtyLog { get; } = Put<KvmDirtyLogRequest>("KVM_GET_DIRTY_LOG", 0x42);

    internal static KvmRequest SetUserMemoryRegion { get; } = Put<KvmMemoryRegion>("KVM_SET_USER_MEMORY_REGION", 0x46);

    internal static KvmRequest SetTssAddress { get; } = Plain("KVM_SET_TSS_ADDR", 0x47);

    internal static KvmRequest SetIdentityMapAddress { get; } = Put<ulong>("KVM_SET_IDENTITY_MAP_ADDR", 0x48);

    internal static KvmRequest SetGsiRouting { get; } = Put<KvmListHead>("KVM_SET_GSI_ROUTING", 0x6A);

    internal static KvmRequest IrqFd { get; } = Put<KvmIrqFd>("KVM_IRQFD", 0x76);

    internal static KvmRequest IoEventFd { get; } = Put<KvmIoEventFd>("KVM_IOEVENTFD", 0x79);

    internal static KvmRequest SetHypercallConfig { get; } = Put<KvmHypercallConfig>("KVM_XEN_HVM_CONFIG", 0x7A);

    internal static KvmRequest Run { get; } = Plain("KVM_RUN", 0x80);

    internal static KvmRequest GetRegs { get; } = Get<KvmRegs>("KVM_GET_REGS", 0x81);

    internal static KvmRequest SetRegs { get; } = Put<KvmRegs>("KVM_SET_REGS", 0x82);

    internal static KvmRequest GetSregs { get; } = Get<KvmSregs>("KVM_GET_SREGS", 0x83);

    internal static KvmRequest SetSregs { get; } = Put<KvmSregs>("KVM_SET_SREGS", 0x84);

    internal static KvmRequest Translate { get; } = Both<KvmTranslation>("KVM_TRANSLATE", 0x85);

    internal static KvmRequest Interrupt { get; } = Put<uint>("KVM_INTERRUPT", 0x86);

    internal static KvmRequest GetMsrs { get; } = Both<KvmListHead>("KVM_GET_MSRS", 0x88);

    internal static KvmRequest SetMsrs { get; } = Put<KvmListHead>("KVM_SET_MSRS", 0x89);

    internal static KvmRequest GetLapic { get; } = Get<KvmLapic>("KVM_GET_LAPIC", 0x8E);

    internal static KvmRequest SetLapic { get; } = Put<KvmLapic>("KVM_SET_LAPIC", 0x8F);

    internal static KvmRequest SetCpuid { get; } = Put<KvmListHead>("KVM_SET_CPUID2", 0x90);

    internal static KvmRequest GetMpState { get; } = Get<uint>("KVM_GET_MP_STATE", 0x98);

    internal static KvmRequest SetMpState { get; } = Put<uint>("KVM_SET_MP_STATE", 0x99);

    internal static KvmRequest Nmi { get; } = Plain("KVM_NMI", 0x9A);

    internal static KvmRequest SetGuestDebug { get; } = Put<KvmGuestDebug>("KVM_SET_GUEST_DEBUG", 0x9B);

    internal static KvmRequest GetVcpuEvents { get; } = Get<KvmVcpuEvents>("KVM_GET_VCPU_EVENTS", 0x9F);

    internal static KvmRequest SetVcpuEvents { get; } = Put<KvmVcpuEvents>("KVM_SET_VCPU_EVENTS", 0xA0);

    internal static KvmRequest GetDebugRegs { get; } = Get<KvmDebugRegs>("KVM_GET_DEBUGREGS", 0xA1);

    internal static KvmRequest SetDebugRegs { get; } = Put<KvmDebugRegs>("KVM_SET_DEBUGREGS", 0xA2);

    internal static KvmRequest EnableCapability { get; } = Put<KvmEnableCapability>("KVM_ENABLE_CAP", 0xA3);

    internal static KvmRequest GetXsave { get; } = Get<KvmXsave>("KVM_GET_XSAVE", 0xA4);

    internal static KvmRequest SetXsave { get; } = Put<KvmXsave>("KVM_SET_XSAVE", 0xA5);

    internal static KvmRequest SignalMsi { get; } = Put<KvmMsi>("KVM_SIGNAL_MSI", 0xA5);

    internal static KvmRequest GetXcrs { get; } = Get<KvmXcrs>("KVM_GET_XCRS", 0xA6);

    internal static KvmRequest SetXcrs { get; } = Put<KvmXcrs>("KVM_SET_XCRS", 0xA7);

    internal static KvmRequest SetMsrFilter { get; } = Put<KvmMsrFilter>("KVM_X86_SET_MSR_FILTER", 0xC6);

    internal static KvmRequest ResetDirtyRings { get; } = Plain("KVM_RESET_DIRTY_RINGS", 0xC7);

    internal static KvmRequest SetDeviceAttribute { get; } = Put<KvmDeviceAttribute>("KVM_SET_DEVICE_ATTR", 0xE1);

    private static KvmRequest Plain(string name, uint index) => new(name, Letter | index);

    private static KvmRequest Put<T>(string name, uint index)
        where T : unmanaged => Sized<T>(name, index, ToKernel);

    private static KvmRequest Get<T>(string name, uint index)
        where T : unmanaged => Sized<T>(name, index, FromKernel);

    private static KvmRequest Both<T>(string name, uint index)
        where T : unmanaged => Sized<T>(name, index, ToKernel | FromKernel);

    private static KvmRequest Sized<T>(string name, uint index, uint direction)
        where T : unmanaged => new(name, direction | ((uint)Unsafe.SizeOf<T>() << SizeShift) | Letter | index);
}
