using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>Why generated code was left; <see cref="CpuState.ExitReason"/>.</summary>
internal enum ExitReason : ulong
{
    /// <summary>RIP is written: find the next block.</summary>
    Dispatch = 0,

    /// <summary>A direct jump that has no target yet; ExitOperand is the link.</summary>
    Link = 1,

    /// <summary>An assist changed RIP or the mode.</summary>
    AssistJump = 2,

    /// <summary><see cref="SoftVcpu.Pending"/> holds an exception; RIP is at the instruction.</summary>
    Fault = 3,

    /// <summary>HLT.</summary>
    Halt = 4,

    /// <summary>The instruction at RIP is to be run with careful memory accesses.</summary>
    Careful = 5,

    /// <summary>The host raised an exception in generated code: FaultPc, FaultSignal (trap number), Scratch1 (flags), Scratch0 (R10).</summary>
    HostFault = 6,

    /// <summary>Deterministic mode: the block at RIP has more instructions than may run.</summary>
    Budget = 7,

    /// <summary>A branch whose target may not be canonical: RIP is its target, ExitOperand its own rip.</summary>
    Branch = 8,
}

/// <summary>
/// The fixed pieces of generated code: the way in, the way out, and the doors to C#. Guest state is canonical at each
/// door: registers hold what they held before the guest instruction.
/// </summary>
internal sealed unsafe class Thunks
{
    private static readonly int[] Volatile = [0, 1, 2, 6, 7, 8];
    private readonly Emitter _e;
    private readonly bool _avx;
    private readonly byte*[] _slow = new byte*[2 * SizeCount];
    private readonly byte*[] _lookup = new byte*[8 * LookedUpSizes];

    private const int SizeCount = 8;
    private const int LookedUpSizes = 6;

    /// <summary>Emits all thunks at the emitter's position.</summary>
    /// <param name="e">The emitter.</param>
    /// <param name="avx">The host has AVX and guests may use it.</param>
    /// <param name="fastPext">The host has BMI2, not in microcode.</param>
    internal Thunks(Emitter e, bool avx, bool fastPext)
    {
        _e = e;
        _avx = avx;
        CanKeepFlags = fastPext;
        DefaultMxcsr = e.At;
        e.Int32(0x1F80);
        e.Int32(0);
        PageMask = e.At;
        e.Int64(~0xFFFUL);
        Enter = EmitEnter();
        Exit = EmitExit(out byte* tail);
        ExitTail = tail;
        LinkExit = EmitReasonExit(ExitReason.Link);
        DispatchExit = EmitReasonExit(ExitReason.Dispatch);
        BranchExit = e.At;
        e.StoreState(StateLayout.Rip, HostRegister.Address);
        e.StoreState(StateLayout.ExitOperand, HostRegister.Temp);
        EmitReasonExit(ExitReason.Branch);
        BudgetExit = EmitReasonExit(ExitReason.Budget);
        HostFault = EmitHostFault();
        Assist = EmitAssist();
        Calls = new SystemCallThunks(e, Assist, DispatchExit);
        InterruptReturn = new InterruptReturnThunk(e, Calls, Assist, DispatchExit).Code;
        CloseUserPages = EmitCloseUserPages();
        CarefulLoad = EmitCareful((nint)(delegate* unmanaged<CpuState*, ulong, ulong, ulong, ulong>)&Assists.CarefulLoad);
        CarefulStore = EmitCareful((nint)(delegate* unmanaged<CpuState*, ulong, ulong, ulong, ulong>)&Assists.CarefulStore);
        for (int size = 0; size < SizeCount; size++)
        {
            _slow[size] = EmitSlow(SizeAt(size), false);
            _slow[SizeCount + size] = EmitSlow(SizeAt(size), true);
        }

        AtomicAcross = e.At;
        e.LoadState(HostRegister.Rax, StateLayout.Scratch1);
        e.Jump(Slow(SizeAt(SizeCount - 1), true));
        for (int i = 0; i < _lookup.Length; i++)
        {
            int kind = i / LookedUpSizes;
            _lookup[i] = EmitLookup((kind & 2) != 0, (kind & 1) != 0, SizeAt(i % LookedUpSizes), kind >= 4);
        }
    }

    /// <summary>void Enter(CpuState*, byte* code): runs guest code until something leaves it.</summary>
    internal byte* Enter { get; }

