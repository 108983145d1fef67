using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>
/// SYSCALL and SYSRET between 64-bit code, without C#: what <see cref="Assist.FastCalls"/> does, for the cases without
/// tracing, pending events and user pages in the supervisor's slots, which go to it. SDM vol. 2, "SYSCALL", "SYSRET".
/// </summary>
internal sealed unsafe class SystemCallThunks
{
    private const int R10 = HostRegister.Address;
    private const int R11 = HostRegister.Temp;
    private const int GuestR11 = 11;
    private const ulong Flat = uint.MaxValue;
    private const ulong Code64 = 0xA09BUL << 32;
    private const ulong Data = 0xC093UL << 32;
    private const int PrivilegeAt = 32 + 5;
    private readonly Emitter _e;
    private readonly byte* _assist;
    private readonly byte* _dispatchExit;

    /// <summary>Emits both.</summary>
    /// <param name="e">The emitter.</param>
    /// <param name="assist">Runs the assist in ExitOperand and goes on at R11.</param>
    /// <param name="dispatchExit">Leaves for the block at RIP.</param>
    internal SystemCallThunks(Emitter e, byte* assist, byte* dispatchExit)
    {
        _e = e;
        _assist = assist;
        _dispatchExit = dispatchExit;
        Syscall = EmitSyscall();
        Sysret = EmitSysret();
    }

    /// <summary>SYSCALL in user mode: R10 the next rip, R11 and ExitOperand as for an assist, flags in the state.</summary>
    internal byte* Syscall { get; }

    /// <summary>SYSRETQ in supervisor mode: R11 and ExitOperand as for an assist, flags in the state.</summary>
    internal byte* Sysret { get; }

    /// <summary>Limit and attributes of a flat 64-bit code segment of a privilege level.</summary>
    internal static ulong FlatCode(int level) => Flat | Code64 | ((ulong)level << PrivilegeAt);

    /// <summary>Limit and attributes of a flat stack segment.</summary>
    internal static ulong FlatData(int level) => Flat | Data | ((ulong)level << PrivilegeAt);

    private byte* EmitSyscall()
    {
        byte* start = _e.At;
        LeaveUnlessQuiet();
        _e.State(true, 0x83, 7, StateLayout.UserPageSlots);
        _e.Byte(0);
        JumpToAssist(5);
        _e.Move(HostRegister.Rcx, R10);
        FlagsImage();
        _e.Byte(0x41);                                          // and r10d, ~RF
        _e.Bytes(0x81, 0xE2);
        _e.Int32(unchecked((int)~Rflags.Rf));
        _e.StoreState(StateLayout.GprSlot(GuestR11), R10);
        _e.LoadState(R11, StateLayout.Sfmask);
        _e.Bytes(0x49, 0xF7, 0xD3);                             // not r11
        _e.Reg(true, 0x21, R11, R10);
        SplitFlags();
        _e.State(false, 0x0FB7, R10, StateLayout.Star + 4);
        _e.Bytes(0x41, 0x81, 0xE2);                             // and r10d, 0xFFFC
        _e.Int32(0xFFFC);
        _e.StoreState(Selector(Seg.Cs), R10);
        _e.Bytes(0x41, 0x83, 0xC2, 0x08);                       // add r10d, 8
        _e.Reg(false, 0x0FB7, R10, R10);
        _e.StoreState(Selector(Seg.Ss), R10);
        LoadSegments(0);
        _e.LoadState(R10, StateLayout.Lstar);
        JumpTo(false);
        return start;
    }

    private byte* EmitSysret()
    {
        byte* start = _e.At;
        LeaveUnlessQuiet();
        LeaveIfNot(StateLayout.InterruptWaiting);
        _e.State(false, 0xF7, 0, StateLayout.GprSlot(GuestR11)); // test dword [r11], TF | AC
        _e.Int32((int)(Rflags.Tf | Rflags.Ac));
        JumpToAssist(5);
        _e.Move(R10, HostRegister.Rcx);
        _e.Bytes(0x49, 0xC1, 0xE2, 0x10);                       // shl r10, 16
        _e.Bytes(0x49, 0xC1, 0xFA, 0x10);                       // sar r10, 16
        _e.Reg(true, 0x39, R10, HostRegister.Rcx);
        JumpToAssist(5);
        _e.LoadState(R10, StateLayout.GprSlot(GuestR11));
        _e.Bytes(0x41, 0x81, 0xE2);                             // and r10d, imm32
        _e.Int32(0x3C_7FD7);
        SplitFlags();
        _e.State(false, 0x0FB7, R10, StateLayout.Star + 6);
        _e.Bytes(0x41, 0x83, 0xC2, 0x08);                       // add r10d, 8: SS
        Selected(Seg.Ss);
        _e.State(false, 0x0FB7, R10, StateLayout.Star + 6);
        _e.Bytes(0x41, 0x83, 0xC2, 0x10);                       // add r10d, 16: CS
        Selected(Seg.Cs);
        LoadSegments(3);
        _e.Move(R10, HostRegister.Rcx);
        JumpTo(true);
        return start;
    }

