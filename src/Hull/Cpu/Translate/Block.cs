using System.Runtime.InteropServices;

namespace Hull.Cpu.Translate;

/// <summary>What a translation depends on besides its bytes and its address. Part of a block's identity.</summary>
[System.Flags]
internal enum BlockMode : uint
{
    /// <summary>16-bit code.</summary>
    Code16 = 0,

    /// <summary>32-bit code: protected mode with CS.D, or compatibility mode.</summary>
    Code32 = 1,

    /// <summary>64-bit mode.</summary>
    Code64 = 2,

    /// <summary>The bits that say the code size.</summary>
    CodeMask = 3,

    /// <summary>CPL 3: the user's TLBs and jump cache.</summary>
    User = 4,

    /// <summary>The stack pointer is ESP (SS.B); only outside 64-bit mode.</summary>
    Stack32 = 8,

    /// <summary>CS, DS, ES and SS have base 0 and reach all of 4 GiB; only outside 64-bit mode.</summary>
    Flat = 16,

    /// <summary>CR0.TS or CR0.EM: x87 instructions raise #NM.</summary>
    NoX87 = 32,

    /// <summary>CR0.TS: SSE, MMX and AVX raise #NM.</summary>
    NoMedia = 64,

    /// <summary>CR4.OSFXSR is clear or CR0.EM is set: SSE raises #UD.</summary>
    NoSse = 128,

    /// <summary>CR4.OSXSAVE and XCR0 allow AVX.</summary>
    Avx = 256,

    /// <summary>One instruction, each memory access through C#: MMIO, page crossings, stores into code.</summary>
    Careful = 512,

    /// <summary>One instruction, no links.</summary>
    Single = 1024,

    /// <summary>No links: every exit goes to the run loop (tests).</summary>
    Unlinked = 2048,

    /// <summary>CR0.EM: MMX raises #UD.</summary>
    NoMmx = 4096,

    /// <summary>CR4.TSD at CPL 3: RDTSC raises #GP.</summary>
    NoTsc = 8192,

    /// <summary>CPL 1 or 2: a supervisor for paging, but not for privileged instructions.</summary>
    Ring12 = 16384,

    /// <summary>DR7 enables an execution breakpoint: no links between pages.</summary>
    Breakpoints = 1 << 24,

    /// <summary>CR0.AM and EFLAGS.AC at CPL 3: each access goes through C#, which checks its alignment.</summary>
    AlignmentCheck = 1 << 25,

    /// <summary>Accesses of 64-bit user code go through <see cref="Mmu.Windows"/>.</summary>
    Windows = 1 << 26,
}

/// <summary>A block's identity: bytes at a guest-physical address, at an rip, in a mode.</summary>
internal readonly record struct BlockKey(ulong Physical, ulong Rip, BlockMode Mode);

/// <summary>
/// A translated block. A struct in one array: a boot makes some 60,000. Two cache lines, the first for what a lookup wants.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 128)]
internal unsafe struct Block
{
    internal BlockKey Key;

    /// <summary>Guest-physical page of the bytes behind a page boundary, or ulong.MaxValue when there are none.</summary>
    internal ulong SecondPage;

    /// <summary>Generated code: first byte, entry with the arithmetic flags in host flags, entry with them in the state.</summary>
    internal byte* Code;
    internal byte* HostFlagsEntry;
    internal byte* MemoryFlagsEntry;

    /// <summary>The next block of its bucket in <see cref="BlockTable"/>, or -1.</summary>
    internal int NextInBucket;
    internal int CodeLength;

    /// <summary>Its pieces that seldom run, in the cold area.</summary>
    internal byte* Cold;
    internal int ColdLength;
    internal ushort GuestLength;
    internal ushort Instructions;

    /// <summary>First row in the side table, and how many.</summary>
    internal int SideStart;
    internal int SideCount;

    /// <summary>Head of the list of links that jump here (-1 for none).</summary>
    internal int IncomingLinks;

    /// <summary>First link that leaves here, and how many.</summary>
    internal int LinkStart;
    internal int LinkCount;

    /// <summary>First relocation, and how many; none when the block cannot be copied to another rip.</summary>
    internal int RelocationStart;
    internal int RelocationCount;

    /// <summary>Its last instruction is a near call.</summary>
    internal bool EndsInCall;

    /// <summary>A careful block whose instruction is atomic: no other vCPU may run meanwhile.</summary>
    internal bool Locked;

    /// <summary>False once it was invalidated.</summary>
    internal bool Valid;

    /// <summary>True for a host pc in the block's code.</summary>
    internal readonly bool Holds(byte* pc) =>
        (pc >= Code && pc < Code + CodeLength) || (pc >= Cold && pc < Cold + ColdLength);
}

/// <summary>A direct jump out of a block.</summary>
internal unsafe struct Link
{
    /// <summary>The 32-bit displacement to patch.</summary>
    internal byte* Site;

    /// <summary>Where the displacement points while there is no target.</summary>
    internal byte* Stub;

    /// <summary>The guest rip it goes to.</summary>
    internal ulong Target;

    /// <summary>The source block.</summary>
    internal int Source;

    /// <summary>The target block while linked, else -1.</summary>
    internal int Linked;

    /// <summary>The next link in the target's list.</summary>
    internal int Next;

    /// <summary>The jump is taken with the flags in host flags (else they are in the state).</summary>
    internal bool HostFlags;

    /// <summary>The target is in another page: linked only while its translation is global, see <see cref="CodeCache"/>.</summary>
    internal bool Cross;
}

/// <summary>One row of the side table: a host pc that C# may be told of, and the guest instruction it belongs to.</summary>
internal struct SideRow
{
    /// <summary>Offset of the host pc in the block's code.</summary>
    internal int HostOffset;

    /// <summary>Offset of the guest instruction in the block's bytes.</summary>
    internal ushort GuestOffset;

    /// <summary>Instructions of the block from this one on.</summary>
    internal byte Ahead;

    /// <summary>The arithmetic flags are in host flags at that pc (host faults only).</summary>
    internal bool HostFlags;
}

/// <summary>A careful access of an instruction: what C# has to check.</summary>
internal struct CarefulSite
{
    /// <summary>Bytes.</summary>
    internal ushort Size;

    /// <summary>Segment register by encoding, or 255: the address is linear already.</summary>
    internal byte Segment;

    /// <summary>The access will be followed by a store to the same place: check for writing now.</summary>
    internal bool ForStore;

    /// <summary>Load the old contents into the bounce buffer.</summary>
    internal bool Load;

    /// <summary>A stack access: limit faults are #SS.</summary>
    internal bool Stack;
}