    /// <summary>Leaves with all guest registers still in host registers; ExitReason is set.</summary>
    internal byte* Exit { get; }

    /// <summary>Leaves with all guest registers already in the state.</summary>
    internal byte* ExitTail { get; }

    /// <summary>Leaves for a link; ExitOperand is set.</summary>
    internal byte* LinkExit { get; }

    /// <summary>Leaves for the block at RIP.</summary>
    internal byte* DispatchExit { get; }

    /// <summary>The same for a branch whose target may not be canonical: R10 is the target, R11 the branch's own rip.</summary>
    internal byte* BranchExit { get; }

    /// <summary>Leaves because the block at RIP is longer than the budget.</summary>
    internal byte* BudgetExit { get; }

    /// <summary>Where the signal handler resumes.</summary>
    internal byte* HostFault { get; }

    /// <summary>Runs an assist: ExitOperand is the record's number, R11 where to go on.</summary>
    internal byte* Assist { get; }

    /// <summary>SYSCALL and SYSRET.</summary>
    internal SystemCallThunks Calls { get; }

    /// <summary>IRETQ, see <see cref="InterruptReturnThunk"/>.</summary>
    internal byte* InterruptReturn { get; }

    /// <summary>CLAC: empties the slots in UserPageSlots. R11 where to go on; flags in the state.</summary>
    internal byte* CloseUserPages { get; }

    /// <summary>Copies a memory operand to the bounce buffer: R10 linear (or offset), ExitOperand the site, R11 where to go on.</summary>
    internal byte* CarefulLoad { get; }

    /// <summary>Copies the bounce buffer to memory; same arguments.</summary>
    internal byte* CarefulStore { get; }

    /// <summary>Instead of <see cref="Lookup"/> for an atomic access that lies in two pages: leaves for a careful one.</summary>
    internal byte* AtomicAcross { get; }

    /// <summary>The MXCSR of managed code: all exceptions masked, round to nearest.</summary>
    internal byte* DefaultMxcsr { get; }

    /// <summary>~0xFFF, in memory.</summary>
    internal byte* PageMask { get; }

    /// <summary>Checks may use PEXT, to leave the flags alone.</summary>
    internal bool CanKeepFlags { get; }

    /// <summary>True for the sizes that <see cref="Lookup"/> looks up.</summary>
    internal static bool IsLookedUp(int size) => IndexOfSize(size) < LookedUpSizes;

    /// <summary>The door for an access that missed the inline TLB: R10 linear, R11 where to go on; R10 becomes the host address.</summary>
    internal byte* Slow(int size, bool store) => _slow[(store ? SizeCount : 0) + IndexOfSize(size)];

    /// <summary>
    /// The same for an access that missed its page slot: looks into the inline TLB and fills the slot, whose distance from RSP
    /// is in RAX, the guest's being in Scratch1. Seldom sizes go to C# at once, with the guest's RAX in place.
    /// </summary>
    /// <param name="user">The user's tables.</param>
    /// <param name="store">A store.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="hashed">The slot is one that the address chose: its second word is the host page.</param>
    internal byte* Lookup(bool user, bool store, int size, bool hashed)
    {
        int kind = (user ? 2 : 0) + (store ? 1 : 0) + (hashed ? 4 : 0);
        return IsLookedUp(size)
            ? _lookup[(kind * LookedUpSizes) + IndexOfSize(size)]
            : Slow(size, store);
    }

    private static int IndexOfSize(int size) => size switch
    {
        1 => 0,
        2 => 1,
        4 => 2,
        8 => 3,
        16 => 4,
        32 => 5,
        10 => 6,
        _ => 7,
    };

    // The last stands for sizes that always take the careful path when they may cross a page.
    private static int SizeAt(int index) => index switch { 0 => 1, 1 => 2, 2 => 4, 3 => 8, 4 => 16, 5 => 32, 6 => 10, _ => 64 };

    private byte* EmitEnter()
    {
        byte* start = _e.At;
        _e.Bytes(0x53, 0x55);                                   // push rbx; push rbp
        _e.Bytes(0x41, 0x54, 0x41, 0x55);                       // push r12; push r13
        _e.Bytes(0x41, 0x56, 0x41, 0x57);                       // push r14; push r15
        _e.Bytes(0x48, 0x83, 0xEC, 0x08);                       // sub rsp, 8
        _e.Mem(true, 0x89, HostRegister.Rsp, HostRegister.Rdi, StateLayout.HostRsp);
        _e.Lea(true, HostRegister.Rsp, HostRegister.Rdi, -1, 1, StateLayout.PointerBias);
        _e.StoreState(StateLayout.Scratch1, HostRegister.Rsi);
        LoadVector();
        LoadGeneral();
        _e.State(false, 0xFF, 4, StateLayout.Scratch1);         // jmp [rsp+Scratch1]
        return start;
    }

