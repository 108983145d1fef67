using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>
/// The thunks of accesses that missed their page slot: they look into the inline TLB and fill the slot. One for each kind and
/// size, so that they stay in the host's caches.
/// </summary>
internal sealed unsafe class LookupThunks
{
    private readonly Emitter _e;
    private readonly SlowThunks _slow;
    private readonly byte*[] _lookup = new byte*[8 * AccessSizes.LookedUp];

    /// <summary>Emits them at the emitter's position.</summary>
    internal LookupThunks(Emitter e, SlowThunks slow)
    {
        _e = e;
        _slow = slow;
        for (int i = 0; i < _lookup.Length; i++)
        {
            int kind = i / AccessSizes.LookedUp;
            _lookup[i] = EmitLookup((kind & 2) != 0, (kind & 1) != 0, AccessSizes.At(i % AccessSizes.LookedUp), kind >= 4);
        }
    }

    /// <summary>The one for a kind of access; its size is one that is looked up.</summary>
    internal byte* Of(bool user, bool store, int size, bool hashed)
    {
        int kind = (user ? 2 : 0) + (store ? 1 : 0) + (hashed ? 4 : 0);
        return _lookup[(kind * AccessSizes.LookedUp) + AccessSizes.IndexOf(size)];
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
        _e.Jump(_slow.Of(size, store));
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
        _e.Reg(false, 0x31, HostRegister.Temp, HostRegister.Temp); // the operand is at R10 + R11 for some
        _e.State(false, 0xFF, 4, StateLayout.Scratch2);         // jmp [Scratch2]
    }
}
