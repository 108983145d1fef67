using Hull.Cpu.State;
using Hull.Memory;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Memory operands: the address into R10, the check against the operand's page slot, and after it the host address in
/// R10.
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
/// Where a plain host address cannot stand for the operand (MMIO, two pages, code, segments that are not flat) the
/// access is careful: C# copies the operand to the bounce buffer and back.
/// </summary>
internal sealed unsafe class MemoryLowering
{
    /// <summary>No segment: the address is linear.</summary>
    internal const byte Linear = 255;

    private const int CodeSegment = 1;
    private const int StackSegment = 2;

    // Bytes from a base register: fields of a structure. More would be an array's pages, all in one slot.
    private const int NearBase = 1024;
    private readonly BlockWriter _w;
    private readonly Emitter _e;
    private int _slot;

    // Of the operand under way.
    private ulong _displacement;
    private bool _locked;
    private bool _maySplit;
    private int _base;

    internal MemoryLowering(BlockWriter writer)
    {
        _w = writer;
        _e = writer.E;
    }

    /// <summary>The host address of the last operand is R10 + R11, not R10.</summary>
    internal bool IsSplit { get; private set; }

    /// <summary>
    /// Brings the memory operand of an instruction within reach: afterwards R10 is a host address, R11 is free, and the
    /// flags are in the state, or in the host's where they were and somebody needs them. A store must be closed with
    /// <see cref="Commit"/> after the operation.
    /// </summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="load">It reads the operand.</param>
    /// <param name="store">It writes the operand.</param>
    /// <param name="stackBias">See <see cref="Address"/>.</param>
    /// <param name="maySplit">The host address may be R10 + R11: see <see cref="IsSplit"/>.</param>
    /// <returns>True when a commit is needed.</returns>
    internal bool Operand(in Instruction instruction, int size, bool load, bool store, int stackBias = 0, bool maySplit = false)
    {
        _maySplit = maySplit;
        IsSplit = false;
        byte segment = SegmentOf(instruction.MemorySegment);
        bool keepsFlags = _w.NeedsHostFlags && _w.Thunks.CanKeepFlags && IsPlain(segment, store) && Thunks.IsLookedUp(size);
        if (!keepsFlags)
        {
            _w.FlagsToMemory();
            if (IsConstant(instruction, segment, size, store, out ulong linear))
            {
                _locked = false;
                CheckConstant(linear, size, store);
                return false;
            }
        }

        Address(instruction, stackBias);
        if (!keepsFlags)
        {
            if (IsHashed(instruction, size, store))
            {
                _slot = PageSlot.Hashed;
                _base = SlotBase(instruction);
            }

            return Access(segment, size, load, store, false);
        }

        AddSegmentBase(segment);
        CheckKeepingFlags(size, store);
        return false;
    }

    /// <summary>The same for an address that is already in R10, in a segment.</summary>
    internal bool Access(byte segment, int size, bool load, bool store, bool stack)
    {
        bool plain = IsPlain(segment, store);
        if (_w.Is64)
        {
            AddSegmentBase(segment);
            segment = Linear;
        }

        if (!plain)
        {
            Careful(segment, size, load, store, stack);
            return store;
        }

        Check(size, store);
        return false;
    }

    /// <summary>Writes the bounce buffer back after a careful store.</summary>
    internal void Commit()
    {
        _w.FlagsToMemory();
        CallCareful(_w.Thunks.CarefulStore, 0);
    }

    /// <summary>A stack address: R10 = stack pointer + delta, cut to the stack's width.</summary>
    internal void StackAddress(int delta)
    {
        _w.FlagsToMemory();
        _slot = PageSlot.Stack;
        _locked = false;
        bool wide = _w.Is64;
        if (wide && delta == 0)
        {
            _e.Move(HostRegister.Address, HostRegister.GuestRsp);
            return;
        }

        _e.Lea(wide, HostRegister.Address, HostRegister.GuestRsp, -1, 1, delta);
        if (!wide && (_w.Mode & BlockMode.Stack32) == 0)
        {
            ZeroExtend16();
        }
    }

    /// <summary>The frame pointer as a stack address, cut to the stack's width: what LEAVE pops from.</summary>
    internal void FrameAddress()
    {
        _w.FlagsToMemory();
        _slot = PageSlot.Frame;
        _locked = false;
        _e.Lea(_w.Is64, HostRegister.Address, HostRegister.Rbp, -1, 1, 0);
        if (!_w.Is64 && (_w.Mode & BlockMode.Stack32) == 0)
        {
            ZeroExtend16();
        }
    }

