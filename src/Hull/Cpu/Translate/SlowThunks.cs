using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>The doors to C# for memory operands: what the inline TLB does not have, and careful accesses.</summary>
internal sealed unsafe class SlowThunks
{
    private readonly Emitter _e;
    private readonly DoorRegisters _registers;
    private readonly byte* _leave;
    private readonly byte*[] _slow = new byte*[2 * AccessSizes.Count];

    /// <summary>Emits them at the emitter's position.</summary>
    /// <param name="e">The emitter.</param>
    /// <param name="registers">What is saved around a call.</param>
    /// <param name="leave">Where to leave with all registers in the state.</param>
    internal SlowThunks(Emitter e, DoorRegisters registers, byte* leave)
    {
        _e = e;
        _registers = registers;
        _leave = leave;
        CarefulLoad = EmitCareful((nint)(delegate* unmanaged<CpuState*, ulong, ulong, ulong, ulong>)&Assists.CarefulLoad);
        CarefulStore = EmitCareful((nint)(delegate* unmanaged<CpuState*, ulong, ulong, ulong, ulong>)&Assists.CarefulStore);
        for (int size = 0; size < AccessSizes.Count; size++)
        {
            _slow[size] = EmitSlow(AccessSizes.At(size), false);
            _slow[AccessSizes.Count + size] = EmitSlow(AccessSizes.At(size), true);
        }
    }

    /// <summary>Copies a memory operand to the bounce buffer: R10 linear (or offset), ExitOperand the site, R11 where to go on.</summary>
    internal byte* CarefulLoad { get; }

    /// <summary>Copies the bounce buffer to memory; same arguments.</summary>
    internal byte* CarefulStore { get; }

    /// <summary>The door for an access that missed the inline TLB: R10 linear, R11 where to go on; R10 becomes the host address.</summary>
    internal byte* Of(int size, bool store) => _slow[(store ? AccessSizes.Count : 0) + AccessSizes.IndexOf(size)];

    private byte* EmitSlow(int size, bool store)
    {
        byte* start = _e.At;
        _e.StoreState(StateLayout.Scratch2, HostRegister.Temp);
        _registers.SaveVolatile();
        _e.Move(HostRegister.Rsi, HostRegister.Address);
        _e.MoveImmediate(HostRegister.Rdx, (ulong)(size | (store ? 0x100 : 0)));
        _e.Move(HostRegister.Rcx, HostRegister.Temp);
        _registers.CallManaged((nint)(delegate* unmanaged<CpuState*, ulong, ulong, ulong, ulong>)&Assists.MemorySlow);
        ResumeOrLeave();
        return start;
    }

    private byte* EmitCareful(nint target)
    {
        byte* start = _e.At;
        _e.StoreState(StateLayout.Scratch2, HostRegister.Temp);
        _registers.SaveVolatile();
        _e.Move(HostRegister.Rsi, HostRegister.Address);
        _e.LoadState(HostRegister.Rdx, StateLayout.ExitOperand);
        _e.Move(HostRegister.Rcx, HostRegister.Temp);
        _registers.CallManaged(target);
        ResumeOrLeave();
        return start;
    }

    // RAX is the host address of the operand, or 0: leave for the reason that the callee has written.
    private void ResumeOrLeave()
    {
        _e.Reg(true, 0x85, HostRegister.Rax, HostRegister.Rax);
        byte* leave = _e.JumpForward(4);
        _e.Move(HostRegister.Address, HostRegister.Rax);
        _registers.LoadVolatile();
        _e.Reg(false, 0x31, HostRegister.Temp, HostRegister.Temp); // the operand is at R10 + R11 for some, at R10 for the others
        _e.State(false, 0xFF, 4, StateLayout.Scratch2);
        _e.Patch(leave);
        _e.StoreState(StateLayout.GprSlot(5), HostRegister.Rbp);
        for (int register = 12; register < 16; register++)
        {
            _e.StoreState(StateLayout.GprSlot(register), register);
        }

        _e.Jump(_leave);
    }
}
