using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hull.Cpu.State;

/// <summary>
/// A segment register as generated code and assists see it. In 64-bit mode only <see cref="Base"/> of FS and GS counts.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CpuSegment
{
    /// <summary>Linear base.</summary>
    internal ulong Base;

    /// <summary>Limit in bytes, after granularity.</summary>
    internal uint Limit;

    /// <summary>As in <see cref="Engine.SegmentRegister.Attributes"/>: bits 8-15 and 20-23 shifted down by 8; bit 16 unusable.</summary>
    internal uint Attributes;

    /// <summary>The visible selector.</summary>
    internal ulong Selector;
}

/// <summary>GDTR or IDTR in the state.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CpuTable
{
    /// <summary>Linear base.</summary>
    internal ulong Base;

    /// <summary>Limit in bytes.</summary>
    internal ulong Limit;
}

/// <summary>
/// One line of an inline TLB, or a page slot: a hit when (linear ^ Tag) is below 4096; then linear + Addend is the host
/// address.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TlbEntry
{
    /// <summary>
    /// The linear page. An empty line of a TLB holds a page that belongs to another line, so that nothing can hit it; an
    /// empty slot holds a page that is not canonical, and so is its sum with any addend: the host refuses the access as
    /// the guest's CPU would.
    /// </summary>
    internal ulong Tag;

    /// <summary>Host page less linear page.</summary>
    internal ulong Addend;

    /// <summary>A tag that cannot be hit in this set, or hashed slot: it belongs to the neighbour's.</summary>
    internal static ulong EmptyTag(int set) => set == 0 ? 0x1000UL : 0;
}

/// <summary>One line of the jump cache: guest rip (XOR the key of the moment) to generated code.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct JumpEntry
{
    /// <summary>Guest rip XOR <see cref="CpuState.JumpCacheKey"/> when it was filled.</summary>
    internal ulong Tag;

    /// <summary>Host address of the block's memory-flags entry.</summary>
    internal ulong Host;
}