    /// <summary>An access at a stack address in R10.</summary>
    internal bool StackAccess(int size, bool load, bool store) => Access(StackSegment, size, load, store, true);

    /// <summary>Moves the stack pointer, cut to the stack's width.</summary>
    internal void StackAdjust(int delta)
    {
        if (!_w.Is64 && (_w.Mode & BlockMode.Stack32) == 0)
        {
            _e.Byte(0x66);
        }

        _e.Lea(_w.Is64, HostRegister.GuestRsp, HostRegister.GuestRsp, -1, 1, delta);
    }

    /// <summary>The effective address of an instruction's memory operand into R10, cut to the address size.</summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="stackBias">Added when the base is the stack pointer (POP computes its operand after the pop).</param>
    internal void Address(in Instruction instruction, int stackBias = 0)
    {
        _slot = PageSlot.Of(instruction);
        _displacement = instruction.MemoryDisplacement64;
        _locked = instruction.IsLocked();
        Register baseRegister = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        if (HasConstantAddress(instruction))
        {
            _e.MoveImmediate(HostRegister.Address, ConstantAddress(instruction));
            return;
        }

        ulong displacement = instruction.MemoryDisplacement64;
        int width = (baseRegister != Register.None ? baseRegister : index).GetSize();
        int host = baseRegister == Register.None ? -1 : Load(baseRegister.GetNumber(), HostRegister.Address);
        int hostIndex = index == Register.None ? -1 : Load(index.GetNumber(), HostRegister.Temp);
        int disp = (int)displacement;
        int bias = baseRegister != Register.None && baseRegister.GetNumber() == 4 ? stackBias : 0;
        if ((long)disp + bias <= int.MaxValue)
        {
            disp += bias;
            bias = 0;
        }

        if (width == 8 && hostIndex < 0 && disp == 0)
        {
            if (host != HostRegister.Address)
            {
                _e.Move(HostRegister.Address, host);
            }

            return;
        }

        _e.Lea(width == 8, HostRegister.Address, host, hostIndex, instruction.MemoryIndexScale, disp);
        if (bias != 0)
        {
            _e.Lea(width == 8, HostRegister.Address, HostRegister.Address, -1, 1, bias);
        }

        if (width == 2)
        {
            ZeroExtend16();
        }
    }

    /// <summary>LEA of a 64-bit address with a base register straight into a host register, of 32 or 64 bits.</summary>
    internal void EmitLea(in Instruction instruction, int destination)
    {
        Register index = instruction.MemoryIndex;
        int host = Load(instruction.MemoryBase.GetNumber(), HostRegister.Address);
        int hostIndex = index == Register.None ? -1 : Load(index.GetNumber(), HostRegister.Temp);
        bool wide = instruction.Op0Register.GetSize() == 8;
        _e.Lea(wide, destination, host, hostIndex, instruction.MemoryIndexScale, (int)instruction.MemoryDisplacement64);
    }

    /// <summary>The number of a segment register in the encoding.</summary>
    internal static byte SegmentOf(Register segment) => segment switch
    {
        Register.ES => 0,
        Register.CS => 1,
        Register.SS => 2,
        Register.FS => 4,
        Register.GS => 5,
        _ => 3,
    };

    /// <summary>Host register of a guest register; a spilled one is loaded into <paramref name="scratch"/>.</summary>
    internal int Load(int guest, int scratch)
    {
        if (guest is >= 9 and <= 11)
        {
            _e.LoadState(scratch, StateLayout.GprSlot(guest));
            return scratch;
        }

        return guest == 4 ? HostRegister.GuestRsp : guest;
    }

    /// <summary>Emits the piece for an access that missed its slot.</summary>
    internal void EmitMiss(in ColdPiece piece)
    {
        _e.Patch(piece.Site);
        if (piece.Number == PageSlot.Constant)
        {
            _e.MoveImmediate(HostRegister.Address, piece.Linear);
        }

        if (!piece.KeepsFlags)
        {
            byte* site = EmitLookup(piece.Store, piece.Number, piece.Size, out byte* from, piece.Linear, piece.Locked);
            *(int*)site = (int)(piece.Back - from);
            return;
        }

        _e.LoadState(HostRegister.Rcx, StateLayout.Scratch1);
        _w.EmitSaveFlags();
        _e.Patch(EmitLookup(piece.Store, piece.Number, piece.Size, out _, 0, piece.Locked));
        _w.AddSideRow(_e.At, piece.GuestOffset, piece.Ahead);
        _w.EmitLoadFlags(false);
        _e.Jump(piece.Back);
    }

