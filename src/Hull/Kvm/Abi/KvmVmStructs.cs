using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hull.Kvm.Abi;

/// <summary>
/// What begins a list: struct kvm_cpuid2, kvm_msrs, kvm_irq_routing. The entries follow; the request's number counts the
/// head alone.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmListHead
{
    internal uint Count;
    internal uint Flags;
}

/// <summary>struct kvm_cpuid_entry2.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmCpuidEntry
{
    internal uint Function;
    internal uint Index;
    internal uint Flags;
    internal uint Eax;
    internal uint Ebx;
    internal uint Ecx;
    internal uint Edx;
    internal uint Padding0;
    internal uint Padding1;
    internal uint Padding2;
}

/// <summary>struct kvm_msr_entry.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsrEntry
{
    internal uint Index;
    internal uint Reserved;
    internal ulong Data;
}

/// <summary>struct kvm_msrs with one entry.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmOneMsr
{
    internal KvmListHead Head;
    internal KvmMsrEntry Entry;
}

/// <summary>struct kvm_userspace_memory_region.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMemoryRegion
{
    internal uint Slot;
    internal KvmMemoryFlags Flags;
    internal ulong GuestPhysical;
    internal ulong Size;
    internal ulong HostAddress;
}

/// <summary>struct kvm_dirty_log: one bit a page of the slot.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmDirtyLogRequest
{
    internal uint Slot;
    internal uint Padding;
    internal ulong Bitmap;
}

/// <summary>struct kvm_dirty_gfn: an entry of a vCPU's dirty ring.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmDirtyPage
{
    internal uint Flags;
    internal uint Slot;
    internal ulong Page;
}

/// <summary>struct kvm_msi.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsi
{
    internal uint AddressLow;
    internal uint AddressHigh;
    internal uint Data;
    internal uint Flags;
    internal uint DeviceId;
    internal uint Padding0;
    internal ulong Padding1;
}

/// <summary>struct kvm_ioeventfd.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmIoEventFd
{
    internal ulong Value;
    internal ulong Address;
    internal uint Length;
    internal int Descriptor;
    internal KvmIoEventFlags Flags;
    internal Padding36 Padding;

    /// <summary>36 bytes for the future.</summary>
    [InlineArray(36)]
    internal struct Padding36
    {
        internal byte First;
    }
}

/// <summary>struct kvm_irqfd.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmIrqFd
{
    internal int Descriptor;
    internal uint Gsi;
    internal KvmIrqFlags Flags;
    internal uint ResampleDescriptor;
    internal ulong Padding0;
    internal ulong Padding1;
}

/// <summary>struct kvm_irq_routing_entry of the type KVM_IRQ_ROUTING_MSI.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmRoute
{
    internal uint Gsi;
    internal uint Type;
    internal uint Flags;
    internal uint Padding;
    internal uint AddressLow;
    internal uint AddressHigh;
    internal uint Data;
    internal uint DeviceId;
    internal ulong Padding0;
    internal ulong Padding1;
}

/// <summary>struct kvm_enable_cap.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmEnableCapability
{
    internal uint Capability;
    internal uint Flags;
    internal ulong Argument0;
    internal ulong Argument1;
    internal ulong Argument2;
    internal ulong Argument3;
    internal ulong Padding0;
    internal ulong Padding1;
    internal ulong Padding2;
    internal ulong Padding3;
    internal ulong Padding4;
    internal ulong Padding5;
    internal ulong Padding6;
    internal ulong Padding7;
}

/// <summary>struct kvm_xen_hvm_config.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmHypercallConfig
{
    internal KvmHypercallFlags Flags;

    /// <summary>A write to it fills a hypercall page.</summary>
    internal uint Msr;
    internal ulong BlobAddress32;
    internal ulong BlobAddress64;
    internal byte BlobPages32;
    internal byte BlobPages64;
    internal Padding30 Padding;

    /// <summary>30 bytes for the future.</summary>
    [InlineArray(30)]
    internal struct Padding30
    {
        internal byte First;
    }
}

/// <summary>struct kvm_device_attr.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmDeviceAttribute
{
    internal uint Flags;
    internal uint Group;
    internal ulong Attribute;
    internal ulong Address;
}

/// <summary>struct kvm_msr_filter_range: a clear bit denies; flags 1 for reads, 2 for writes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsrRange
{
    internal uint Flags;
    internal uint Count;
    internal uint Base;
    internal uint Padding;
    internal ulong Bitmap;
}

/// <summary>struct kvm_msr_filter; what is in no range is allowed when the flags are zero.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsrFilter
{
    internal uint Flags;
    internal uint Padding;
    internal RangeArray Ranges;

    /// <summary>KVM_MSR_FILTER_MAX_RANGES.</summary>
    [InlineArray(16)]
    internal struct RangeArray
    {
        internal KvmMsrRange First;
    }
}
