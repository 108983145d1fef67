using System.Collections.Generic;

namespace Hull.Engine;

/// <summary>A segment register with its hidden part. SDM vol. 3A, "Segment Registers".</summary>
public record struct SegmentRegister
{
    /// <summary>The visible selector.</summary>
    public ushort Selector { get; set; }

    /// <summary>
    /// Attributes as in bits 8-15 and 20-23 of the descriptor's second word, shifted down by 8: type (3:0), S (4),
    /// DPL (6:5), P (7), AVL (12), L (13), D/B (14), G (15). Bit 16 set: unusable (a null selector).
    /// </summary>
    public uint Attributes { get; set; }

    /// <summary>The limit in bytes, after granularity.</summary>
    public uint Limit { get; set; }

    /// <summary>The base, a linear address.</summary>
    public ulong Base { get; set; }
}

/// <summary>GDTR or IDTR.</summary>
public record struct DescriptorTableRegister(ulong Base, ushort Limit);

/// <summary>
/// The architectural state of one vCPU, the same on every engine: what boot protocols set up, snapshots keep and
/// debuggers show. Index order of the registers is the encoding's: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8-R15.
/// </summary>
public sealed class ArchState
{
    /// <summary>The sixteen general registers, in encoding order.</summary>
    public ulong[] Gpr { get; } = new ulong[16];

    /// <summary>The instruction pointer: an offset in CS.</summary>
    public ulong Rip { get; set; }

    /// <summary>RFLAGS, all bits; bit 1 reads as one.</summary>
    public ulong Rflags { get; set; } = 2;

    /// <summary>ES, CS, SS, DS, FS, GS, in encoding order.</summary>
    public SegmentRegister[] Segments { get; } = new SegmentRegister[6];

    /// <summary>The local descriptor table register.</summary>
    public SegmentRegister Ldtr { get; set; }

    /// <summary>The task register.</summary>
    public SegmentRegister Tr { get; set; }

    /// <summary>The global descriptor table register.</summary>
    public DescriptorTableRegister Gdtr { get; set; }

    /// <summary>The interrupt descriptor table register.</summary>
    public DescriptorTableRegister Idtr { get; set; }

    /// <summary>CR0.</summary>
    public ulong Cr0 { get; set; }

    /// <summary>CR2: the page-fault address.</summary>
    public ulong Cr2 { get; set; }

    /// <summary>CR3.</summary>
    public ulong Cr3 { get; set; }

    /// <summary>CR4.</summary>
    public ulong Cr4 { get; set; }

    /// <summary>IA32_EFER.</summary>
    public ulong Efer { get; set; }

    /// <summary>XCR0.</summary>
    public ulong Xcr0 { get; set; } = 1;

    /// <summary>DR0-DR3, DR6, DR7 at their own indexes; 4 and 5 are unused.</summary>
    public ulong[] DebugRegisters { get; } = [0, 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x400];

    /// <summary>The 512-byte FXSAVE64 image: x87, MXCSR, XMM0-15.</summary>
    public byte[] Fxsave { get; } = new byte[512];

    /// <summary>The upper halves of YMM0-15, 16 bytes each.</summary>
    public byte[] YmmHigh { get; } = new byte[256];

    /// <summary>MSRs that hold state and have no property of their own, by index.</summary>
    public Dictionary<uint, ulong> Msrs { get; } = [];

    /// <summary>True while the vCPU waits for INIT-SIPI (an application processor after reset).</summary>
    public bool WaitingForStartup { get; set; }

    /// <summary>True in HLT.</summary>
    public bool Halted { get; set; }

    /// <summary>After STI or MOV SS: no interrupt before the next instruction ends.</summary>
    public InterruptShadow InterruptShadow { get; set; }

    /// <summary>True while NMIs are blocked (from one NMI to the next IRET).</summary>
    public bool NmiBlocked { get; set; }

    /// <summary>True when an NMI came and was not taken yet.</summary>
    public bool NmiPending { get; set; }

    /// <summary>The event whose handler is about to begin; null: none.</summary>
    public InFlightEvent? InFlight { get; set; }
}
