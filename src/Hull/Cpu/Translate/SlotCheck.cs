using Hull.Cpu.State;
using Hull.Memory;

namespace Hull.Cpu.Translate;

/// <summary>
/// The check of a linear address in R10 against its page slot, and what is done where it fails. Afterwards R10 is the host address.
/// <code>
///   lea  r10, [operand]
///   mov  r11, r10
///   xor  r11, [slot.Tag]         ; offset in the page when it hits
///   cmp  r11, 4096-size          ; catches misses and page crossings in one compare
///   ja   miss                    ; to the inline TLB, which fills the slot: Thunks.Lookup
///   add  r10, [slot.Addend]
///   op   [r10]
/// </code>
/// Through a register other than the stack pointer the slot is one of 1024 that the address chooses:
/// <code>
///   rorx r11, r10, 8             ; without BMI2: mov, shr
///   and  r11d, 0x3FF0
///   xor  r10, [slots+r11]
///   cmp  r10, 4096-size
///   ja   miss
///   add  r10, [slots+r11+8]      ; the host page
/// </code>
/// or, where the instruction leaves R11 free, one cycle sooner
/// <code>
///   mov  r11, [slots+r11+8]
///   op   [r10+r11]
/// </code>
/// Where the address is known now, so is the slot:
/// <code>
///   cmp  [slot.Tag], page        ; or with the page in r11
///   jne  miss
///   mov  r10, [slot.Host]
///   lea  r10, [r10+offset]
/// </code>
/// Where an instruction of the block still needs the flags, the check does without them:
/// <code>
///   mov  [Scratch1], rcx
///   mov  rcx, [slot.Tag]
///   not  rcx
///   lea  rcx, [rcx+r10+1]        ; offset of the first byte
///   lea  r11, [rcx+size-1]       ; and of the last
///   pext rcx, rcx, ~0xFFF
///   pext r11, r11, ~0xFFF
///   lea  rcx, [rcx+r11]
///   jrcxz hit
///   jmp  miss
/// hit:
///   mov  rcx, [Scratch1]
///   mov  r11, [slot.Addend]
///   lea  r10, [r10+r11]
/// </code>
/// </summary>
internal sealed unsafe class SlotCheck
{
    private readonly BlockWriter _w;
    private readonly Emitter _e;

    // Of the operand under way.
    private bool _locked;
    private bool _maySplit;

    internal SlotCheck(BlockWriter writer)
    {
        _w = writer;
        _e = writer.E;
    }

    /// <summary>The slot of the operand under way; see <see cref="PageSlot"/>.</summary>
    internal int Slot { get; set; }

    /// <summary>The host address of the last operand is R10 + R11, not R10.</summary>
    internal bool IsSplit { get; private set; }

    /// <summary>An operand begins: its host address may be R10 + R11.</summary>
    internal void Begin(bool maySplit)
    {
        _maySplit = maySplit;
        _locked = false;
        IsSplit = false;
    }

    /// <summary>A slot at a fixed place, for an access that may be atomic.</summary>
    internal void Choose(int slot, bool locked)
    {
        Slot = slot;
        _locked = locked;
    }

    /// <summary>Emits the piece for an access that missed its slot.</summary>
    internal void EmitMiss(in ColdPiece piece)
    {
        _e.Patch(piece.Site);
        if (piece.Number == PageSlot.Constant)
        {
            MoveLinear(HostRegister.Address, piece.Linear, piece.Moves);
        }

        if (!piece.KeepsFlags)
        {
            byte* site = EmitLookup(piece.Store, piece.Number, piece.Size, out byte* from, piece.Linear, piece.Locked, piece.Moves);
            *(int*)site = (int)(piece.Back - from);
            return;
        }

        _e.LoadState(HostRegister.Rcx, StateLayout.Scratch1);
        _w.Flags.EmitSave();
        _e.Patch(EmitLookup(piece.Store, piece.Number, piece.Size, out _, 0, piece.Locked));
        _w.AddSideRow(_e.At, piece.GuestOffset, piece.Ahead);
        _w.Flags.EmitLoad(false);
        _e.Jump(piece.Back);
    }

