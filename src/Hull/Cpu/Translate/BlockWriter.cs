using Hull.Cpu.Decode;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Emits one block: the two entries, the instructions, and in another place the cold pieces (slot misses, unlinked exits).
/// Keeps what the lowerings share: where the flags are, and the side table.
/// </summary>
internal sealed unsafe class BlockWriter
{
    private readonly CodeCache _cache;
    private readonly BlockEntries _entries;
    private readonly InstructionEmitter _instructions;
    private readonly StackRunLowering _runs;
    private int _blockIndex;
    private ulong _physical;
    private byte* _blockStart;
    private bool _ymmMarked;
    private int _current;
    private readonly FlagLiveness _liveness;

    internal BlockWriter(CodeCache cache, Thunks thunks, InstructionPlans plans, bool isIntel)
    {
        _cache = cache;
        Thunks = thunks;
        Plans = plans;
        IsIntel = isIntel;
        E = cache.Emitter;
        Flags = new FlagMoves(E);
        Cold = new ColdPieces(this);
        Memory = new MemoryLowering(this);
        Stack = new StackLowering(this);
        Branch = new BranchLowering(this);
        Strings = new StringLowering(this);
        _liveness = new FlagLiveness(plans);
        _entries = new BlockEntries(this);
        _runs = new StackRunLowering(this);
        _instructions = new InstructionEmitter(this);
    }

    internal Emitter E { get; }

    /// <summary>The loop that the block is, if it is one.</summary>
    internal LoopPages Loop { get; private set; }

    internal Thunks Thunks { get; }

    internal InstructionPlans Plans { get; }

    /// <summary>The vendor of the guest's CPU, and of the host's, is Intel.</summary>
    internal bool IsIntel { get; }

    internal CodeCache Cache => _cache;

    internal MemoryLowering Memory { get; }

    internal StackLowering Stack { get; }

    internal BranchLowering Branch { get; }

    internal StringLowering Strings { get; }

    /// <summary>The block's cold pieces.</summary>
    internal ColdPieces Cold { get; }

    /// <summary>The block's mode.</summary>
    internal BlockMode Mode { get; private set; }

    /// <summary>The block's first rip.</summary>
    internal ulong BlockRip { get; private set; }

    /// <summary>True while the block's bytes lie in two pages: nothing may link to it or from it.</summary>
    internal bool CrossesPage { get; private set; }

    /// <summary>Offset of the instruction being emitted in the block's bytes.</summary>
    internal int GuestOffset { get; private set; }

    /// <summary>Index of the current instruction's first byte in <see cref="Bytes"/>.</summary>
    internal byte[] Bytes { get; private set; } = [];

    /// <summary>Where the flags are now, and how they get elsewhere.</summary>
    internal FlagMoves Flags { get; }

    /// <summary>Instructions of the block from the current one on.</summary>
    internal byte Ahead { get; private set; }

    /// <summary>The flags are in the host's, and this instruction or a later one of the block reads them there.</summary>
    internal bool NeedsHostFlags => Flags.Place != FlagPlace.Memory && _liveness.IsNeeded(_current);

    /// <summary>An STI stands before the last instruction: look for interrupts at the exit.</summary>
    internal bool AfterSti { get; private set; }

    /// <summary>The block ends behind an access through C#, in a segment that is not flat.</summary>
    internal bool EndsAfterCareful { get; private set; }

    /// <summary>Deterministic mode: blocks pay for their instructions, see <see cref="InstructionBudget"/>.</summary>
    internal bool CountsInstructions { get; set; }

    /// <summary>Two vCPUs or more.</summary>
    internal bool IsShared { get; set; }

    /// <summary>The instruction has often met what no window can hold: its accesses are checked.</summary>
    internal bool IsPlainSite => _cache.PlainSites.Contains(_physical + (uint)GuestOffset);

    internal bool Is64 => (Mode & BlockMode.CodeMask) == BlockMode.Code64;

    internal bool IsUser => (Mode & BlockMode.User) != 0;

    /// <summary>CPL 0.</summary>
    internal bool IsKernel => (Mode & (BlockMode.User | BlockMode.Ring12)) == 0;

    internal bool IsCareful => (Mode & BlockMode.Careful) != 0;

    /// <summary>The kernel's pages are global as a rule: links may leave the page.</summary>
    internal bool LinksAcrossPages => !IsUser && Is64 && (Mode & BlockMode.Breakpoints) == 0;

