namespace Hull.Cpu.State;

/// <summary>
/// Where things lie in a vCPU's state: the fields of <see cref="CpuState"/>, the page slots, the inline TLBs, the jump caches.
/// Generated code holds these numbers, less 32: while guest code runs, host RSP points so far into the state, because what
/// lies within 128 bytes of it on either side has short displacements.
/// <code>
///   -128 KiB           0          4 KiB          6 KiB            70 KiB            198 KiB
///   | signal frames    | CpuState | 4 x 32 slots | 4 x 1024 slots | 4 TLBs x 32 KiB | 2 jump caches x 2 MiB | windows |
///                        ^ RSP
/// </code>
/// </summary>
internal static unsafe class StateLayout
{
    /// <summary>Room below the state for signal frames (an AVX-512 and AMX frame is about 12 KiB).</summary>
    internal const int SignalRoom = 128 * 1024;

    /// <summary>Bytes from the state's start to RSP; signal frames keep so far below it.</summary>
    internal const int PointerBias = 32;

    /// <summary>Page slots with a short displacement, at the state's start.</summary>
    internal const int NearSlots = 2;

    /// <summary>Bytes to the first page slot of the others.</summary>
    internal const int SlotBase = 0x1000;

    /// <summary>Page slots for one kind of access; see <see cref="Translate.PageSlot"/>.</summary>
    internal const int SlotEntries = 32;

    /// <summary>Bytes of the page slots for one kind of access.</summary>
    internal const int SlotBytes = SlotEntries * 16;

    /// <summary>Bytes to the slots that the address chooses: see <see cref="Translate.PageSlot.Hashed"/>.</summary>
    internal const int HashedBase = SlotBase + (4 * SlotBytes);

    /// <summary>How many for one kind of access.</summary>
    internal const int HashedSlots = 1024;

    /// <summary>So many of them have one mark that says whether any was filled.</summary>
    internal const int HashedGroup = 16;

    /// <summary>Marks for one kind of access.</summary>
    internal const int HashedMarks = HashedSlots / HashedGroup;

    /// <summary>Bytes to the first inline TLB.</summary>
    internal const int TlbBase = HashedBase + (4 * HashedSlots * 16);

    /// <summary>Sets of one inline TLB, of two ways each.</summary>
    internal const int TlbSets = 1024;

    /// <summary>Entries of one inline TLB.</summary>
    internal const int TlbEntries = TlbSets * 2;

    /// <summary>Bytes of one inline TLB.</summary>
    internal const int TlbBytes = TlbEntries * 16;

    /// <summary>Bytes to the supervisor's jump cache; the user's follows.</summary>
    internal const int JumpCacheBase = TlbBase + (4 * TlbBytes);

    /// <summary>Entries of one jump cache.</summary>
    internal const int JumpCacheEntries = 131072;

    /// <summary>The first of the bits that are added to the lowest of an rip to choose its line.</summary>
    internal const int JumpHighBits = 43;

    /// <summary>Bytes of one jump cache.</summary>
    internal const int JumpCacheBytes = JumpCacheEntries * 16;

    /// <summary>Bytes to the windows' table: what to add to a user's address, by its region. See <see cref="Mmu.Windows"/>.</summary>
    internal const int WindowBase = JumpCacheBase + (2 * JumpCacheBytes);

    /// <summary>The bits of an address within its region: 16 GiB.</summary>
    internal const int RegionBits = 34;

    /// <summary>Regions of the lower half of the address space.</summary>
    internal const int Regions = 1 << (47 - RegionBits);

    /// <summary>Bytes to the end.</summary>
    internal const int Size = WindowBase + (Regions * 8);

    internal const int FlagWord = 32;
    internal const int AttentionBits = 36;
    internal const int InterruptFlag = 40;
    internal const int DirectionFlag = 41;
    internal const int InterruptShadow = 42;
    internal const int JumpCacheKey = 48;
    internal const int UserJumpCacheKey = 56;
    internal const int Gpr = 64;
    internal const int Rip = 192;
    internal const int SystemFlags = 200;
    internal const int Scratch0 = 208;
    internal const int Segments = 216;