    /// <summary>
    /// Looks R10 up and fills a slot (of the hashed ones, the one at R11). Returns where the displacement of the place to go on at
    /// stands, and what it counts from.
    /// <code>
    ///   mov  [Scratch1], rax
    ///   mov  rax, slot
    ///   lea  r11, [back]
    ///   jmp  Lookup
    /// </code>
    /// An atomic access over the end of a page asks for more bytes than any plain operand has, and so becomes a careful one: the
    /// host's own LOCK may be refused there (split lock detection).
    /// </summary>
    internal byte* EmitLookup(
        bool store, int slot, int size, out byte* from, ulong linear = 0, bool locked = false, bool moves = false)
    {
        bool hashed = slot is PageSlot.Hashed or PageSlot.Constant;
        if (slot == PageSlot.Hashed)
        {
            // The address again, from what was compared.
            int slots = StateLayout.Hashed(_w.IsUser, store);
            _e.Table(0x33, HostRegister.Address, HostRegister.Temp, slots);
            _e.StoreState(StateLayout.Scratch1, HostRegister.Rax);
            _e.Lea(true, HostRegister.Rax, HostRegister.Temp, -1, 1, slots - StateLayout.PointerBias);
        }
        else if (Thunks.IsLookedUp(size))
        {
            _e.StoreState(StateLayout.Scratch1, HostRegister.Rax);
            _e.Bytes(0x48, 0xC7, 0xC0);
            _e.Int32((hashed ? StateLayout.HashedFor(_w.IsUser, store, linear) : StateLayout.Slot(_w.IsUser, store, slot))
                - StateLayout.PointerBias);
            NoteSlot(linear, moves);
        }

        bool mayCross = locked && size > 1 && Thunks.IsLookedUp(size);
        if (mayCross)
        {
            _e.Lea(false, HostRegister.Temp, HostRegister.Address, -1, 1, size - 1);
            _e.Reg(false, 0x31, HostRegister.Address, HostRegister.Temp);
            _e.Bytes(0x41, 0xF7, 0xC3);                         // test r11d, imm32
            _e.Int32(GuestMemory.PageSize);
        }

        byte* site = _e.LoadAddressForward(HostRegister.Temp);
        from = _e.At;
        if (mayCross)
        {
            byte* across = _e.JumpForward(5);
            *(int*)across = (int)(_w.Thunks.AtomicAcross - (across + 4));
        }

        _e.Jump(_w.Thunks.Lookup(_w.IsUser, store, size, hashed));
        return site;
    }

    /// <summary>
    /// The check for several words of the stack at once, at R10; where it fails, their instructions are emitted again as a cold
    /// piece.
    /// </summary>
    internal void CheckRun(int count, bool store, int first, out int piece)
    {
        byte* miss = CompareWithSlot(8 * count, store);
        _w.AddSideRow(_e.At);
        piece = _w.Cold.Add(new ColdPiece
        {
            Kind = ColdKind.StackRun,
            Site = miss,
            Size = (ushort)count,
            Number = first,
            GuestOffset = (ushort)_w.GuestOffset,
        });
    }

    /// <summary>The check against the slot that was chosen. The flags are in the state.</summary>
    internal void Check(int size, bool store)
    {
        if (Slot == PageSlot.Hashed)
        {
            CheckHashed(size, store);
            return;
        }

        Checked(CompareWithSlot(size, store), size, store, false);
    }

    private byte* CompareWithSlot(int size, bool store)
    {
        int slot = StateLayout.Slot(_w.IsUser, store, Slot);
        StayPutIfRelative();
        _e.Bytes(0x4D, 0x89, 0xD3);                             // mov r11, r10
        _e.State(true, 0x33, HostRegister.Temp, slot);
        _e.Bytes(0x49, 0x81, 0xFB);                             // cmp r11, imm32
        _e.Int32(4096 - size);
        byte* miss = _e.JumpForward(7);                         // ja
        _e.State(true, 0x03, HostRegister.Address, slot + 8);
        return miss;
    }

    private void CheckHashed(int size, bool store)
    {
        int slots = StateLayout.Hashed(_w.IsUser, store);
        if (HostCpu.HasBmi2)
        {
            _e.Bytes(0xC4, 0x43, 0xFB, 0xF0);                   // rorx r11, r10, 8
            _e.Bytes(0xDA, 0x08);
        }
        else
        {
            _e.Move(HostRegister.Temp, HostRegister.Address);
            _e.Bytes(0x49, 0xC1, 0xEB, 0x08);                   // shr r11, 8
        }

        _e.Bytes(0x41, 0x81, 0xE3);                             // and r11d, imm32
        _e.Int32((StateLayout.HashedSlots - 1) << 4);
        _e.Table(0x33, HostRegister.Address, HostRegister.Temp, slots);
        _e.Bytes(0x49, 0x81, 0xFA);                             // cmp r10, imm32
        _e.Int32(4096 - size);
        byte* miss = _e.JumpForward(7);                         // ja
        IsSplit = _maySplit;
        _e.Table(IsSplit ? 0x8B : 0x03, IsSplit ? HostRegister.Temp : HostRegister.Address, HostRegister.Temp, slots + 8);
        Checked(miss, size, store, false);
    }