    /// <summary>Somebody looks at each access, or after each element of REP.</summary>
    internal bool IsWatched => (Mode & (BlockMode.Careful | BlockMode.Single | BlockMode.AlignmentCheck)) != 0;

    /// <summary>Exits go to the run loop.</summary>
    internal bool Unlinked => (Mode & (BlockMode.Careful | BlockMode.Single | BlockMode.Unlinked)) != 0;

    /// <summary>Where the flags are at the jump for which the next block is translated.</summary>
    internal FlagPlace UsualFlags { get; set; } = FlagPlace.Memory;

    /// <summary>Emits a block from decoded instructions.</summary>
    internal void Write(ref Block block, int index, BlockDecoder decoder, int count)
    {
        _cache.AlignCode();
        _blockIndex = index;
        _blockStart = E.At;
        Cold.Clear();
        _ymmMarked = false;
        Mode = block.Key.Mode;
        BlockRip = block.Key.Rip;
        _physical = block.Key.Physical;
        CrossesPage = block.SecondPage != ulong.MaxValue;
        Bytes = decoder.Buffer;
        GuestOffset = 0;
        AfterSti = false;
        EndsAfterCareful = decoder.EndsAfterCareful;
        block.Code = E.At;
        E.Relocations.Begin(E.At, _cache.ColdAt, BlockRip, !CountsInstructions && !CrossesPage && BlockCopier.MayMove(block.Key));
        int records = _cache.AssistRecords.Count;
        _liveness.Find(decoder, count);
        Loop = new LoopPages(decoder, count, BlockRip);
        Ahead = (byte)count;
        _entries.Emit(ref block, _liveness.FirstInterest(decoder, count, (Mode & BlockMode.Windows) != 0, UsualFlags), count);
        bool open = true;
        for (int i = 0; i < count; i++)
        {
            ref readonly Instruction instruction = ref decoder.Instructions[i];
            _current = i;
            int run = _runs.Count(decoder, i, count);
            if (run > 1)
            {
                _runs.Emit(decoder, i, run);
                i += run - 1;
                Place((int)(decoder.Instructions[i].NextIP - BlockRip), (byte)(Ahead - run));
                continue;
            }

            AfterSti = i > 0 && decoder.Instructions[i - 1].Mnemonic == Mnemonic.Sti;
            open = _instructions.Emit(instruction);
            Pass(instruction);
        }

        if (open)
        {
            ulong next = Truncate(decoder.Instructions[count - 1].NextIP);
            Branch.FallThrough(next, decoder.Instructions[count - 1].Mnemonic == Mnemonic.Sti);
        }

        block.CodeLength = (int)(E.At - block.Code);
        byte* end = E.At;
        E.At = _cache.ColdAt;
        block.Cold = E.At;
        Cold.Emit(decoder);
        block.ColdLength = (int)(E.At - block.Cold);
        _cache.ColdAt = E.At;
        E.At = end;
        block.SideCount = _cache.SideRows.Count - block.SideStart;
        block.LinkCount = _cache.Links.Count - block.LinkStart;
        if (_cache.AssistRecords.Count != records)
        {
            // An assist looks at its instruction, which knows where it is.
            E.Relocations.StayPut();
        }

        E.Relocations.End(out block.RelocationStart, out block.RelocationCount);
    }

    /// <summary>What is emitted next belongs to this place in the block.</summary>
    /// <param name="guestOffset">Bytes from its start.</param>
    /// <param name="ahead">Instructions from there to its end.</param>
    internal void Place(int guestOffset, byte ahead)
    {
        GuestOffset = guestOffset;
        Ahead = ahead;
    }

    /// <summary>What is emitted next belongs to the next instruction.</summary>
    internal void Pass(in Instruction instruction) => Place(GuestOffset + instruction.Length, (byte)(Ahead - 1));

    /// <summary>
    /// Writes a stub for a link, a cold piece: flags to the state, a look into the jump cache, and only then the exit.
    /// </summary>
    internal void WriteLookupStub(int linkIndex, bool user)
    {
        ref Link link = ref _cache.Links[linkIndex];
        byte* end = E.At;
        byte* stub = _cache.ColdAt;
        E.At = stub;
        if (link.HostFlags)
        {
            Flags.EmitSave();
        }

        Branch.ThroughJumpCache(link.Target, user);
        E.StoreStateInt32(StateLayout.ExitOperand, linkIndex);
        E.Jump(Thunks.LinkExit);
        _cache.ColdAt = E.At;
        E.At = end;

        // The jump goes there only now: another vCPU may be on its way.
        link.Stub = stub;
        link.Cross = true;
        *(int*)link.Site = (int)(stub - (link.Site + 4));
    }