    internal static readonly int Cpl = Offset(static s => &s->Cpl);
    internal static readonly int GdtrBase = Offset(static s => &s->Gdtr.Base);
    internal static readonly int GdtrLimit = Offset(static s => &s->Gdtr.Limit);
    internal static readonly int Cr0 = Offset(static s => &s->Cr0);
    internal static readonly int Cr2 = Offset(static s => &s->Cr2);
    internal static readonly int Cr3 = Offset(static s => &s->Cr3);
    internal static readonly int Cr4 = Offset(static s => &s->Cr4);
    internal static readonly int NmiBlocked = Offset(static s => &s->NmiBlocked);
    internal static readonly int FetchDoubts = Offset(static s => &s->FetchDoubts);
    internal static readonly int Efer = Offset(static s => &s->Efer);
    internal static readonly int Star = Offset(static s => &s->Star);
    internal static readonly int Lstar = Offset(static s => &s->Lstar);
    internal static readonly int Sfmask = Offset(static s => &s->Sfmask);
    internal static readonly int KernelGsBase = Offset(static s => &s->KernelGsBase);
    internal static readonly int TscAux = Offset(static s => &s->TscAux);
    internal static readonly int TscOffset = Offset(static s => &s->TscOffset);
    internal static readonly int Mxcsr = Offset(static s => &s->Mxcsr);
    internal static readonly int YmmDirty = Offset(static s => &s->YmmDirty);
    internal static readonly int HostRsp = Offset(static s => &s->HostRsp);
    internal static readonly int ExitReason = Offset(static s => &s->ExitReason);
    internal static readonly int ExitOperand = Offset(static s => &s->ExitOperand);
    internal static readonly int FaultPc = Offset(static s => &s->FaultPc);
    internal static readonly int FaultSignal = Offset(static s => &s->FaultSignal);
    internal static readonly int FaultError = Offset(static s => &s->FaultError);
    internal static readonly int FaultTemp = Offset(static s => &s->FaultTemp);
    internal static readonly int Scratch1 = Offset(static s => &s->Scratch1);
    internal static readonly int Scratch2 = Offset(static s => &s->Scratch2);
    internal static readonly int Scratch3 = Offset(static s => &s->Scratch3);
    internal static readonly int SlotMisses = Offset(static s => &s->SlotMisses);
    internal static readonly int HashedSlotsUsed = Offset(static s => s->HashedSlotsUsed);
    internal static readonly int Budget = Offset(static s => &s->Budget);
    internal static readonly int BudgetAhead = Offset(static s => &s->BudgetAhead);
    internal static readonly int UserPageSlots = Offset(static s => &s->UserPageSlots);
    internal static readonly int InterruptWaiting = Offset(static s => &s->InterruptWaiting);
    internal static readonly int Bounce = Offset(static s => &s->Bounce);
    internal static readonly int Xmm = Offset(static s => &s->Xmm);
    internal static readonly int YmmHigh = Offset(static s => &s->YmmHigh);
    internal static readonly int X87 = Offset(static s => &s->X87);

    /// <summary>The slot of a general register.</summary>
    internal static int GprSlot(int register) => Gpr + (register * 8);

    /// <summary>The base of a segment register, by encoding.</summary>
    internal static int SegmentBase(int segment) => Segments + (segment * sizeof(CpuSegment));

    /// <summary>The inline TLB for one kind of access.</summary>
    internal static int Tlb(bool user, bool store) => TlbBase + ((user ? 2 : 0) * TlbBytes) + (store ? TlbBytes : 0);

    /// <summary>A page slot for one kind of access.</summary>
    internal static int Slot(bool user, bool store, int slot)
    {
        return user && slot == Translate.PageSlot.Stack
            ? (store ? 16 : 0)
            : SlotBase + ((user ? 2 : 0) * SlotBytes) + (store ? SlotBytes : 0) + (slot * 16);
    }

    /// <summary>The first slot that the address chooses for one kind of access.</summary>
    internal static int Hashed(bool user, bool store) => HashedBase + (((user ? 2 : 0) + (store ? 1 : 0)) * HashedSlots * 16);

    /// <summary>The first mark of their groups.</summary>
    internal static int HashedMark(bool user, bool store) => HashedSlotsUsed + (((user ? 2 : 0) + (store ? 1 : 0)) * HashedMarks);

    /// <summary>The one that an address chooses.</summary>
    internal static int HashedFor(bool user, bool store, ulong linear) =>
        Hashed(user, store) + ((int)((linear >> 12) & (HashedSlots - 1)) * 16);

    /// <summary>The set of a linear address in an inline TLB: the same hash as in the emitted lookup.</summary>
    internal static int TlbSet(ulong linear) => (int)(((linear >> 12) ^ (linear >> 22)) & (TlbSets - 1));

    /// <summary>The jump cache of a privilege level.</summary>
    internal static int JumpCache(bool user) => JumpCacheBase + (user ? JumpCacheBytes : 0);

    /// <summary>The key of a jump cache.</summary>
    internal static int JumpKey(bool user) => user ? UserJumpCacheKey : JumpCacheKey;

    /// <summary>
    /// The line of a jump cache for a guest rip: the same hash as in the emitted lookup. Code that is near is near here too, in the
    /// host's caches and TLBs. Bits 43-63, which nearly all rips have in common, take part for the keys' sake: see
    /// <see cref="Mmu.JumpCaches"/>.
    /// </summary>
    internal static int JumpIndex(ulong rip) => (int)((((rip >> JumpHighBits) + (4 * rip)) >> 4) & (JumpCacheEntries - 1));

    private delegate void* FieldOf(CpuState* state);

    private static int Offset(FieldOf field)
    {
        CpuState state;
        return (int)((byte*)field(&state) - (byte*)&state);
    }
}