    /// <summary>The same for an address that is known now, and whose slot is so too; R10 is written here.</summary>
    /// <param name="linear">The address.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="store">It is written.</param>
    /// <param name="moves">The address is relative to RIP.</param>
    internal void CheckConstant(ulong linear, int size, bool store, bool moves)
    {
        int slot = StateLayout.HashedFor(_w.IsUser, store, linear);
        ulong page = linear & ~0xFFFUL;
        if ((long)page == (int)page)
        {
            _e.State(true, 0x81, 7, slot);                      // cmp [slot.Tag], imm32
            NoteSlot(linear, moves);
            _e.Int32((int)page);
        }
        else
        {
            MoveLinear(HostRegister.Temp, page, moves);
            _e.State(true, 0x39, HostRegister.Temp, slot);
            NoteSlot(linear, moves);
        }

        byte* miss = _e.JumpForward(5);
        _e.LoadState(HostRegister.Address, slot + 8);
        NoteSlot(linear, moves);
        if (linear != page)
        {
            _e.Lea(true, HostRegister.Address, HostRegister.Address, -1, 1, (int)(linear - page));
        }

        Slot = PageSlot.Constant;
        Checked(miss, size, store, false, linear, moves);
    }

    /// <summary>The check that leaves the flags in the host's, against a slot at a fixed place.</summary>
    internal void CheckKeepingFlags(int size, bool store)
    {
        int slot = StateLayout.Slot(_w.IsUser, store, Slot);
        StayPutIfRelative();
        _e.StoreState(StateLayout.Scratch1, HostRegister.Rcx);
        _e.LoadState(HostRegister.Rcx, slot);
        _e.Bytes(0x48, 0xF7, 0xD1);                             // not rcx
        _e.Lea(true, HostRegister.Rcx, HostRegister.Rcx, HostRegister.Address, 1, 1);
        if (size > 1)
        {
            _e.Lea(true, HostRegister.Temp, HostRegister.Rcx, -1, 1, size - 1);
        }

        _e.Bytes(0xC4, 0xE2, 0xF2, 0xF5);                       // pext rcx, rcx, [rip+mask]
        _e.Byte(0x0D);
        _e.Displacement(_w.Thunks.PageMask);
        if (size > 1)
        {
            _e.Bytes(0xC4, 0x62, 0xA2, 0xF5);                   // pext r11, r11, [rip+mask]
            _e.Byte(0x1D);
            _e.Displacement(_w.Thunks.PageMask);
            _e.Lea(true, HostRegister.Rcx, HostRegister.Rcx, HostRegister.Temp, 1, 0);
        }

        byte* hit = _e.JumpShort(0xE3);                         // jrcxz
        byte* miss = _e.JumpForward(-1);
        _e.PatchShort(hit);
        _e.LoadState(HostRegister.Rcx, StateLayout.Scratch1);
        _e.LoadState(HostRegister.Temp, slot + 8);
        _e.Lea(true, HostRegister.Address, HostRegister.Address, HostRegister.Temp, 1, 0);
        Checked(miss, size, store, true);
    }

    private void MoveLinear(int register, ulong linear, bool moves)
    {
        if (moves)
        {
            _e.MoveAddress(register, linear);
        }
        else
        {
            _e.MoveImmediate(register, linear);
        }
    }

    // The four bytes before this place choose the slot of an address.
    private void NoteSlot(ulong linear, bool moves)
    {
        if (moves)
        {
            _e.Relocations.PageSlot(_e.At - 4, linear);
        }
    }

    // These slots go by bits of an address that is relative to RIP. Seldom used: not worth a relocation of their own.
    private void StayPutIfRelative()
    {
        if (Slot is >= PageSlot.Relative and < PageSlot.Absolute)
        {
            _e.Relocations.StayPut();
        }
    }

    private void Checked(byte* miss, int size, bool store, bool keepsFlags, ulong linear = 0, bool moves = false)
    {
        byte* back = _e.At;
        _w.AddSideRow(back, keepsFlags);
        _w.Cold.Add(new ColdPiece
        {
            Kind = ColdKind.TlbMiss,
            Site = miss,
            Back = back,
            Size = (ushort)size,
            Store = store,
            Number = Slot,
            Locked = _locked,
            KeepsFlags = keepsFlags,
            Linear = linear,
            Moves = moves,
            GuestOffset = (ushort)_w.GuestOffset,
        });
    }
}