    /// <summary>True when an rip lies in the block's page.</summary>
    internal bool SamePage(ulong rip) => (rip >> 12) == (BlockRip >> 12);

    /// <summary>Cuts an rip to the width of the code size.</summary>
    internal ulong Truncate(ulong rip) => (Mode & BlockMode.CodeMask) switch
    {
        BlockMode.Code64 => rip,
        BlockMode.Code32 => (uint)rip,
        _ => (ushort)rip,
    };

    /// <summary>Notes that a host pc belongs to the current instruction.</summary>
    internal void AddSideRow(byte* pc, bool hostFlags = false) =>
        AddSideRow(pc, (ushort)GuestOffset, Ahead, hostFlags);

    /// <summary>Notes that a host pc belongs to an instruction of the block.</summary>
    internal void AddSideRow(byte* pc, ushort guestOffset, byte ahead, bool hostFlags = false) => _cache.SideRows.Add(new SideRow
    {
        HostOffset = (int)(pc - _blockStart),
        GuestOffset = guestOffset,
        Ahead = ahead,
        HostFlags = hostFlags,
    });

    /// <summary>An instruction that may trap starts here.</summary>
    internal void NoteTrap(in InstructionPlan plan)
    {
        if (plan.MayTrap)
        {
            NoteTrapAt(E.At);
        }
    }

    /// <summary>An instruction that may trap starts at <paramref name="pc"/>.</summary>
    internal void NoteTrapAt(byte* pc) => AddSideRow(pc, Flags.Place == FlagPlace.Host);

    /// <summary>Makes a link whose displacement is at <paramref name="site"/>; its stub is a cold piece.</summary>
    /// <returns>The piece's number.</returns>
    internal int AddLink(byte* site, ulong target, bool hostFlags)
    {
        int link = _cache.Links.Add(new Link
        {
            Site = site,
            Target = target,
            Source = _blockIndex,
            Linked = -1,
            Next = -1,
            HostFlags = hostFlags,
            Cross = !SamePage(target),
        });
        return Cold.Add(new ColdPiece { Kind = ColdKind.LinkStub, Site = site, Number = link });
    }

    /// <summary>A link with a second jump to its stub, taken when somebody wants attention.</summary>
    internal void AddLinkWithPoll(byte* site, byte* attention, ulong target, bool hostFlags) =>
        Cold.SetBack(AddLink(site, target, hostFlags), attention);

    /// <summary>Emits the call of an assist for the instruction.</summary>
    internal void EmitAssist(in Instruction instruction)
    {
        Flags.ToMemory();
        int record = _cache.AssistRecords.Add(instruction);
        CallAssist(record);
    }

    /// <summary>Emits the call of an assist by record number, resuming right behind.</summary>
    internal void CallAssist(int record)
    {
        E.Relocations.StayPut();
        NoteAhead(Ahead);
        E.StoreStateInt32(StateLayout.ExitOperand, record);
        E.Bytes(0x4C, 0x8D, 0x1D);                              // lea r11, [rip+5]
        E.Int32(5);
        E.Jump(Thunks.Assist);

        // XRSTOR and a masked load may change what the state says about upper halves.
        _ymmMarked = false;
    }

    /// <summary>In deterministic mode, C# is about to be called for the current instruction: tells it the time.</summary>
    internal void NoteAhead() => NoteAhead(Ahead);

    /// <summary>The same for another instruction.</summary>
    internal void NoteAhead(int ahead)
    {
        if (CountsInstructions)
        {
            E.StoreStateInt32(StateLayout.BudgetAhead, ahead);
        }
    }

    /// <summary>Emits the raising of an exception at the current instruction.</summary>
    internal void EmitRaise(int vector, ulong rip)
    {
        Flags.ToMemory();
        E.MoveImmediate(HostRegister.Address, rip);
        E.StoreState(StateLayout.Rip, HostRegister.Address);
        CallAssist(Assists.RaiseRecord | vector);
    }

    /// <summary>The instruction writes the upper half of a YMM register.</summary>
    internal void MarkYmmDirty()
    {
        if (!_ymmMarked)
        {
            E.StoreStateInt32(StateLayout.YmmDirty, 1);
            _ymmMarked = true;
        }
    }

    /// <summary>All upper halves are zero now.</summary>
    internal void MarkYmmClean()
    {
        E.StoreStateInt32(StateLayout.YmmDirty, 0);
        _ymmMarked = false;
    }
}