    private byte* EmitExit(out byte* tail)
    {
        byte* start = _e.At;
        SaveGeneral();
        SaveVector();
        tail = _e.At;
        if (_avx)
        {
            _e.Bytes(0xC5, 0xF8, 0x77);                         // vzeroupper
        }

        RestoreHostMxcsr();
        _e.LoadState(HostRegister.Rsp, StateLayout.HostRsp);
        _e.Bytes(0x48, 0x83, 0xC4, 0x08);                       // add rsp, 8
        _e.Bytes(0x41, 0x5F, 0x41, 0x5E);
        _e.Bytes(0x41, 0x5D, 0x41, 0x5C);
        _e.Bytes(0x5D, 0x5B, 0xC3);
        return start;
    }

    private byte* EmitReasonExit(ExitReason reason)
    {
        byte* start = _e.At;
        _e.StoreStateInt32(StateLayout.ExitReason, (int)reason);
        _e.Jump(Exit);
        return start;
    }

    private byte* EmitHostFault()
    {
        byte* start = _e.At;
        _e.Lea(true, HostRegister.Rsp, HostRegister.Rsp, -1, 1, -StateLayout.PointerBias);
        _e.Bytes(0x9C, 0x41, 0x5B);                             // pushfq; pop r11: not over the slots
        _e.Lea(true, HostRegister.Rsp, HostRegister.Rsp, -1, 1, StateLayout.PointerBias);
        _e.StoreState(StateLayout.Scratch1, HostRegister.Temp);
        _e.StoreState(StateLayout.Scratch0, HostRegister.Address);
        _e.StoreStateInt32(StateLayout.ExitReason, (int)ExitReason.HostFault);
        _e.Jump(Exit);
        return start;
    }

    private byte* EmitAssist()
    {
        byte* start = _e.At;
        _e.StoreState(StateLayout.Scratch2, HostRegister.Temp);
        SaveGeneral();
        SaveVector();
        CallManaged((nint)(delegate* unmanaged<CpuState*, ulong>)&Assists.Run);
        _e.Reg(true, 0x85, HostRegister.Rax, HostRegister.Rax);
        byte* leave = _e.JumpForward(5);
        LoadVector();
        LoadGeneral();
        _e.State(false, 0xFF, 4, StateLayout.Scratch2);
        _e.Patch(leave);
        _e.Jump(ExitTail);
        return start;
    }

    private byte* EmitSlow(int size, bool store)
    {
        byte* start = _e.At;
        _e.StoreState(StateLayout.Scratch2, HostRegister.Temp);
        SaveVolatile();
        _e.Move(HostRegister.Rsi, HostRegister.Address);
        _e.MoveImmediate(HostRegister.Rdx, (ulong)(size | (store ? 0x100 : 0)));
        _e.Move(HostRegister.Rcx, HostRegister.Temp);
        CallManaged((nint)(delegate* unmanaged<CpuState*, ulong, ulong, ulong, ulong>)&Assists.MemorySlow);
        ResumeOrLeave();
        return start;
    }

    // The slots lie in the order of the bits: the supervisor's loads, then its stores.
    private byte* EmitCloseUserPages()
    {
        byte* start = _e.At;
        _e.StoreState(StateLayout.Scratch2, HostRegister.Temp);
        _e.StoreState(StateLayout.Scratch1, HostRegister.Rax);
        _e.LoadState(HostRegister.Address, StateLayout.UserPageSlots);
        _e.MoveImmediate(HostRegister.Rax, 1UL << 63);          // no canonical page
        byte* next = _e.At;
        _e.Reg(true, 0x0FBC, HostRegister.Temp, HostRegister.Address);  // bsf r11, r10
        _e.Reg(true, 0x0FB3, HostRegister.Temp, HostRegister.Address);  // btr r10, r11
        _e.Bytes(0x41, 0xC1, 0xE3, 0x04);                       // shl r11d, 4
        _e.Table(0x89, HostRegister.Rax, HostRegister.Temp, StateLayout.Slot(false, false, 0));
        _e.Reg(true, 0x85, HostRegister.Address, HostRegister.Address);
        _e.JumpBack(5, next);
        _e.StoreState(StateLayout.UserPageSlots, HostRegister.Address);
        _e.LoadState(HostRegister.Rax, StateLayout.Scratch1);
        _e.State(false, 0xFF, 4, StateLayout.Scratch2);         // jmp [Scratch2]
        return start;
    }

