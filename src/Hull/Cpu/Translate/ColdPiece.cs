namespace Hull.Cpu.Translate;

/// <summary>The kinds of code beside a block.</summary>
internal enum ColdKind : byte
{
    /// <summary>An access that missed the inline TLB.</summary>
    TlbMiss,

    /// <summary>An exit without a target.</summary>
    LinkStub,

    /// <summary>An assist that is seldom needed.</summary>
    Assist,

    /// <summary>The same, with several jumps to it: each displacement holds the distance to the jump before, or 0.</summary>
    AssistChain,

    /// <summary>A string instruction whose page is not in its slot: jumps chained as above, then perhaps the assist.</summary>
    StringMiss,

    /// <summary>The instructions of a run of PUSH or POP one by one; Number is the first, Size how many.</summary>
    StackRun,

    /// <summary>CLAC with user pages in the supervisor's slots.</summary>
    CloseUserPages,

    /// <summary>A jump whose target, in R10, the jump cache does not have; or, the other jump, somebody wants attention.</summary>
    Leave,

    /// <summary>The same for a target that the guest computed: XORed with the cache's key in the first case.</summary>
    LeaveIndirect,

    /// <summary>A call's target in the other half of the address space, or in none.</summary>
    WildCall,

    /// <summary>Deterministic mode: the block is longer than the budget; the flags are in the state.</summary>
    Budget,

    /// <summary>The same with the flags in host flags.</summary>
    BudgetHostFlags,
}

/// <summary>A piece of code that belongs to a block and seldom runs.</summary>
internal unsafe struct ColdPiece
{
    internal ColdKind Kind;
    internal bool Store;
    internal ushort Size;

    /// <summary>The flags are in the host's and stay there.</summary>
    internal bool KeepsFlags;

    /// <summary>The access is atomic, with LOCK or without.</summary>
    internal bool Locked;

    /// <summary>Offset of its instruction in the block.</summary>
    internal ushort GuestOffset;

    /// <summary>Instructions of the block from this one on.</summary>
    internal byte Ahead;

    /// <summary>The displacement that jumps here.</summary>
    internal byte* Site;

    /// <summary>Where it goes on.</summary>
    internal byte* Back;

    /// <summary>Of a string instruction: the check that is made again.</summary>
    internal byte* Check;

    /// <summary>Of a string instruction: it has REP.</summary>
    internal bool Repeats;

    /// <summary>The address, of <see cref="PageSlot.Constant"/>.</summary>
    internal ulong Linear;

    /// <summary>That address is relative to RIP.</summary>
    internal bool Moves;

    /// <summary>A link, a record, or a page slot.</summary>
    internal int Number;
}
