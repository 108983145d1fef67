using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>
/// IRETQ from 64-bit supervisor code to flat 64-bit code of level 0 or 3, without C#: what
/// <see cref="Assist.InterruptReturn"/> does, where nothing is unusual. The frame lies in the page of the stack's slot, the
/// descriptors in the page of a slot of their own, which the assist fills; they are read each time. SDM vol. 2A, "IRETQ".
/// </summary>
internal sealed unsafe class InterruptReturnThunk
{
    private const int Rip = HostRegister.Rax;
    private const int Cs = HostRegister.Rcx;
    private const int Flags = HostRegister.Rdx;
    private const int Ss = HostRegister.Rbx;
    private const int R10 = HostRegister.Address;
    private const int R11 = HostRegister.Temp;
    private const int FrameBytes = 40;
    private const int NotEqual = 5;
    private const int Equal = 4;
    private const int Above = 7;

    // Flat descriptors of level 0, present and accessed: what 64-bit systems have.
    private const ulong CodeDescriptor = 0x00AF_9B00_0000_FFFF;
    private const ulong DataDescriptor = 0x00CF_9300_0000_FFFF;
    private const ulong DescriptorLevel3 = 3UL << 45;
    private const ulong NullStack = (ulong)SegmentAttributes.Unusable << 32;

    // The bits of the popped flags that are taken. TF and AC go to the assist; RF matters to the run loop only.
    private const ulong TakenFlags = CpuState.ArithmeticMask | Rflags.If | Rflags.Df
        | (CpuState.SystemMask & ~(Rflags.Vm | Rflags.Rf | Rflags.Tf | Rflags.Ac));

    private static readonly int[] Spilled = [Rip, Cs, Flags, Ss];
    private readonly Emitter _e;
    private readonly SystemCallThunks _calls;
    private readonly byte* _assist;
    private readonly byte* _dispatchExit;
    private byte* _descriptors;
    private byte* _leave;

    /// <summary>Emits it.</summary>
    internal InterruptReturnThunk(Emitter e, SystemCallThunks calls, byte* assist, byte* dispatchExit)
    {
        _e = e;
        _calls = calls;
        _assist = assist;
        _dispatchExit = dispatchExit;
        Code = Emit();
    }

    /// <summary>IRETQ in supervisor mode: R11 and ExitOperand as for an assist, flags in the state.</summary>
    internal byte* Code { get; }

    private byte* Emit()
    {
        EmitDescriptors();
        EmitLeave(out byte* leaveEarly);
        byte* start = _e.At;
        _e.StoreState(StateLayout.Scratch2, R11);
        EmitQuiet(leaveEarly);
        EmitFrame(leaveEarly);
        byte* toUser = EmitLevel();
        EmitCheck(Cs, 0, 0);
        _e.Reg(false, 0x85, Ss, Ss);
        byte* nullStack = _e.JumpForward(Equal);
        EmitCheck(Ss, 8, 0);
        EmitCommit(0, SystemCallThunks.FlatData(0));
        _e.Patch(nullStack);
        EmitCommit(0, NullStack);
        _e.Patch(toUser);
        EmitCheck(Cs, 16, 3);
        EmitCheck(Ss, 24, 3);
        EmitDataSegments();
        EmitCommit(3, SystemCallThunks.FlatData(3));
        return start;
    }

    // Constants to compare with: code and data of level 0, of level 3.
    private void EmitDescriptors()
    {
        _descriptors = _e.At;
        _e.Int64(CodeDescriptor);
        _e.Int64(DataDescriptor);
        _e.Int64(CodeDescriptor | DescriptorLevel3);
        _e.Int64(DataDescriptor | DescriptorLevel3);
    }

    // To the assist, with nothing changed.
    private void EmitLeave(out byte* early)
    {
        _leave = _e.At;
        Restore();
        early = _e.At;
        _e.LoadState(R11, StateLayout.Scratch2);
        _e.Jump(_assist);
    }

    // Nobody wants attention or waits for IF; NMIs are not blocked; no user page is in the supervisor's slots; no block may
    // hold old bytes, because IRET serialises; NT is clear.
    private void EmitQuiet(byte* leave)
    {
        int[] zero = [StateLayout.AttentionBits, StateLayout.InterruptWaiting, StateLayout.FetchDoubts];
        foreach (int field in zero)
        {
            _e.State(false, 0x83, 7, field);
            _e.Byte(0);
            JumpTo(NotEqual, leave);
        }

        _e.LoadState(R11, StateLayout.UserPageSlots);
        _e.State(true, 0x0B, R11, StateLayout.NmiBlocked);
        JumpTo(NotEqual, leave);
        _e.State(false, 0xF7, 0, StateLayout.SystemFlags);      // test dword [SystemFlags], NT
        _e.Int32((int)Rflags.Nt);
        JumpTo(NotEqual, leave);
    }

