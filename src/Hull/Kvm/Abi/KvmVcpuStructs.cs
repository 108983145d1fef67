using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hull.Kvm.Abi;

/// <summary>struct kvm_regs: not in the encoding's order.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmRegs
{
    internal ulong Rax;
    internal ulong Rbx;
    internal ulong Rcx;
    internal ulong Rdx;
    internal ulong Rsi;
    internal ulong Rdi;
    internal ulong Rsp;
    internal ulong Rbp;
    internal High8 R8To15;
    internal ulong Rip;
    internal ulong Rflags;

    /// <summary>R8 to R15.</summary>
    [InlineArray(8)]
    internal struct High8
    {
        internal ulong First;
    }
}

/// <summary>struct kvm_segment.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmSegment
{
    internal ulong Base;
    internal uint Limit;
    internal ushort Selector;
    internal byte Type;
    internal byte Present;
    internal byte Dpl;
    internal byte Db;
    internal byte S;
    internal byte L;
    internal byte G;
    internal byte Avl;
    internal byte Unusable;
    internal byte Padding;
}

/// <summary>struct kvm_dtable.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmTable
{
    internal ulong Base;
    internal ushort Limit;
    internal ushort Padding0;
    internal uint Padding1;
}

/// <summary>struct kvm_sregs.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmSregs
{
    internal KvmSegment Cs;
    internal KvmSegment Ds;
    internal KvmSegment Es;
    internal KvmSegment Fs;
    internal KvmSegment Gs;
    internal KvmSegment Ss;
    internal KvmSegment Tr;
    internal KvmSegment Ldt;
    internal KvmTable Gdt;
    internal KvmTable Idt;
    internal ulong Cr0;
    internal ulong Cr2;
    internal ulong Cr3;
    internal ulong Cr4;
    internal ulong Cr8;
    internal ulong Efer;
    internal ulong ApicBase;
    internal Vectors256 InterruptBitmap;

    /// <summary>A bit a vector.</summary>
    [InlineArray(4)]
    internal struct Vectors256
    {
        internal ulong First;
    }
}

/// <summary>struct kvm_vcpu_events.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmVcpuEvents
{
    internal byte ExceptionInjected;
    internal byte ExceptionVector;
    internal byte ExceptionHasErrorCode;
    internal byte ExceptionPending;
    internal uint ExceptionErrorCode;
    internal byte InterruptInjected;
    internal byte InterruptVector;
    internal byte InterruptSoft;
    internal byte InterruptShadow;
    internal byte NmiInjected;
    internal byte NmiPending;
    internal byte NmiMasked;
    internal byte NmiPadding;
    internal uint SipiVector;
    internal KvmEventFlags Flags;
    internal uint Smi;
    internal byte TripleFaultPending;
    internal Reserved26 Reserved;
    internal byte ExceptionHasPayload;
    internal ulong ExceptionPayload;

    /// <summary>26 bytes for the future.</summary>
    [InlineArray(26)]
    internal struct Reserved26
    {
        internal byte First;
    }
}

/// <summary>struct kvm_debugregs.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmDebugRegs
{
    internal ulong Dr0;
    internal ulong Dr1;
    internal ulong Dr2;
    internal ulong Dr3;
    internal ulong Dr6;
    internal ulong Dr7;
    internal ulong Flags;
    internal Reserved9 Reserved;

    /// <summary>Words for the future.</summary>
    [InlineArray(9)]
    internal struct Reserved9
    {
        internal ulong First;
    }
}

/// <summary>struct kvm_xcrs; only XCR0 exists.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmXcrs
{
    internal uint Count;
    internal uint Flags;
    internal uint FirstIndex;
    internal uint FirstReserved;
    internal ulong FirstValue;
    internal Rest Others;

    /// <summary>Fifteen more entries of 16 bytes, then 128 of padding.</summary>
    [InlineArray((15 * 2) + 16)]
    internal struct Rest
    {
        internal ulong First;
    }
}

/// <summary>struct kvm_xsave: an XSAVE area in the standard form.</summary>
[InlineArray(4096)]
internal struct KvmXsave
{
    internal byte First;
}

/// <summary>struct kvm_lapic_state: the registers as they lie in the APIC's page.</summary>
[InlineArray(1024)]
internal struct KvmLapic
{
    internal byte First;
}

/// <summary>struct kvm_translation.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmTranslation
{
    internal ulong Linear;
    internal ulong Physical;
    internal byte Valid;
    internal byte Writable;
    internal byte User;
    internal byte Padding0;
    internal uint Padding1;
}

/// <summary>struct kvm_guest_debug.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmGuestDebug
{
    internal KvmDebugControl Control;
    internal uint Padding;
    internal Registers8 DebugRegisters;

    /// <summary>DR0 to DR7.</summary>
    [InlineArray(8)]
    internal struct Registers8
    {
        internal ulong First;
    }
}