    /// <summary>
    /// Looks R10 up and fills a slot (of the hashed ones, the one at R11). Returns where the displacement of the place to go on at stands, and what it counts from.
    /// <code>
    ///   mov  [Scratch1], rax
    ///   mov  rax, slot
    ///   lea  r11, [back]
    ///   jmp  Lookup
    /// </code>
    /// An atomic access over the end of a page asks for more bytes than any plain operand has, and so becomes a careful one: the
    /// host's own LOCK may be refused there (split lock detection).
    /// </summary>
    internal byte* EmitLookup(bool store, int slot, int size, out byte* from, ulong linear = 0, bool locked = false)
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

    /// <summary>True when a load and store through a segment is careful in this mode.</summary>
    internal bool IsAlwaysCareful(Register segment) => !_w.Is64 && !IsFlat(SegmentOf(segment), store: true);

    private static bool HasConstantAddress(in Instruction instruction) =>
        instruction.IsIPRelativeMemoryOperand
        || (instruction.MemoryBase == Register.None && instruction.MemoryIndex == Register.None);

    private static ulong ConstantAddress(in Instruction instruction)
    {
        if (instruction.IsIPRelativeMemoryOperand)
        {
            ulong target = instruction.IPRelativeMemoryAddress;
            return instruction.MemoryBase == Register.EIP ? (uint)target : target;
        }

        ulong displacement = instruction.MemoryDisplacement64;
        return instruction.MemoryDisplSize switch
        {
            2 => (ushort)displacement,
            4 when instruction.CodeSize != CodeSize.Code64 => (uint)displacement,
            _ => displacement,
        };
    }

    // The linear address is known now, and all of the operand is in one page.
    private bool IsConstant(in Instruction instruction, byte segment, int size, bool store, out ulong linear)
    {
        linear = 0;
        if (!_w.Is64 || segment is 4 or 5 || !IsPlain(segment, store) || !Thunks.IsLookedUp(size) || !HasConstantAddress(instruction))
        {
            return false;
        }

        linear = ConstantAddress(instruction);
        return (linear & 0xFFF) + (uint)size <= 4096 && CpuMode.IsCanonical(linear);
    }

    // SDM vol. 3A, "Code- and Data-Segment Descriptor Types": nobody writes to a code segment. C# raises the #GP.
    private bool IsFlat(byte segment, bool store) =>
        (_w.Mode & BlockMode.Flat) != 0 && segment < 4 && !(store && segment == CodeSegment);

    private void ZeroExtend16()
    {
        _e.Bytes(0x45, 0x0F, 0xB7, 0xD2);                       // movzx r10d, r10w
    }

    // The access is at a host address after a check, not bytewise by C#.
    private bool IsPlain(byte segment, bool store) =>
        (_w.Mode & (BlockMode.Careful | BlockMode.AlignmentCheck)) == 0 && (_w.Is64 || IsFlat(segment, store));

    /// <summary>
    /// The check for several words of the stack at once, at R10; where it fails, their instructions are emitted again as a cold
    /// piece.
    /// </summary>
    internal void CheckRun(int count, bool store, int first, out int piece)
    {
        byte* miss = CompareWithSlot(8 * count, store);
        _w.AddSideRow(_e.At);
        piece = _w.AddCold(new ColdPiece
        {
            Kind = ColdKind.StackRun,
            Site = miss,
            Size = (ushort)count,
            Number = first,
            GuestOffset = (ushort)_w.GuestOffset,
        });
    }

    // FS and GS have a base in 64-bit mode. Does not touch the flags.
    private void AddSegmentBase(byte segment)
    {
        if (segment is not (4 or 5) || !_w.Is64)
        {
            return;
        }

        _slot = PageSlot.OfThread(segment, _displacement);
        _e.LoadState(HostRegister.Temp, StateLayout.SegmentBase(segment));
        _e.Lea(true, HostRegister.Address, HostRegister.Address, HostRegister.Temp, 1, 0);
    }

