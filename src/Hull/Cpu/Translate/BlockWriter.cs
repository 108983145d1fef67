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
    private readonly CopyLowering _copy;
    private readonly StackLowering _stack;
    private readonly StackRunLowering _runs;
    private readonly BranchLowering _branch;
    private readonly SystemLowering _system;
    private readonly StringLowering _strings;
    private ColdPiece[] _cold = new ColdPiece[64];
    private int _coldCount;
    private int _blockIndex;
    private byte* _blockStart;
    private bool _ymmMarked;
    private int _current;
    private readonly FlagLiveness _liveness;
    private int _ahead;

    internal BlockWriter(CodeCache cache, Thunks thunks, InstructionPlans plans, bool isIntel)
    {
        _cache = cache;
        Thunks = thunks;
        Plans = plans;
        IsIntel = isIntel;
        E = cache.Emitter;
        Memory = new MemoryLowering(this);
        _liveness = new FlagLiveness(plans);
        _copy = new CopyLowering(this);
        _stack = new StackLowering(this);
        _runs = new StackRunLowering(this);
        _branch = new BranchLowering(this);
        _system = new SystemLowering(this, _stack);
        _strings = new StringLowering(this);
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

    internal BranchLowering Branch => _branch;

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

    /// <summary>Where the flags are now.</summary>
    internal FlagPlace Flags { get; set; }

    /// <summary>The flags are in the host's, and this instruction or a later one of the block reads them there.</summary>
    internal bool NeedsHostFlags => Flags != FlagPlace.Memory && _liveness.IsNeeded(_current);

    /// <summary>An STI stands before the last instruction: look for interrupts at the exit.</summary>
    internal bool AfterSti { get; private set; }

    /// <summary>The block ends behind an access through C#, in a segment that is not flat.</summary>
    internal bool EndsAfterCareful { get; private set; }

    /// <summary>Deterministic mode: blocks pay for their instructions, see <see cref="InstructionBudget"/>.</summary>
    internal bool CountsInstructions { get; set; }

    /// <summary>Two vCPUs or more.</summary>
    internal bool IsShared { get; set; }

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

    /// <summary>Emits a block from decoded instructions.</summary>
    internal void Write(ref Block block, int index, BlockDecoder decoder, int count)
    {
        _cache.AlignCode();
        _blockIndex = index;
        _blockStart = E.At;
        _coldCount = 0;
        _ymmMarked = false;
        Mode = block.Key.Mode;
        BlockRip = block.Key.Rip;
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
        _ahead = count;
        EmitEntries(ref block, decoder, count);
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
                GuestOffset = (int)(decoder.Instructions[i].NextIP - BlockRip);
                _ahead -= run;
                continue;
            }

            AfterSti = i > 0 && decoder.Instructions[i - 1].Mnemonic == Mnemonic.Sti;
            open = EmitInstruction(instruction);
            GuestOffset += instruction.Length;
            _ahead--;
        }

        if (open)
        {
            ulong next = Truncate(decoder.Instructions[count - 1].NextIP);
            _branch.FallThrough(next, decoder.Instructions[count - 1].Mnemonic == Mnemonic.Sti);
        }

        block.CodeLength = (int)(E.At - block.Code);
        byte* end = E.At;
        E.At = _cache.ColdAt;
        block.Cold = E.At;
        EmitCold(decoder);
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
            EmitSaveFlags();
        }

        _branch.ThroughJumpCache(link.Target, user);
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

    /// <summary>The next emitted code destroys host flags, or C# may look: bring the flags to the state.</summary>
    internal void FlagsToMemory()
    {
        if (Flags == FlagPlace.Host)
        {
            EmitSaveFlags();
        }

        Flags = FlagPlace.Memory;
    }

    /// <summary>The next instruction reads flags: bring them to the host's.</summary>
    /// <param name="tempIsBusy">R11 holds an operand.</param>
    internal void FlagsToHost(bool tempIsBusy = false)
    {
        if (Flags == FlagPlace.Memory)
        {
            EmitLoadFlags(tempIsBusy);
            Flags = FlagPlace.Both;
        }
    }

    /// <summary>Notes that a host pc belongs to the current instruction.</summary>
    internal void AddSideRow(byte* pc, bool hostFlags = false) =>
        AddSideRow(pc, (ushort)GuestOffset, (byte)_ahead, hostFlags);

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
    internal void NoteTrapAt(byte* pc) => AddSideRow(pc, Flags == FlagPlace.Host);

    /// <summary>Queues a cold piece.</summary>
    /// <returns>Its number, for <see cref="SetBack"/>.</returns>
    internal int AddCold(in ColdPiece piece)
    {
        if (_coldCount == _cold.Length)
        {
            System.Array.Resize(ref _cold, _coldCount * 2);
        }

        _cold[_coldCount] = piece;
        _cold[_coldCount].Ahead = (byte)_ahead;
        return _coldCount++;
    }

    /// <summary>Says where a cold piece goes on.</summary>
    internal void SetBack(int piece, byte* back) => _cold[piece].Back = back;

    /// <summary>Makes a link whose displacement is at <paramref name="site"/>; its stub is a cold piece.</summary>
    internal void AddLink(byte* site, ulong target, bool hostFlags)
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
        AddCold(new ColdPiece { Kind = ColdKind.LinkStub, Site = site, Number = link });
    }

    /// <summary>A link with a second jump to its stub, taken when somebody wants attention.</summary>
    internal void AddLinkWithPoll(byte* site, byte* attention, ulong target, bool hostFlags)
    {
        AddLink(site, target, hostFlags);
        _cold[_coldCount - 1].Back = attention;
    }

    /// <summary>Emits the call of an assist for the instruction.</summary>
    internal void EmitAssist(in Instruction instruction)
    {
        FlagsToMemory();
        int record = _cache.AssistRecords.Add(instruction);
        CallAssist(record);
    }

    /// <summary>Emits the call of an assist by record number, resuming right behind.</summary>
    internal void CallAssist(int record)
    {
        E.Relocations.StayPut();
        NoteAhead(_ahead);
        E.StoreStateInt32(StateLayout.ExitOperand, record);
        E.Bytes(0x4C, 0x8D, 0x1D);                              // lea r11, [rip+5]
        E.Int32(5);
        E.Jump(Thunks.Assist);

        // XRSTOR and a masked load may change what the state says about upper halves.
        _ymmMarked = false;
    }

    /// <summary>In deterministic mode, C# is about to be called for the current instruction: tells it the time.</summary>
    internal void NoteAhead() => NoteAhead(_ahead);

    private void NoteAhead(int ahead)
    {
        if (CountsInstructions)
        {
            E.StoreStateInt32(StateLayout.BudgetAhead, ahead);
        }
    }

    /// <summary>Emits the raising of an exception at the current instruction.</summary>
    internal void EmitRaise(int vector, ulong rip)
    {
        FlagsToMemory();
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

    // The operand goes through the bounce buffer, which other vCPUs must not overtake: the run loop knows how.
    private void LeaveCareful(in Instruction instruction)
    {
        FlagsToMemory();
        E.MoveImmediate(HostRegister.Address, Truncate(instruction.IP));
        E.StoreState(StateLayout.Rip, HostRegister.Address);
        E.StoreStateInt32(StateLayout.ExitReason, (int)ExitReason.Careful);
        E.Jump(Thunks.Exit);
    }

    /// <summary>
    /// The host's flags to the state, by way of AX: PUSHFQ is microcode, four cycles in which nothing else starts, and these
    /// five together take one. R11 is lost.
    /// <code>
    ///   mov  r11, rax
    ///   lahf
    ///   seto al
    ///   mov  [FlagWord], ax
    ///   mov  rax, r11
    /// </code>
    /// </summary>
    internal void EmitSaveFlags()
    {
        E.Move(HostRegister.Temp, HostRegister.Rax);
        E.Byte(0x9F);
        E.Bytes(0x0F, 0x90, 0xC0);
        E.Byte(0x66);
        E.State(false, 0x89, HostRegister.Rax, StateLayout.FlagWord);
        E.Move(HostRegister.Rax, HostRegister.Temp);
    }

    /// <summary>
    /// Loads the six flags from the state without touching a guest register: OF through an addition that overflows
    /// exactly when AL is 1, the others through SAHF.
    /// </summary>
    internal void EmitLoadFlags(bool tempIsBusy)
    {
        if (tempIsBusy)
        {
            E.StoreState(StateLayout.Scratch0, HostRegister.Rax);
        }
        else
        {
            E.Move(HostRegister.Temp, HostRegister.Rax);
        }

        E.State(false, 0x0FB7, HostRegister.Rax, StateLayout.FlagWord);
        E.Bytes(0x04, 0x7F);                                    // add al, 127
        E.Byte(0x9E);                                           // sahf
        if (tempIsBusy)
        {
            E.LoadState(HostRegister.Rax, StateLayout.Scratch0);
        }
        else
        {
            E.Move(HostRegister.Rax, HostRegister.Temp);
        }
    }

    // At a stop somebody looks at the flags, so a block that would overwrite them brings them to the state first.
    //   sub qword [rsp+Budget], count;  js short
    // With flags in host flags (BMI2, else the same way):
    //   mov r10, rcx;  mov r11, [rsp+Budget];  lea r11, [r11-count];  mov [rsp+Budget], r11
    //   mov ecx, 63;  shrx rcx, r11, rcx;  jrcxz enough;  mov rcx, r10;  jmp short;  enough: mov rcx, r10
    private void EmitCountingEntries(ref Block block, FlagPlace interest, int count)
    {
        if (interest != FlagPlace.Host || !HostCpu.HasBmi2)
        {
            block.HostFlagsEntry = E.At;
            EmitSaveFlags();
            block.MemoryFlagsEntry = E.At;
            Flags = FlagPlace.Memory;
            E.State(true, 0x83, 5, StateLayout.Budget);
            E.Byte(count);
            AddCold(new ColdPiece { Kind = ColdKind.Budget, Site = E.JumpForward(8), Number = count });
            return;
        }

        block.MemoryFlagsEntry = E.At;
        EmitLoadFlags(false);
        block.HostFlagsEntry = E.At;
        Flags = FlagPlace.Host;
        E.Move(HostRegister.Address, HostRegister.Rcx);
        E.LoadState(HostRegister.Temp, StateLayout.Budget);
        E.Lea(true, HostRegister.Temp, HostRegister.Temp, -1, 1, -count);
        E.StoreState(StateLayout.Budget, HostRegister.Temp);
        E.Byte(0xB9);
        E.Int32(63);
        E.Bytes(0xC4, 0xC2, 0xF3, 0xF7);
        E.Byte(0xCB);
        byte* enough = E.JumpShort(0xE3);
        E.Move(HostRegister.Rcx, HostRegister.Address);
        AddCold(new ColdPiece { Kind = ColdKind.BudgetHostFlags, Site = E.JumpForward(-1), Number = count });
        E.PatchShort(enough);
        E.Move(HostRegister.Rcx, HostRegister.Address);
    }

    private void EmitEntries(ref Block block, BlockDecoder decoder, int count)
    {
        FlagPlace interest = _liveness.FirstInterest(decoder, count);
        if (CountsInstructions)
        {
            EmitCountingEntries(ref block, interest, count);
            return;
        }

        switch (interest)
        {
            case FlagPlace.Host:
                block.MemoryFlagsEntry = E.At;
                EmitLoadFlags(false);
                block.HostFlagsEntry = E.At;
                Flags = FlagPlace.Host;
                break;
            case FlagPlace.Memory:
                block.HostFlagsEntry = E.At;
                EmitSaveFlags();
                block.MemoryFlagsEntry = E.At;
                Flags = FlagPlace.Memory;
                break;
            default:
                block.HostFlagsEntry = E.At;
                block.MemoryFlagsEntry = E.At;
                Flags = FlagPlace.Memory;
                break;
        }
    }

    // Returns false when the block has ended with its own exit.
    private bool EmitInstruction(in Instruction instruction)
    {
        ref readonly InstructionPlan plan = ref Plans.For(instruction);
        if (plan.Unit != UnitKind.Integer && Unavailable(plan, out int vector))
        {
            EmitRaise(vector, Truncate(instruction.IP));
            return true;
        }

        if (CountsInstructions && instruction.Mnemonic is (Mnemonic.Rdrand or Mnemonic.Rdseed))
        {
            EmitAssist(instruction);
            return true;
        }

        if (!Is64 && !IsCareful && !CountsInstructions && instruction.IsLocked()
            && Memory.IsAlwaysCareful(instruction.MemorySegment))
        {
            LeaveCareful(instruction);
            return true;
        }

        switch (plan.Kind)
        {
            case PlanKind.Nop:
                return true;
            case PlanKind.Copy:
                _copy.Emit(instruction, plan);
                return true;
            case PlanKind.Assist:
                E.Relocations.StayPut();
                if (!_strings.TryEmit(instruction) && !_system.TryEmit(instruction))
                {
                    EmitAssist(instruction);
                }

                return true;
            case PlanKind.AssistEnd:
                E.Relocations.StayPut();
                if (!_system.TryEmitCall(instruction))
                {
                    EmitAssist(instruction);
                }

                _branch.ToDispatch(Truncate(instruction.NextIP));
                return false;
            case PlanKind.Undefined:
                FlagsToMemory();
                CallAssist(Assists.UndefinedRecord | _cache.AssistRecords.Add(instruction));
                _branch.ToDispatch(Truncate(instruction.NextIP));
                return false;
            default:
                return EmitLowered(instruction, plan);
        }
    }

    private bool EmitLowered(in Instruction instruction, in InstructionPlan plan)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Push:
            case Mnemonic.Pop:
            case Mnemonic.Leave:
                _stack.Emit(instruction);
                return true;
            case Mnemonic.Call:
            case Mnemonic.Ret:
            case Mnemonic.Jmp:
            case Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne:
            case Mnemonic.Jcxz or Mnemonic.Jecxz or Mnemonic.Jrcxz:
                _branch.Emit(instruction, _stack);
                return false;
            case Mnemonic.Lea:
                _copy.EmitLea(instruction);
                return true;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc:
                _copy.EmitBitTest(instruction, plan);
                return true;
            case Mnemonic.Mov:
                _copy.EmitSpecialMove(instruction);
                return true;
            case Mnemonic.Cli or Mnemonic.Sti or Mnemonic.Cld or Mnemonic.Std or Mnemonic.Clac or Mnemonic.Stac or Mnemonic.Rdtsc:
                _system.Emit(instruction);
                return true;
            default:
                _branch.EmitConditional(instruction);
                return true;
        }
    }

    private bool Unavailable(in InstructionPlan plan, out int vector)
    {
        const int InvalidOpcode = 6;
        const int DeviceNotAvailable = 7;
        vector = 0;
        switch (plan.Unit)
        {
            case UnitKind.X87:
                vector = (Mode & BlockMode.NoX87) != 0 ? DeviceNotAvailable : 0;
                break;
            case UnitKind.Mmx:
                vector = (Mode & BlockMode.NoMmx) != 0 ? InvalidOpcode
                    : (Mode & BlockMode.NoMedia) != 0 ? DeviceNotAvailable : 0;
                break;
            case UnitKind.Sse:
                vector = (Mode & BlockMode.NoSse) != 0 ? InvalidOpcode
                    : (Mode & BlockMode.NoMedia) != 0 ? DeviceNotAvailable : 0;
                break;
            case UnitKind.Avx:
                vector = (Mode & BlockMode.Avx) == 0 ? InvalidOpcode
                    : (Mode & BlockMode.NoMedia) != 0 ? DeviceNotAvailable : 0;
                break;
            default:
                break;
        }

        return vector != 0 && plan.Kind != PlanKind.Undefined;
    }

    private void EmitCold(BlockDecoder decoder)
    {
        for (int i = 0; i < _coldCount; i++)
        {
            ColdPiece piece = _cold[i];
            switch (piece.Kind)
            {
                case ColdKind.TlbMiss:
                    Memory.Slots.EmitMiss(piece);
                    break;
                case ColdKind.LinkStub:
                    EmitLinkStub(piece);
                    break;
                case ColdKind.StackRun:
                    EmitStackRun(piece, decoder);
                    break;
                case ColdKind.CloseUserPages:
                    E.Patch(piece.Site);
                    E.LoadAddress(HostRegister.Temp, piece.Back);
                    E.Jump(Thunks.CloseUserPages);
                    break;
                case ColdKind.StringMiss:
                    PatchChain(piece);
                    _strings.EmitMiss(piece);
                    EmitAssistCall(piece);
                    break;
                case ColdKind.Budget or ColdKind.BudgetHostFlags:
                    E.Patch(piece.Site);
                    if (piece.Kind == ColdKind.BudgetHostFlags)
                    {
                        EmitSaveFlags();
                    }

                    E.State(true, 0x83, 0, StateLayout.Budget);
                    E.Byte(piece.Number);
                    E.MoveImmediate(HostRegister.Address, BlockRip);
                    E.StoreState(StateLayout.Rip, HostRegister.Address);
                    E.Jump(Thunks.BudgetExit);
                    break;
                case ColdKind.Leave:
                    E.Patch(piece.Site);
                    if (piece.Back != null)
                    {
                        E.Patch(piece.Back);
                    }

                    _branch.LeaveForAddress();
                    break;
                case ColdKind.LeaveIndirect:
                    E.Patch(piece.Site);
                    E.State(true, 0x33, HostRegister.Address, StateLayout.JumpKey(IsUser));
                    E.Patch(piece.Back);
                    _branch.LeaveForTarget(piece.GuestOffset);
                    break;
                case ColdKind.WildCall:
                    _branch.EmitWildCall(piece);
                    break;
                default:
                    PatchChain(piece);
                    EmitAssistCall(piece);
                    break;
            }
        }
    }

    // May add further cold pieces.
    private void EmitStackRun(in ColdPiece piece, BlockDecoder decoder)
    {
        E.Patch(piece.Site);
        GuestOffset = piece.GuestOffset;
        _ahead = piece.Ahead;
        for (int i = 0; i < piece.Size; i++)
        {
            ref readonly Instruction instruction = ref decoder.Instructions[piece.Number + i];
            Flags = FlagPlace.Memory;
            _stack.Emit(instruction);
            GuestOffset += instruction.Length;
            _ahead--;
        }

        E.Jump(piece.Back);
    }

    private void EmitAssistCall(in ColdPiece piece)
    {
        NoteAhead(piece.Ahead);
        E.StoreStateInt32(StateLayout.ExitOperand, piece.Number);
        E.LoadAddress(HostRegister.Temp, piece.Back);
        E.Jump(Thunks.Assist);
    }

    // Points the jump here, and in a chain those before it.
    private void PatchChain(in ColdPiece piece)
    {
        byte* site = piece.Site;
        int distance = piece.Kind == ColdKind.Assist ? 0 : *(int*)site;
        E.Patch(site);
        while (distance != 0)
        {
            site -= distance;
            distance = *(int*)site;
            E.Patch(site);
        }
    }

    private void EmitLinkStub(in ColdPiece piece)
    {
        ref Link link = ref _cache.Links[piece.Number];
        link.Stub = E.At;
        E.Patch(piece.Site);
        if (piece.Back != null)
        {
            E.Patch(piece.Back);
        }

        if (link.HostFlags)
        {
            EmitSaveFlags();
        }

        if (link.Cross)
        {
            _branch.ThroughJumpCache(link.Target, IsUser);
        }

        E.StoreStateInt32(StateLayout.ExitOperand, piece.Number);
        E.Relocations.Link(E.At - 4);
        E.Jump(Thunks.LinkExit);
    }
}