    // R10 linear, R11 where to go on, RAX the slot less RSP with the guest's in Scratch1. See MemoryLowering for the check,
    // StateLayout.TlbSet for the hash.
    private byte* EmitLookup(bool user, bool store, int size, bool hashed)
    {
        byte* start = _e.At;
        int table = StateLayout.Tlb(user, store);
        _e.StoreState(StateLayout.Scratch2, HostRegister.Temp);
        _e.StoreState(StateLayout.Scratch3, HostRegister.Rcx);
        _e.State(true, 0xFF, 0, StateLayout.SlotMisses);        // inc qword [SlotMisses]
        _e.Move(HostRegister.Rcx, HostRegister.Address);
        _e.Bytes(0x48, 0xC1, 0xE9, 0x0C);                       // shr rcx, 12
        _e.Move(HostRegister.Temp, HostRegister.Rcx);
        _e.Bytes(0x49, 0xC1, 0xEB, 0x0A);                       // shr r11, 10
        _e.Reg(false, 0x31, HostRegister.Temp, HostRegister.Rcx);
        _e.Bytes(0x81, 0xE1);                                   // and ecx, imm32
        _e.Int32(StateLayout.TlbSets - 1);
        _e.Bytes(0xC1, 0xE1, 0x05);                             // shl ecx, 5
        for (int way = 0; way < 2; way++)
        {
            byte* miss = EmitWay(table + (way * 16), size, user, store, false, hashed);
            _e.Patch(miss);
        }

        if (!user)
        {
            EmitLookupWithAc(store, size, hashed);
        }

        _e.LoadState(HostRegister.Rax, StateLayout.Scratch1);
        _e.LoadState(HostRegister.Rcx, StateLayout.Scratch3);
        _e.LoadState(HostRegister.Temp, StateLayout.Scratch2);
        _e.Jump(Slow(size, store));
        return start;
    }

    // While AC is set the supervisor may do what the user may; its slot is noted for CLAC, or not filled.
    private void EmitLookupWithAc(bool store, int size, bool hashed)
    {
        _e.State(false, 0xF6, 0, StateLayout.SystemFlags + 2);  // test byte [SystemFlags+2], AC
        _e.Byte((int)(Rflags.Ac >> 16));
        byte* closed = _e.JumpForward(4);
        for (int way = 0; way < 2; way++)
        {
            byte* miss = EmitWay(StateLayout.Tlb(true, store) + (way * 16), size, false, store, true, hashed);
            _e.Patch(miss);
        }

        _e.Patch(closed);
    }