    // A pointer leads to another page each time, so one slot for its register would miss; and an array among a function's locals
    // may reach out of the stack's page. The flags are in the state.
    private bool IsHashed(in Instruction instruction, int size, bool store)
    {
        if (!Thunks.IsLookedUp(size))
        {
            return false;
        }

        // A table's own address is its displacement. There are too many tables for one slot for each register.
        if (instruction.MemoryBase == Register.None)
        {
            return instruction.MemoryIndex.IsGPR64() && !_w.Loop.IsLoop;
        }

        if (!instruction.MemoryBase.IsGPR64())
        {
            return false;
        }

        return instruction.MemoryBase == Register.RSP
            ? instruction.MemoryIndex != Register.None
            : !_w.Loop.StaysInPage(instruction, store);
    }

    // Near a base register the slot may be the one that the register chooses, which is known sooner: what is in it, the tag says.
    private static int SlotBase(in Instruction instruction)
    {
        int guest = instruction.MemoryBase.GetNumber();
        bool near = (long)instruction.MemoryDisplacement64 is > -NearBase and < NearBase;
        return instruction.MemoryIndex == Register.None && instruction.MemoryBase.IsGPR64() && near && guest is not (4 or (>= 9 and <= 11))
            ? guest
            : HostRegister.Address;
    }

    private void Check(int size, bool store)
    {
        if (_slot == PageSlot.Hashed)
        {
            CheckHashed(size, store);
            return;
        }

        Checked(CompareWithSlot(size, store), size, store, false);
    }

    private byte* CompareWithSlot(int size, bool store)
    {
        int slot = StateLayout.Slot(_w.IsUser, store, _slot);
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
            _e.Bytes(0xC4, (byte)(_base >= 8 ? 0x43 : 0x63), 0xFB, 0xF0);   // rorx r11, base, 8
            _e.Bytes((byte)(0xD8 | (_base & 7)), 0x08);
        }
        else
        {
            _e.Move(HostRegister.Temp, _base);
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

    private void CheckConstant(ulong linear, int size, bool store)
    {
        int slot = StateLayout.HashedFor(_w.IsUser, store, linear);
        ulong page = linear & ~0xFFFUL;
        if ((long)page == (int)page)
        {
            _e.State(true, 0x81, 7, slot);                      // cmp [slot.Tag], imm32
            _e.Int32((int)page);
        }
        else
        {
            _e.MoveImmediate(HostRegister.Temp, page);
            _e.State(true, 0x39, HostRegister.Temp, slot);
        }

        byte* miss = _e.JumpForward(5);
        _e.LoadState(HostRegister.Address, slot + 8);
        if (linear != page)
        {
            _e.Lea(true, HostRegister.Address, HostRegister.Address, -1, 1, (int)(linear - page));
        }

        _slot = PageSlot.Constant;
        Checked(miss, size, store, false, linear);
    }

    private void CheckKeepingFlags(int size, bool store)
    {
        int slot = StateLayout.Slot(_w.IsUser, store, _slot);
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
        _e.Int32((int)(_w.Thunks.PageMask - (_e.At + 4)));
        if (size > 1)
        {
            _e.Bytes(0xC4, 0x62, 0xA2, 0xF5);                   // pext r11, r11, [rip+mask]
            _e.Byte(0x1D);
            _e.Int32((int)(_w.Thunks.PageMask - (_e.At + 4)));
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

    private void Checked(byte* miss, int size, bool store, bool keepsFlags, ulong linear = 0)
    {
        byte* back = _e.At;
        _w.AddSideRow(back, keepsFlags);
        _w.AddCold(new ColdPiece
        {
            Kind = ColdKind.TlbMiss,
            Site = miss,
            Back = back,
            Size = (ushort)size,
            Store = store,
            Number = _slot,
            Locked = _locked,
            KeepsFlags = keepsFlags,
            Linear = linear,
            GuestOffset = (ushort)_w.GuestOffset,
        });
    }

    private void Careful(byte segment, int size, bool load, bool store, bool stack)
    {
        int site = _w.Cache.CarefulSites.Add(new CarefulSite
        {
            Size = (ushort)size,
            Segment = segment,
            Load = load,
            ForStore = store,
            Stack = stack,
        });
        CallCareful(_w.Thunks.CarefulLoad, site);
    }

    private void CallCareful(byte* thunk, int site)
    {
        _w.NoteAhead();
        _e.StoreStateInt32(StateLayout.ExitOperand, site);
        _e.Bytes(0x4C, 0x8D, 0x1D);                             // lea r11, [rip+5]
        _e.Int32(5);
        _e.Jump(thunk);
        _w.AddSideRow(_e.At);
    }
}
