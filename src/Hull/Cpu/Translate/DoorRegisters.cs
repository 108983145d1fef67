using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>How the guest's registers get between the host's and the state at the doors to C#.</summary>
internal sealed unsafe class DoorRegisters
{
    private static readonly int[] Volatile = [0, 1, 2, 6, 7, 8];
    private readonly Emitter _e;
    private readonly bool _avx;
    private readonly byte* _managedMxcsr;

    /// <param name="e">The emitter; two words are emitted at its position.</param>
    /// <param name="avx">The host has AVX and guests may use it.</param>
    internal DoorRegisters(Emitter e, bool avx)
    {
        _e = e;
        _avx = avx;
        _managedMxcsr = e.At;
        e.Int32(0x1F80);                                        // all exceptions masked, round to nearest
        e.Int32(0);
    }

    /// <summary>C# may follow: VZEROUPPER, where there are upper halves.</summary>
    internal void ClearUpper()
    {
        if (_avx)
        {
            _e.Bytes(0xC5, 0xF8, 0x77);
        }
    }

    /// <summary>What C# may change goes to the state: the volatile registers, RBX, the guest's RSP, vectors.</summary>
    internal void SaveVolatile()
    {
        foreach (int register in Volatile)
        {
            _e.StoreState(StateLayout.GprSlot(register), register);
        }

        _e.StoreState(StateLayout.GprSlot(4), HostRegister.GuestRsp);
        _e.StoreState(StateLayout.GprSlot(3), HostRegister.Rbx);
        SaveVector();
    }

    /// <summary>What <see cref="SaveVolatile"/> has saved comes back.</summary>
    internal void LoadVolatile()
    {
        LoadVector();
        foreach (int register in Volatile)
        {
            _e.LoadState(register, StateLayout.GprSlot(register));
        }

        _e.LoadState(HostRegister.GuestRsp, StateLayout.GprSlot(4));
        _e.LoadState(HostRegister.Rbx, StateLayout.GprSlot(3));
    }

    /// <summary>Calls C# with the state as its first argument. RBX keeps the state meanwhile: the guest's must be in its slot.</summary>
    internal void CallManaged(nint target)
    {
        RestoreHostMxcsr();
        ClearUpper();
        _e.Lea(true, HostRegister.Rdi, HostRegister.Rsp, -1, 1, -StateLayout.PointerBias);
        _e.Move(HostRegister.Rbx, HostRegister.Rsp);
        _e.LoadState(HostRegister.Rsp, StateLayout.HostRsp);
        _e.MoveImmediate(HostRegister.Rax, (ulong)target);
        _e.Bytes(0xFF, 0xD0);                                   // call rax
        _e.Move(HostRegister.Rsp, HostRegister.Rbx);
    }

    /// <summary>All general registers go to the state.</summary>
    internal void SaveGeneral()
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

    /// <summary>All general registers come from the state.</summary>
    internal void LoadGeneral()
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

    /// <summary>Vector registers and MXCSR go to the state; upper halves only where they may not be zero.</summary>
    internal void SaveVector()
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

    /// <summary>Vector registers and MXCSR come from the state; upper halves become zero where the state says so.</summary>
    internal void LoadVector()
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

    /// <summary>MXCSR as managed code wants it.</summary>
    internal void RestoreHostMxcsr()
    {
        _e.Bytes(0x0F, 0xAE, 0x15);                             // ldmxcsr [rip+disp]
        _e.Int32((int)(_managedMxcsr - (_e.At + 4)));
    }
}