    // Goes on behind with the slot filled when the entry at RCX hits; returns the jump that is taken when it does not.
    private byte* EmitWay(int entry, int size, bool user, bool store, bool isUserPage, bool hashed)
    {
        _e.Move(HostRegister.Temp, HostRegister.Address);
        _e.Table(0x33, HostRegister.Temp, HostRegister.Rcx, entry);
        _e.Bytes(0x49, 0x81, 0xFB);                             // cmp r11, imm32
        _e.Int32(4096 - size);
        byte* miss = _e.JumpForward(7);                         // ja

        if (isUserPage && hashed)
        {
            _e.Table(0x03, HostRegister.Address, HostRegister.Rcx, entry + 8);
            EmitResume();
            return miss;
        }

        // The tag from what was compared: another vCPU may have taken the entry away since. It leaves the addend alone.
        _e.Reg(true, 0x31, HostRegister.Address, HostRegister.Temp);
        if (hashed)
        {
            _e.Table(0x03, HostRegister.Address, HostRegister.Rcx, entry + 8);
            MarkHashed(user, store);
            _e.Table(0x89, HostRegister.Temp, HostRegister.Rax, StateLayout.PointerBias);
            _e.Move(HostRegister.Temp, HostRegister.Address);
            _e.Bytes(0x49, 0x81, 0xE3);                         // and r11, ~0xFFF
            _e.Int32(~0xFFF);
            _e.Table(0x89, HostRegister.Temp, HostRegister.Rax, StateLayout.PointerBias + 8);
        }
        else
        {
            _e.Table(0x89, HostRegister.Temp, HostRegister.Rax, StateLayout.PointerBias);
            _e.Table(0x8B, HostRegister.Temp, HostRegister.Rcx, entry + 8);
            _e.Table(0x89, HostRegister.Temp, HostRegister.Rax, StateLayout.PointerBias + 8);
            _e.Reg(true, 0x01, HostRegister.Temp, HostRegister.Address);
        }

        if (isUserPage)
        {
            // The slots lie in the order of the bits: the supervisor's loads, then its stores.
            _e.Lea(true, HostRegister.Rcx, HostRegister.Rax, -1, 1, StateLayout.PointerBias - StateLayout.SlotBase);
            _e.Bytes(0xC1, 0xE9, 0x04);                         // shr ecx, 4
            _e.LoadState(HostRegister.Temp, StateLayout.UserPageSlots);
            _e.Reg(true, 0x0FAB, HostRegister.Rcx, HostRegister.Temp);  // bts r11, rcx
            _e.StoreState(StateLayout.UserPageSlots, HostRegister.Temp);
        }

        EmitResume();
        return miss;
    }

    // The group of the slot at RAX is in use. RCX is lost.
    private void MarkHashed(bool user, bool store)
    {
        _e.Lea(false, HostRegister.Rcx, HostRegister.Rax, -1, 1, StateLayout.PointerBias - StateLayout.Hashed(user, store));
        _e.Bytes(0xC1, 0xE9, 0x08);                             // shr ecx, 8
        _e.Bytes(0xC6, 0x84, 0x0C);                             // mov byte [rsp + rcx + disp32], 1
        _e.Int32(StateLayout.HashedMark(user, store) - StateLayout.PointerBias);
        _e.Byte(1);
    }

    private void EmitResume()
    {
        _e.LoadState(HostRegister.Rax, StateLayout.Scratch1);
        _e.LoadState(HostRegister.Rcx, StateLayout.Scratch3);
        ClearTemp();
        _e.State(false, 0xFF, 4, StateLayout.Scratch2);         // jmp [Scratch2]
    }

    // The operand is at R10 + R11 for some, at R10 for the others.
    private void ClearTemp() => _e.Reg(false, 0x31, HostRegister.Temp, HostRegister.Temp);

    private byte* EmitCareful(nint target)
    {
        byte* start = _e.At;
        _e.StoreState(StateLayout.Scratch2, HostRegister.Temp);
        SaveVolatile();
        _e.Move(HostRegister.Rsi, HostRegister.Address);
        _e.LoadState(HostRegister.Rdx, StateLayout.ExitOperand);
        _e.Move(HostRegister.Rcx, HostRegister.Temp);
        CallManaged(target);
        ResumeOrLeave();
        return start;
    }

    // RAX is the host address of the operand, or 0: leave for the reason that the callee has written.
    private void ResumeOrLeave()
    {
        _e.Reg(true, 0x85, HostRegister.Rax, HostRegister.Rax);
        byte* leave = _e.JumpForward(4);
        _e.Move(HostRegister.Address, HostRegister.Rax);
        LoadVector();
        foreach (int register in Volatile)
        {
            _e.LoadState(register, StateLayout.GprSlot(register));
        }

        _e.LoadState(HostRegister.GuestRsp, StateLayout.GprSlot(4));
        _e.LoadState(HostRegister.Rbx, StateLayout.GprSlot(3));
        ClearTemp();
        _e.State(false, 0xFF, 4, StateLayout.Scratch2);
        _e.Patch(leave);
        _e.StoreState(StateLayout.GprSlot(5), HostRegister.Rbp);
        for (int register = 12; register < 16; register++)
        {
            _e.StoreState(StateLayout.GprSlot(register), register);
        }

        _e.Jump(ExitTail);
    }

    private void SaveVolatile()
    {
        foreach (int register in Volatile)
        {
            _e.StoreState(StateLayout.GprSlot(register), register);
        }

        _e.StoreState(StateLayout.GprSlot(4), HostRegister.GuestRsp);
        _e.StoreState(StateLayout.GprSlot(3), HostRegister.Rbx);
        SaveVector();
    }