    // R10 = the frame's host address, then what is popped to registers, each read once. An empty slot's tag is 0 when doubled:
    // its page is not canonical, and neither may be the stack pointer.
    private void EmitFrame(byte* leave)
    {
        int slot = StateLayout.Slot(false, false, PageSlot.Stack);
        _e.LoadState(R10, slot);
        _e.Move(R11, HostRegister.GuestRsp);
        _e.Reg(true, 0x31, R10, R11);
        _e.Reg(true, 0x01, R10, R10);
        JumpTo(Equal, leave);
        _e.Bytes(0x49, 0x81, 0xFB);                             // cmp r11, imm32
        _e.Int32(4096 - FrameBytes);
        JumpTo(Above, leave);
        foreach (int register in Spilled)
        {
            _e.StoreState(StateLayout.GprSlot(register), register);
        }

        _e.LoadState(R10, slot + 8);
        _e.Reg(true, 0x01, HostRegister.GuestRsp, R10);
        _e.Mem(true, 0x8B, Rip, R10, 0);
        _e.Mem(false, 0x0FB7, Cs, R10, 8);
        _e.Mem(true, 0x8B, Flags, R10, 16);
        _e.Mem(false, 0x0FB7, Ss, R10, 32);
        _e.Mem(true, 0x8B, R10, R10, 24);
        _e.Move(R11, Rip);
        _e.Bytes(0x49, 0xC1, 0xE3, 0x10);                       // shl r11, 16
        _e.Bytes(0x49, 0xC1, 0xFB, 0x10);                       // sar r11, 16
        _e.Reg(true, 0x39, R11, Rip);
        JumpTo(NotEqual, _leave);
        _e.Bytes(0xF7, 0xC2);                                   // test edx, TF | AC
        _e.Int32((int)(Rflags.Tf | Rflags.Ac));
        JumpTo(NotEqual, _leave);
    }

    // Both selectors of the GDT and of the same level, 0 or 3. Returns the jump for level 3.
    private byte* EmitLevel()
    {
        _e.Reg(false, 0x89, Cs, R11);
        _e.Reg(false, 0x31, Ss, R11);
        _e.Bytes(0x41, 0xF6, 0xC3, 0x07);                       // test r11b, 7
        JumpTo(NotEqual, _leave);
        _e.Reg(false, 0x89, Cs, R11);
        _e.Bytes(0x41, 0x83, 0xE3, 0x07);                       // and r11d, 7
        _e.Bytes(0x41, 0x83, 0xFB, 0x03);                       // cmp r11d, 3
        byte* toUser = _e.JumpForward(Equal);
        _e.Reg(false, 0x85, R11, R11);
        JumpTo(NotEqual, _leave);
        return toUser;
    }

    // The selector is not null, and its descriptor is the constant.
    private void EmitCheck(int selector, int constant, int level)
    {
        int slot = StateLayout.Slot(false, false, PageSlot.Descriptors);
        _e.Lea(true, R11, selector, -1, 1, 7 - level);
        _e.State(true, 0x3B, R11, StateLayout.GdtrLimit);
        JumpTo(Above, _leave);
        _e.Lea(true, R11, selector, -1, 1, -level);
        _e.Reg(false, 0x85, R11, R11);
        JumpTo(Equal, _leave);
        _e.State(true, 0x03, R11, StateLayout.GdtrBase);
        _e.State(true, 0x33, R11, slot);
        _e.Bytes(0x49, 0x81, 0xFB);                             // cmp r11, imm32
        _e.Int32(4096 - 8);
        JumpTo(Above, _leave);
        _e.State(true, 0x03, R11, slot);
        _e.State(true, 0x03, R11, slot + 8);
        _e.Mem(true, 0x8B, R11, R11, 0);
        _e.Bytes(0x4C, 0x3B, 0x1D);                             // cmp r11, [rip+disp]
        _e.Int32((int)(_descriptors + constant - (_e.At + 4)));
        JumpTo(NotEqual, _leave);
    }

    // Level 3 may not keep segments of level 0; null ones are what 64-bit systems leave in the registers.
    private void EmitDataSegments()
    {
        _e.LoadState(R11, Selector(Seg.Es));
        _e.State(true, 0x0B, R11, Selector(Seg.Ds));
        _e.State(true, 0x0B, R11, Selector(Seg.Fs));
        _e.State(true, 0x0B, R11, Selector(Seg.Gs));
        _e.Reg(false, 0x85, R11, R11);
        JumpTo(NotEqual, _leave);
    }

    // R10 is the new stack pointer. Where the jump cache does not know the target, RF goes with it: the run loop may take an
    // interrupt before the target's first instruction.
    private void EmitCommit(int level, ulong stack)
    {
        _e.Move(HostRegister.GuestRsp, R10);
        _e.StoreState(Selector(Seg.Cs), Cs);
        _e.StoreState(Selector(Seg.Ss), Ss);
        _e.StoreState(StateLayout.Scratch0, Flags);
        _e.Reg(false, 0x89, Flags, R10);
        _e.Bytes(0x41, 0x81, 0xE2);                             // and r10d, imm32
        _e.Int32((int)TakenFlags);
        _calls.SplitFlags();
        _calls.LoadDescriptor(Seg.Cs, SystemCallThunks.FlatCode(level));
        _calls.LoadDescriptor(Seg.Ss, stack);
        _e.StoreStateByte(StateLayout.Cpl, level);
        _e.Move(R10, Rip);
        Restore();
        byte* miss = _e.ProbeJumpCache(level == 3);
        _e.Patch(miss);
        _e.State(true, 0x33, R10, StateLayout.JumpKey(level == 3));
        _e.StoreState(StateLayout.Rip, R10);
        _e.LoadState(R11, StateLayout.Scratch0);
        _e.Bytes(0x41, 0x81, 0xE3);                             // and r11d, RF
        _e.Int32((int)Rflags.Rf);
        _e.State(true, 0x09, R11, StateLayout.SystemFlags);
        _e.Jump(_dispatchExit);
    }

    private void Restore()
    {
        foreach (int register in Spilled)
        {
            _e.LoadState(register, StateLayout.GprSlot(register));
        }
    }

    private void JumpTo(int condition, byte* target)
    {
        byte* site = _e.JumpForward(condition);
        *(int*)site = (int)(target - (site + 4));
    }

    private static int Selector(int segment) => StateLayout.SegmentBase(segment) + 16;
}