/// <summary>
/// The state of one vCPU as generated code knows it: in mmap'd memory, with host RSP pointing 32
/// bytes into it while guest code runs (the room below is for signal frames). The order puts the hot fields where an 8-bit
/// displacement reaches. A test pins every offset that is written into generated code.
/// While generated code runs, most fields below are only valid at assists: see docs/translator.md.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CpuState
{
    /// <summary>The page slots of the user's stack, for loads and for stores.</summary>
    internal fixed ulong NearSlots[2 * StateLayout.NearSlots];

    /// <summary>
    /// The arithmetic flags as LAHF and SETO AL leave them in AX: OF is bit 0, the high byte has the others in their RFLAGS
    /// positions; its bits 1, 3 and 5 are rubbish and never read.
    /// </summary>
    internal ushort FlagWord;

    /// <summary>Not zero: leave generated code at the next poll. Bits of <see cref="Attention"/>; written by any thread.</summary>
    internal uint AttentionBits;

    /// <summary>RFLAGS.IF: 0 or 1.</summary>
    internal byte InterruptFlag;

    /// <summary>RFLAGS.DF: 0 or 1. The host's own DF is always 0.</summary>
    internal byte DirectionFlag;

    /// <summary>Not 0 before the instruction after STI (1) or MOV SS (2): no interrupt before its end.</summary>
    internal byte InterruptShadow;

    /// <summary>The current privilege level, 0-3. Always equal to SS.DPL outside real mode.</summary>
    internal byte Cpl;

    /// <summary>XORed into every tag of the supervisor's jump cache: a new value empties the cache.</summary>
    internal ulong JumpCacheKey;

    /// <summary>The same for the user's jump cache.</summary>
    internal ulong UserJumpCacheKey;

    /// <summary>The general registers in encoding order; valid outside generated code. R9, R10 and R11 always live here.</summary>
    internal fixed ulong Gpr[16];

    /// <summary>The instruction pointer (an offset in CS); valid outside generated code and in assists.</summary>
    internal ulong Rip;

    /// <summary>RFLAGS bits that are neither arithmetic nor IF nor DF: TF, IOPL, NT, RF, VM, AC, VIF, VIP, ID.</summary>
    internal ulong SystemFlags;

    /// <summary>Scratch of the emitted code.</summary>
    internal ulong Scratch0;

    /// <summary>ES, CS, SS, DS, FS, GS.</summary>
    internal CpuSegments Segments;

    /// <summary>LDTR.</summary>
    internal CpuSegment Ldtr;

    /// <summary>TR.</summary>
    internal CpuSegment Tr;

    /// <summary>GDTR.</summary>
    internal CpuTable Gdtr;

    /// <summary>IDTR.</summary>
    internal CpuTable Idtr;

    internal ulong Cr0;
    internal ulong Cr2;
    internal ulong Cr3;
    internal ulong Cr4;
    internal ulong Efer;
    internal ulong Xcr0;

    /// <summary>DR0-DR7.</summary>
    internal fixed ulong DebugRegisters[8];

    internal ulong Star;
    internal ulong Lstar;
    internal ulong Cstar;
    internal ulong Sfmask;
    internal ulong KernelGsBase;
    internal ulong SysenterCs;
    internal ulong SysenterEsp;
    internal ulong SysenterEip;
    internal ulong TscAux;

    /// <summary>Added to the host's time-stamp counter to give the guest's.</summary>
    internal ulong TscOffset;

    /// <summary>MXCSR; valid outside generated code.</summary>
    internal uint Mxcsr;

    /// <summary>Not 0: guest code may have set bits above 127 of a YMM register since the last VZEROUPPER.</summary>
    internal uint YmmDirty;

    /// <summary>A GCHandle to the <see cref="SoftVcpu"/>.</summary>
    internal nint VcpuHandle;

    /// <summary>Host RSP of the thread while guest code runs.</summary>
    internal ulong HostRsp;

    /// <summary>Why generated code was left; written by the exit thunks.</summary>
    internal ulong ExitReason;

    /// <summary>An operand of the exit: a link site, a host pc, a record's number.</summary>
    internal ulong ExitOperand;

    /// <summary>Host pc at a host fault inside generated code (SIGFPE, SIGSEGV, SIGILL).</summary>
    internal ulong FaultPc;

    /// <summary>The signal of that fault.</summary>
    internal ulong FaultSignal;

    /// <summary>The host's error code of that fault, and R11 as it was.</summary>
    internal ulong FaultError;
    internal ulong FaultTemp;

    /// <summary>Scratch of thunks.</summary>
    internal ulong Scratch1;

    /// <summary>Scratch of thunks.</summary>
    internal ulong Scratch2;

    /// <summary>Scratch of thunks.</summary>
    internal ulong Scratch3;

    /// <summary>Accesses that missed their page slot, of the sizes that have a lookup in generated code.</summary>
    internal ulong SlotMisses;

    /// <summary>1 from the delivery of an NMI to the next IRET: no further NMI is taken.</summary>
    internal ulong NmiBlocked;

    /// <summary>IA32_XSS; no supervisor state component exists, so always 0.</summary>
    internal ulong Xss;

    /// <summary>IA32_TSC_ADJUST; its changes are already in <see cref="TscOffset"/>.</summary>
    internal ulong TscAdjust;

    /// <summary>Deterministic mode: instructions that may start before the next stop. See <see cref="InstructionBudget"/>.</summary>
    internal long Budget;

    /// <summary>
    /// Deterministic mode, while C# works for an instruction: how many of the block's instructions, from this one on, are
    /// taken from <see cref="Budget"/> already. Else 0.
    /// </summary>
    internal long BudgetAhead;

    /// <summary>
    /// The supervisor's page slots that may hold a user page, because AC was set: loads from bit 0, stores from bit 32.
    /// What clears AC empties them.
    /// </summary>
    internal ulong UserPageSlots;

    /// <summary>Not 0: an interrupt waits for IF; STI leaves generated code.</summary>
    internal uint InterruptWaiting;

    /// <summary>Not 0: some block may hold old bytes, see <see cref="FetchGuard"/>; what serialises looks. Written by any thread.</summary>
    internal ulong FetchDoubts;

    /// <summary>
    /// A byte for each group of <see cref="Translate.PageSlot.Hashed"/>, for each kind of access. Not 0: some slot of it was filled
    /// since all were emptied.
    /// </summary>
    internal fixed ulong HashedSlotsUsed[4 * StateLayout.HashedMarks / 8];

    /// <summary>The MSRs that only hold state; slots as <see cref="Engine.MsrPolicy"/> says.</summary>
    internal fixed ulong Msrs[Engine.MsrPolicy.SlotCount];

    /// <summary>
    /// The PDPTE registers of PAE paging: what memory held when a control register was written. SDM vol. 3A, "PDPTE Registers".
    /// </summary>
    internal fixed ulong Pdptes[4];

    /// <summary>Where single careful accesses (MMIO, page crossings) keep their operand:
    /// at the next multiple of 64 plus the operand's own misalignment.</summary>
    internal Bytes256 Bounce;

    /// <summary>XMM0-15 as 16 x 16 bytes; valid outside generated code.</summary>
    internal Bytes256 Xmm;

    /// <summary>Bits 128-255 of YMM0-15, 16 x 16 bytes; valid outside generated code while <see cref="YmmDirty"/>, else zero.</summary>
    internal Bytes256 YmmHigh;

    /// <summary>FXSAVE64 image through which x87 state enters and leaves the host's registers; XMM parts unused.</summary>
    internal Bytes512 X87;

    /// <summary>CF, PF, AF, ZF, SF, OF in their RFLAGS positions; the other bits are not kept.</summary>
    internal ulong ArithmeticFlags
    {
        readonly get => (((ulong)FlagWord >> 8) & LahfMask) | ((FlagWord & 1UL) << 11);
        set => FlagWord = (ushort)(((value & LahfMask) << 8) | ((value >> 11) & 1));
    }

    /// <summary>RFLAGS as one value, from its parts. Setting keeps bit 1 set and drops reserved bits.</summary>
    internal ulong Rflags
    {
        readonly get => 2 | ArithmeticFlags | ((ulong)InterruptFlag << 9)
            | ((ulong)DirectionFlag << 10) | SystemFlags;
        set
        {
            ArithmeticFlags = value;
            InterruptFlag = (byte)((value >> 9) & 1);
            DirectionFlag = (byte)((value >> 10) & 1);
            SystemFlags = value & SystemMask;
        }
    }

    /// <summary>CF, PF, AF, ZF, SF: what LAHF reads.</summary>
    internal const int LahfMask = 0xD5;

    /// <summary>CF, PF, AF, ZF, SF, OF.</summary>
    internal const ulong ArithmeticMask = 0x8D5;

    /// <summary>TF, IOPL, NT, RF, VM, AC, VIF, VIP, ID.</summary>
    internal const ulong SystemMask = 0x3F7100;
}

