using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>
/// The fixed pieces of generated code: the way in, the way out, and the doors to C#. Guest state is canonical at each
/// door: registers hold what they held before the guest instruction.
/// </summary>
internal sealed unsafe class Thunks
{
    private readonly Emitter _e;
    private readonly DoorRegisters _registers;
    private readonly SlowThunks _slow;
    private readonly LookupThunks _lookup;

    /// <summary>Emits all thunks at the emitter's position.</summary>
    /// <param name="e">The emitter.</param>
    /// <param name="avx">The host has AVX and guests may use it.</param>
    /// <param name="fastPext">The host has BMI2, not in microcode.</param>
    internal Thunks(Emitter e, bool avx, bool fastPext)
    {
        _e = e;
        CanKeepFlags = fastPext;
        _registers = new DoorRegisters(e, avx);
        PageMask = e.At;
        e.Int64(~0xFFFUL);
        RegionMask = e.At;
        e.Int64((1UL << 47) - (1UL << StateLayout.RegionBits));
        Enter = EmitEnter(false);
        Resume = EmitEnter(true);
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
        _slow = new SlowThunks(e, _registers, ExitTail);
        AtomicAcross = e.At;
        e.LoadState(HostRegister.Rax, StateLayout.Scratch1);
        e.Jump(_slow.Of(AccessSizes.At(AccessSizes.Count - 1), true));
        _lookup = new LookupThunks(e, _slow);
    }

    /// <summary>void Enter(CpuState*, byte* code): runs guest code until something leaves it.</summary>
    internal byte* Enter { get; }

    /// <summary>void Resume(CpuState*): goes on at the instruction that <see cref="HostFault"/> came from, with all as it was.</summary>
    internal byte* Resume { get; }

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
    internal byte* CarefulLoad => _slow.CarefulLoad;

    /// <summary>Copies the bounce buffer to memory; same arguments.</summary>
    internal byte* CarefulStore => _slow.CarefulStore;

    /// <summary>Instead of <see cref="Lookup"/> for an atomic access that lies in two pages: leaves for a careful one.</summary>
    internal byte* AtomicAcross { get; }

    /// <summary>~0xFFF, in memory.</summary>
    internal byte* PageMask { get; }

    /// <summary>The bits of an address that choose its region, in memory.</summary>
    internal byte* RegionMask { get; }

    /// <summary>Checks may use PEXT, to leave the flags alone.</summary>
    internal bool CanKeepFlags { get; }

    /// <summary>True for the sizes that <see cref="Lookup"/> looks up.</summary>
    internal static bool IsLookedUp(int size) => AccessSizes.IndexOf(size) < AccessSizes.LookedUp;

    /// <summary>The door for an access that missed the inline TLB: R10 linear, R11 where to go on; R10 becomes the host address.</summary>
    internal byte* Slow(int size, bool store) => _slow.Of(size, store);

    /// <summary>
    /// The same for an access that missed its page slot: looks into the inline TLB and fills the slot, whose distance from RSP
    /// is in RAX, the guest's being in Scratch1. Seldom sizes go to C# at once, with the guest's RAX in place.
    /// </summary>
    /// <param name="user">The user's tables.</param>
    /// <param name="store">A store.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="hashed">The slot is one that the address chose: its second word is the host page.</param>
    internal byte* Lookup(bool user, bool store, int size, bool hashed) =>
        IsLookedUp(size) ? _lookup.Of(user, store, size, hashed) : _slow.Of(size, store);

    private byte* EmitEnter(bool resume)
    {
        byte* start = _e.At;
        _e.Bytes(0x53, 0x55);                                   // push rbx; push rbp
        _e.Bytes(0x41, 0x54, 0x41, 0x55);                       // push r12; push r13
        _e.Bytes(0x41, 0x56, 0x41, 0x57);                       // push r14; push r15
        _e.Bytes(0x48, 0x83, 0xEC, 0x08);                       // sub rsp, 8
        _e.Mem(true, 0x89, HostRegister.Rsp, HostRegister.Rdi, StateLayout.HostRsp);
        _e.Lea(true, HostRegister.Rsp, HostRegister.Rdi, -1, 1, StateLayout.PointerBias);
        if (resume)
        {
            _registers.LoadVector();
            _registers.LoadGeneral();
            _e.LoadState(HostRegister.Temp, StateLayout.Scratch1);
            _e.Lea(true, HostRegister.Rsp, HostRegister.Rsp, -1, 1, -StateLayout.PointerBias);
            _e.Bytes(0x41, 0x53, 0x9D);                         // push r11; popfq
            _e.Lea(true, HostRegister.Rsp, HostRegister.Rsp, -1, 1, StateLayout.PointerBias);
            _e.LoadState(HostRegister.Temp, StateLayout.FaultTemp);
            _e.LoadState(HostRegister.Address, StateLayout.Scratch0);
            _e.State(false, 0xFF, 4, StateLayout.FaultPc);      // jmp [rsp+FaultPc]
            return start;
        }

        _e.StoreState(StateLayout.Scratch1, HostRegister.Rsi);
        _registers.LoadVector();
        _registers.LoadGeneral();
        _e.State(false, 0xFF, 4, StateLayout.Scratch1);         // jmp [rsp+Scratch1]
        return start;
    }

    private byte* EmitExit(out byte* tail)
    {
        byte* start = _e.At;
        _registers.SaveGeneral();
        _registers.SaveVector();
        tail = _e.At;
        _registers.ClearUpper();
        _registers.RestoreHostMxcsr();
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
        _e.StoreState(StateLayout.FaultTemp, HostRegister.Temp);
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
        _registers.SaveGeneral();
        _registers.SaveVector();
        _registers.CallManaged((nint)(delegate* unmanaged<CpuState*, ulong>)&Assists.Run);
        _e.Reg(true, 0x85, HostRegister.Rax, HostRegister.Rax);
        byte* leave = _e.JumpForward(5);
        _registers.LoadVector();
        _registers.LoadGeneral();
        _e.State(false, 0xFF, 4, StateLayout.Scratch2);
        _e.Patch(leave);
        _e.Jump(ExitTail);
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
}