    // Nobody wants attention, and EFER.SCE is set.
    private void LeaveUnlessQuiet()
    {
        LeaveIfNot(StateLayout.AttentionBits);
        _e.State(false, 0xF6, 0, StateLayout.Efer);             // test byte [efer], SCE
        _e.Byte((int)Efer.Sce);
        JumpToAssist(4);
    }

    private void LeaveIfNot(int zeroField)
    {
        _e.State(false, 0x83, 7, zeroField);
        _e.Byte(0);
        JumpToAssist(5);
    }

    private void JumpToAssist(int condition)
    {
        byte* site = _e.JumpForward(condition);
        *(int*)site = (int)(_assist - (site + 4));
    }

    // RFLAGS into R10, from its parts; R11 is lost.
    private void FlagsImage()
    {
        _e.State(false, 0x0FB6, R10, StateLayout.DirectionFlag);
        _e.Reg(false, 0x01, R10, R10);
        _e.State(false, 0x0A, R10, StateLayout.InterruptFlag);  // or r10b, [IF]
        _e.Bytes(0x41, 0xC1, 0xE2, 0x09);                       // shl r10d, 9
        _e.State(true, 0x0B, R10, StateLayout.SystemFlags);
        _e.State(false, 0x0FB6, R11, StateLayout.FlagWord + 1);
        _e.Bytes(0x41, 0x81, 0xE3);                             // and r11d, imm32
        _e.Int32(CpuState.LahfMask);
        _e.Lea(true, R10, R10, R11, 1, 2);
        _e.State(false, 0x0FB6, R11, StateLayout.FlagWord);
        _e.Bytes(0x41, 0xC1, 0xE3, 0x0B);                       // shl r11d, 11: OF
        _e.Reg(true, 0x09, R11, R10);
    }

    /// <summary>RFLAGS in R10 to its parts; R10 and R11 are lost.</summary>
    internal void SplitFlags()
    {
        _e.Reg(false, 0x8B, R11, R10);
        _e.Bytes(0x41, 0xC1, 0xE3, 0x08);                       // shl r11d, 8
        _e.Bytes(0x41, 0x0F, 0xBA, 0xE2);                       // bt r10d, 11: OF
        _e.Byte(11);
        _e.Bytes(0x41, 0x83, 0xD3, 0x00);                       // adc r11d, 0
        _e.Byte(0x66);
        _e.State(false, 0x89, R11, StateLayout.FlagWord);
        _e.Reg(false, 0x8B, R11, R10);
        _e.Bytes(0x41, 0x81, 0xE3);
        _e.Int32((int)CpuState.SystemMask);
        _e.StoreState(StateLayout.SystemFlags, R11);
        _e.Bytes(0x41, 0xC1, 0xEA, 0x09);                       // shr r10d, 9
        _e.Reg(false, 0x8B, R11, R10);
        _e.Bytes(0x41, 0x83, 0xE3, 0x01);                       // and r11d, 1
        _e.State(false, 0x88, R11, StateLayout.InterruptFlag);
        _e.Bytes(0x41, 0xD1, 0xEA);                             // shr r10d, 1
        _e.Bytes(0x41, 0x83, 0xE2, 0x01);                       // and r10d, 1
        _e.State(false, 0x88, R10, StateLayout.DirectionFlag);
    }

    private void Selected(int segment)
    {
        _e.Bytes(0x41, 0x83, 0xCA, 0x03);                       // or r10d, 3
        _e.Reg(false, 0x0FB7, R10, R10);
        _e.StoreState(Selector(segment), R10);
    }

    // Flat CS and SS, and the privilege level. R10 is lost.
    private void LoadSegments(int cpl)
    {
        LoadDescriptor(Seg.Cs, FlatCode(cpl));
        LoadDescriptor(Seg.Ss, FlatData(cpl));
        _e.StoreStateByte(StateLayout.Cpl, cpl);
    }

    /// <summary>A segment with base 0, its limit and above it its attributes. R10 is lost.</summary>
    internal void LoadDescriptor(int segment, ulong hidden)
    {
        _e.State(true, 0xC7, 0, StateLayout.SegmentBase(segment));
        _e.Int32(0);
        _e.MoveImmediate(R10, hidden);
        _e.StoreState(StateLayout.SegmentBase(segment) + 8, R10);
    }

    private static int Selector(int segment) => StateLayout.SegmentBase(segment) + 16;

    // Through the jump cache of the new privilege level. Nobody wanted attention a moment ago.
    private void JumpTo(bool user)
    {
        byte* miss = _e.ProbeJumpCache(user);
        _e.Patch(miss);
        _e.State(true, 0x33, R10, StateLayout.JumpKey(user));
        _e.StoreState(StateLayout.Rip, R10);
        _e.Jump(_dispatchExit);
    }
}