    // RBX keeps the state across the call; the guest's RBX is in its slot.
    private void CallManaged(nint target)
    {
        RestoreHostMxcsr();
        if (_avx)
        {
            _e.Bytes(0xC5, 0xF8, 0x77);
        }

        _e.Lea(true, HostRegister.Rdi, HostRegister.Rsp, -1, 1, -StateLayout.PointerBias);
        _e.Move(HostRegister.Rbx, HostRegister.Rsp);
        _e.LoadState(HostRegister.Rsp, StateLayout.HostRsp);
        _e.MoveImmediate(HostRegister.Rax, (ulong)target);
        _e.Bytes(0xFF, 0xD0);                                   // call rax
        _e.Move(HostRegister.Rsp, HostRegister.Rbx);
    }

    private void SaveGeneral()
    {
        for (int register = 0; register < 16; register++)
        {
            if (register is 4)
            {
                _e.StoreState(StateLayout.GprSlot(4), HostRegister.GuestRsp);
            }
            else if (register is < 9 or > 11)
            {
                _e.StoreState(StateLayout.GprSlot(register), register);
            }
        }
    }

    private void LoadGeneral()
    {
        for (int register = 0; register < 16; register++)
        {
            if (register is 4)
            {
                _e.LoadState(HostRegister.GuestRsp, StateLayout.GprSlot(4));
            }
            else if (register is < 9 or > 11)
            {
                _e.LoadState(register, StateLayout.GprSlot(register));
            }
        }
    }

    private void SaveVector()
    {
        _e.State(false, 0x0FAE, 3, StateLayout.Mxcsr);          // stmxcsr
        for (int i = 0; i < 16; i++)
        {
            _e.State(false, 0x0F11, i, StateLayout.Xmm + (16 * i));
        }

        if (_avx)
        {
            byte* clean = SkipIfClean();
            for (int i = 0; i < 16; i++)
            {
                HighHalf(0x19, i);                              // vextractf128 [m], ymm, 1
            }

            _e.Patch(clean);
        }
    }

    private void LoadVector()
    {
        _e.State(false, 0x0FAE, 2, StateLayout.Mxcsr);          // ldmxcsr
        for (int i = 0; i < 16; i++)
        {
            LowHalf(i);
        }

        if (_avx)
        {
            byte* clean = SkipIfClean();
            for (int i = 0; i < 16; i++)
            {
                HighHalf(0x18, i);                              // vinsertf128 ymm, ymm, [m], 1
            }

            _e.Patch(clean);
        }
    }

    private byte* SkipIfClean()
    {
        _e.State(false, 0x83, 7, StateLayout.YmmDirty);         // cmp dword [rsp+YmmDirty], 0
        _e.Byte(0);
        return _e.JumpForward(4);
    }

    // MOVUPS leaves the upper half alone, which C# may have used; VEX.128.0F.WIG 10 /r clears it.
    private void LowHalf(int register)
    {
        if (!_avx)
        {
            _e.State(false, 0x0F10, register, StateLayout.Xmm + (16 * register));
            return;
        }

        _e.Bytes(0xC5, (byte)(0x78 | (register < 8 ? 0x80 : 0)), 0x10, (byte)(0x84 | ((register & 7) << 3)));
        _e.Byte(0x24);
        _e.Int32(StateLayout.Xmm + (16 * register) - StateLayout.PointerBias);
    }

    // VEX.256.66.0F3A.W0 18/19 /r ib with [rsp+disp32]; vvvv is the register itself for the insert, unused else.
    private void HighHalf(int opcode, int register)
    {
        int vvvv = opcode == 0x18 ? (~register & 15) << 3 : 0x78;
        _e.Bytes(0xC4, (byte)(0x63 | (register < 8 ? 0x80 : 0)), (byte)(vvvv | 5), (byte)opcode);
        _e.Bytes((byte)(0x84 | ((register & 7) << 3)), 0x24);
        _e.Int32(StateLayout.YmmHigh + (16 * register) - StateLayout.PointerBias);
        _e.Byte(1);
    }

    private void RestoreHostMxcsr()
    {
        _e.Bytes(0x0F, 0xAE, 0x15);                             // ldmxcsr [rip+disp]
        _e.Int32((int)(DefaultMxcsr - (_e.At + 4)));
    }
}
