using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// The ways out of a block. A target in the block's own page is linked: the jump is patched to the other block once
/// that exists. So is a target in another page of the kernel, as long as that page's translation is global and no TLB
/// flush has come. Any other goes through the jump cache, because a page may be mapped elsewhere by then. All look at
/// the attention word: linked jumps when they go backwards, the others always.
/// </summary>
internal sealed unsafe class BranchLowering
{
    private readonly BlockWriter _w;
    private readonly Emitter _e;

    internal BranchLowering(BlockWriter writer)
    {
        _w = writer;
        _e = writer.E;
    }

    /// <summary>Emits a branch that ends the block: all but <see cref="EmitConditional"/>'s.</summary>
    internal void Emit(in Instruction instruction, StackLowering stack)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Jmp:
                EmitJump(instruction, stack);
                break;
            case Mnemonic.Call:
                EmitCall(instruction, stack);
                break;
            case Mnemonic.Ret:
                EmitReturn(instruction, stack);
                break;
            case Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne:
            case Mnemonic.Jcxz or Mnemonic.Jecxz or Mnemonic.Jrcxz:
                EmitCounted(instruction);
                break;
        }
    }

    /// <summary>The block ends without a branch, or behind one that is not taken: the next instruction is another block's.</summary>
    /// <param name="next">Its rip.</param>
    /// <param name="stiLast">The last instruction was STI: the next one must run before an interrupt is taken.</param>
    internal void FallThrough(ulong next, bool stiLast)
    {
        // RIP may wrap around, and a loop may do without any branch.
        bool wraps = next <= _w.BlockRip;
        if (stiLast)
        {
            _e.StoreStateByte(StateLayout.InterruptShadow, 1);
            ToDispatch(next);
            return;
        }

        if (_w.AfterSti && !_w.Unlinked)
        {
            _w.Flags.ToMemory();
            _e.State(false, 0x83, 7, StateLayout.InterruptWaiting);
            _e.Byte(0);
            byte* none = _e.JumpForward(4);
            ToDispatch(next);
            _e.Patch(none);
            Direct(next, wraps);
            return;
        }

        if (_w.CountsInstructions && _w.EndsAfterCareful)
        {
            // A device may have asked for attention: it gets it behind this instruction.
            ToDispatch(next);
            return;
        }

        To(next, wraps);
    }

    /// <summary>Leaves for the run loop with rip.</summary>
    internal void ToDispatch(ulong rip)
    {
        _w.Flags.ToMemory();
        _e.MoveAddress(HostRegister.Address, rip);
        _e.StoreState(StateLayout.Rip, HostRegister.Address);
        _e.Jump(_w.Thunks.DispatchExit);
    }

    private void To(ulong target) => To(target, IsBackward(target));

    private void To(ulong target, bool backward)
    {
        if (_w.Unlinked || _w.AfterSti)
        {
            ToDispatch(target);
        }
        else
        {
            Direct(target, backward);
        }
    }

    // A taken branch. Over the boundary of the canonical addresses it faults itself.
    private void Branch(ulong target)
    {
        if (!IsWild(target))
        {
            To(target);
            return;
        }

        _w.Flags.ToMemory();
        _e.MoveAddress(HostRegister.Address, target);
        LeaveForTarget(_w.GuestOffset);
    }

    private bool IsWild(ulong target) => _w.Is64 && !CpuMode.IsCanonical(target);

    private bool Linkable(ulong target) => !_w.CrossesPage && (_w.SamePage(target) || _w.LinksAcrossPages);

    private bool IsBackward(ulong target) => target <= _w.BlockRip + (ulong)_w.GuestOffset;

    private void Direct(ulong target, bool backward)
    {
        if (!Linkable(target))
        {
            _w.Flags.ToMemory();
            _e.MoveAddress(HostRegister.Address, target);
            byte* attention = backward ? TestAttention() : null;
            byte* miss = ThroughLine(target, _w.IsUser);
            _w.Cold.Add(new ColdPiece { Kind = ColdKind.Leave, Site = miss, Back = attention });
            return;
        }

        if (backward)
        {
            Poll(target);
            return;
        }

        bool host = _w.Flags.Place != FlagPlace.Memory;
        AlignSite(1);
        _w.AddLink(_e.JumpForward(-1), target, host);
    }

    // A backward jump looks at the attention word. Most loops touch memory first and want the flags in the state anyway.
    private void Poll(ulong target)
    {
        _w.Flags.ToMemory();
        byte* attention = TestAttention();
        AlignSite(1);
        _w.AddLinkWithPoll(_e.JumpForward(-1), attention, target, false);
    }

    /// <summary>
    /// Looks a known target up in the jump cache: its line is known now, its tag is compared at run time. Goes on behind
    /// when it is not there or somebody wants attention. The flags are in the state.
    /// </summary>
    internal void ThroughJumpCache(ulong target, bool user)
    {
        _e.MoveImmediate(HostRegister.Address, target);
        byte* attention = TestAttention();
        byte* miss = ThroughLine(target, user);
        _e.Patch(attention);
        _e.Patch(miss);
    }

    // Jumps when somebody wants attention.
    private byte* TestAttention()
    {
        _e.State(false, 0x83, 7, StateLayout.AttentionBits);
        _e.Byte(0);
        return _e.JumpForward(5);
    }

    // R10 is the target. Returns the jump that is taken when its line of the jump cache has another.
    private byte* ThroughLine(ulong target, bool user)
    {
        int line = StateLayout.JumpCache(user) + (StateLayout.JumpIndex(target) * 16);
        _e.LoadState(HostRegister.Temp, StateLayout.JumpKey(user));
        _e.Reg(true, 0x31, HostRegister.Address, HostRegister.Temp);
        _e.State(true, 0x3B, HostRegister.Temp, line);
        _e.Relocations.JumpLine(_e.At - 4, target);
        byte* miss = _e.JumpForward(5);
        _e.State(false, 0xFF, 4, line + 8);
        _e.Relocations.JumpLine(_e.At - 4, target);
        return miss;
    }

    /// <summary>Leaves for the run loop: R10 is the target.</summary>
    internal void LeaveForAddress()
    {
        _e.StoreState(StateLayout.Rip, HostRegister.Address);
        _e.Jump(_w.Thunks.DispatchExit);
    }

    /// <summary>
    /// The same for a branch whose target may not be canonical: then the branch itself faults, which is at an offset in the
    /// block's bytes.
    /// </summary>
    internal void LeaveForTarget(int guestOffset)
    {
        if (!_w.Is64)
        {
            LeaveForAddress();
            return;
        }

        _e.MoveAddress(HostRegister.Temp, _w.BlockRip + (ulong)guestOffset);
        _e.Jump(_w.Thunks.BranchExit);
    }

    /// <summary>Jumps to the rip in R10; the flags are in the state.</summary>
    private void Indirect()
    {
        if (_w.Unlinked || _w.AfterSti)
        {
            LeaveForTarget(_w.GuestOffset);
            return;
        }

        byte* attention = TestAttention();
        byte* miss = _e.ProbeJumpCache(_w.IsUser);
        _w.Cold.Add(new ColdPiece
        {
            Kind = ColdKind.LeaveIndirect,
            Site = miss,
            Back = attention,
            GuestOffset = (ushort)_w.GuestOffset,
        });
    }

    private void EmitJump(in Instruction instruction, StackLowering stack)
    {
        if (IsNear(instruction))
        {
            Branch(_w.Truncate(instruction.NearBranchTarget));
            return;
        }

        _w.Flags.ToMemory();
        LoadTarget(instruction, stack);
        Indirect();
    }

    private void EmitCall(in Instruction instruction, StackLowering stack)
    {
        int size = -instruction.StackPointerIncrement;
        ulong back = _w.Truncate(instruction.NextIP);
        if (IsNear(instruction))
        {
            ulong target = _w.Truncate(instruction.NearBranchTarget);
            if (IsWild(target))
            {
                stack.CheckPush(size);
            }
            else
            {
                stack.PushReturn(back, size);
            }

            Branch(target);
            return;
        }

        _w.Flags.ToMemory();
        LoadTarget(instruction, stack);
        _e.StoreState(StateLayout.Rip, HostRegister.Address);
        bool commit = stack.CheckPush(size);
        if (_w.Is64)
        {
            CheckTarget();
        }

        stack.StoreConstant(back, size, commit, true);
        _e.LoadState(HostRegister.Address, StateLayout.Rip);
        Indirect();
    }

    // CALL pushes nothing when its target, in the state's RIP, is not canonical; SDM vol. 2, "CALL". Code of the kernel calls the
    // upper half of the address space, a program the lower one: the other half takes the whole test, in a cold piece.
    private void CheckTarget()
    {
        _e.State(false, 0x81, 7, StateLayout.Rip + 4);          // cmp dword [rip + 4], imm32
        _e.Int32(_w.IsUser ? 0x7FFF : unchecked((int)0xFFFF_8000));
        byte* other = _e.JumpForward(_w.IsUser ? 7 : 2);        // ja, jb
        _w.Cold.Add(new ColdPiece
        {
            Kind = ColdKind.WildCall,
            Site = other,
            Back = _e.At,
            GuestOffset = (ushort)_w.GuestOffset,
        });
    }

    /// <summary>The whole test of a call's target: goes back to the call, or leaves with it.</summary>
    internal void EmitWildCall(in ColdPiece piece)
    {
        _e.Patch(piece.Site);
        _e.LoadState(HostRegister.Temp, StateLayout.Rip);
        _e.Bytes(0x49, 0xC1, 0xFB, 0x2F);                       // sar r11, 47
        _e.Bytes(0x49, 0xFF, 0xC3);                             // inc r11
        _e.Bytes(0x49, 0x83, 0xFB, 0x01);                       // cmp r11, 1
        byte* canonical = _e.JumpForward(6);                    // jbe
        *(int*)canonical = (int)(piece.Back - (canonical + 4));
        _e.LoadState(HostRegister.Address, StateLayout.Rip);
        LeaveForTarget(piece.GuestOffset);
    }

    private void EmitReturn(in Instruction instruction, StackLowering stack)
    {
        int extra = instruction.OpCount > 0 ? instruction.Immediate16 : 0;
        stack.PopTarget(instruction.StackPointerIncrement - extra, extra);
        Indirect();
    }

    // The target of JMP or CALL r/m into R10, zero-extended.
    private void LoadTarget(in Instruction instruction, StackLowering stack)
    {
        if (instruction.Op0Kind == OpKind.Memory)
        {
            int size = instruction.MemorySize.GetSize();
            _w.Memory.Operand(instruction, size, true, false);
            stack.LoadOperand(HostRegister.Address, size);
            return;
        }

        int register = _w.Memory.Load(instruction.Op0Register.GetNumber(), HostRegister.Address);
        switch (instruction.Op0Register.GetSize())
        {
            case 8:
                _e.Move(HostRegister.Address, register);
                break;
            case 4:
                _e.Reg(false, 0x89, register, HostRegister.Address);
                break;
            default:
                _e.Reg(false, 0x0FB7, HostRegister.Address, register);
                break;
        }
    }

    /// <summary>Jcc: leaves the block when it is taken, and goes on behind when not.</summary>
    internal void EmitConditional(in Instruction instruction)
    {
        _w.Flags.ToHost();
        int condition = (int)instruction.ConditionCode switch
        {
            (int)ConditionCode.o => 0,
            (int)ConditionCode.no => 1,
            (int)ConditionCode.b => 2,
            (int)ConditionCode.ae => 3,
            (int)ConditionCode.e => 4,
            (int)ConditionCode.ne => 5,
            (int)ConditionCode.be => 6,
            (int)ConditionCode.a => 7,
            (int)ConditionCode.s => 8,
            (int)ConditionCode.ns => 9,
            (int)ConditionCode.p => 10,
            (int)ConditionCode.np => 11,
            (int)ConditionCode.l => 12,
            (int)ConditionCode.ge => 13,
            (int)ConditionCode.le => 14,
            _ => 15,
        };
        ulong target = _w.Truncate(instruction.NearBranchTarget);
        FlagPlace flags = _w.Flags.Place;
        if (!_w.Unlinked && !_w.AfterSti && Linkable(target) && !IsBackward(target) && !IsWild(target))
        {
            AlignSite(2);
            _w.AddLink(_e.JumpForward(condition), target, true);
            return;
        }

        byte* not = _e.JumpForward(condition ^ 1);
        Branch(target);
        _e.Patch(not);
        _w.Flags.Place = flags;
    }

    // LOOPcc and JCXZ: the count is changed without touching the flags; they are compared in the state.
    private void EmitCounted(in Instruction instruction)
    {
        ulong target = _w.Truncate(instruction.NearBranchTarget);
        ulong next = _w.Truncate(instruction.NextIP);
        int width = CountWidth(instruction.Code);
        _w.Flags.ToMemory();
        bool loop = instruction.Mnemonic is Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne;
        if (loop)
        {
            if (width == 2)
            {
                _e.Byte(0x66);
            }

            _e.Lea(width == 8, HostRegister.Rcx, HostRegister.Rcx, -1, 1, -1);
        }

        if (width == 2)
        {
            _e.Byte(0x66);
        }

        _e.Reg(width == 8, 0x85, HostRegister.Rcx, HostRegister.Rcx);
        byte* zero = _e.JumpForward(loop ? 4 : 5);
        byte* wrongFlag = null;
        if (instruction.Mnemonic is Mnemonic.Loope or Mnemonic.Loopne)
        {
            _e.State(false, 0xF6, 0, StateLayout.FlagWord + 1);
            _e.Byte(0x40);
            wrongFlag = _e.JumpForward(instruction.Mnemonic == Mnemonic.Loope ? 4 : 5);
        }

        To(target);
        _e.Patch(zero);
        if (wrongFlag != null)
        {
            _e.Patch(wrongFlag);
        }

        _w.Flags.Place = FlagPlace.Memory;
        To(next);
    }

    private static int CountWidth(Code code) => code switch
    {
        Code.Jcxz_rel8_16 or Code.Jcxz_rel8_32 or Code.Loop_rel8_16_CX or Code.Loop_rel8_32_CX
            or Code.Loope_rel8_16_CX or Code.Loope_rel8_32_CX or Code.Loopne_rel8_16_CX
            or Code.Loopne_rel8_32_CX => 2,
        Code.Jrcxz_rel8_64 or Code.Jrcxz_rel8_16 or Code.Loop_rel8_64_RCX or Code.Loop_rel8_16_RCX
            or Code.Loope_rel8_64_RCX or Code.Loope_rel8_16_RCX or Code.Loopne_rel8_64_RCX
            or Code.Loopne_rel8_16_RCX => 8,
        _ => 4,
    };

    private static bool IsNear(in Instruction instruction) =>
        instruction.Op0Kind is OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64;

    // The displacement that will be patched lies in one aligned quadword, so that another core never sees half of it. APM
    // vol. 2, "Access Atomicity".
    private void AlignSite(int opcodeBytes)
    {
        int over = (int)(((nint)_e.At + opcodeBytes) & 7);
        switch (over)
        {
            case 5:
                _e.Bytes(0x0F, 0x1F, 0x00);
                break;
            case 6:
                _e.Bytes(0x66, 0x90);
                break;
            case 7:
                _e.Byte(0x90);
                break;
            default:
                break;
        }
    }
}