/// <summary>The six segment registers, by encoding: 0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS.</summary>
[InlineArray(6)]
internal struct CpuSegments
{
    private CpuSegment _first;
}

/// <summary>256 bytes.</summary>
[InlineArray(32)]
internal struct Bytes256
{
    private ulong _first;
}

/// <summary>512 bytes.</summary>
[InlineArray(64)]
internal struct Bytes512
{
    private ulong _first;
}

/// <summary>Bits of <see cref="CpuState.AttentionBits"/>.</summary>
[System.Flags]
internal enum Attention : uint
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>The local APIC may have an interrupt.</summary>
    Interrupt = 1,

    /// <summary>Run is to return.</summary>
    Kick = 2,

    /// <summary>An NMI is pending.</summary>
    Nmi = 4,

    /// <summary>INIT arrived.</summary>
    Init = 8,

    /// <summary>SIPI arrived.</summary>
    Startup = 16,

    /// <summary>Deterministic mode: the next stop has moved.</summary>
    Stop = 32,

    /// <summary>Another vCPU wants to be alone for a moment.</summary>
    Exclusive = 64,

    /// <summary>A translator wants to know that no store is under way.</summary>
    Acknowledge = 128,

    /// <summary>Memory was protected or opened: translations are to be looked up anew.</summary>
    Protection = 256,

    /// <summary>The machine is suspended to RAM.</summary>
    Suspend = 512,

    /// <summary>The machine is back from suspension.</summary>
    Resume = 1024,
}
