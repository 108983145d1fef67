using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// The last look before a test runs natively: whatever it may touch is in the window or known to fault, and whatever it
/// may write in the window lies in its slice. A stray store would hit the test process itself.
/// </summary>
internal static unsafe class AddressSafety
{
    /// <summary>True when the test may run.</summary>
    internal static bool IsSafe(OperandPlan plan, TestCase test)
    {
        ulong stack = test.Initial->Gpr[4] - OracleLayout.SignalStack + 0x1000;
        if (stack < OracleLayout.SignalStackSize + 0x2000)
        {
            // A fault with RSP there would look to the kernel like a signal inside a signal handler.
            return false;
        }

        if (plan.IsString)
        {
            return IsStringSafe(plan, test);
        }

        if (LoadsFlags(plan.Instruction.Mnemonic) && !IsOwn(test, StackOf(plan, test), 40))
        {
            // What is popped into RFLAGS must be the generator's: with TF the pad itself would trap.
            return false;
        }

        foreach (UsedMemory memory in plan.Memory)
        {
            bool writes = memory.Access is not (OpAccess.Read or OpAccess.CondRead);
            if (memory.VsibSize != 0 || plan.Instruction.IsVsib)
            {
                if (!IsGatherSafe(plan, test))
                {
                    return false;
                }

                continue;
            }

            ulong address = AddressOf(plan, memory, test);
            int size = memory.MemorySize.GetSize();
            if (size == 0)
            {
                size = plan.Size > 16 ? plan.Size : 16;
            }

            if (BitTestOffset(plan, test.Initial) is long offset && offset != 0)
            {
                address += (ulong)offset;
            }

            if (!IsSafe(test, address, size, writes))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>True when an access hits the window or nothing at all.</summary>
    internal static bool IsSafe(TestCase test, ulong address, int size, bool writes)
    {
        ulong last = address + (ulong)size - 1;
        if (last < address)
        {
            return false;
        }

        if (last < 0x10000 || (address >= 1UL << 47 && last < ~(1UL << 47)))
        {
            return true;
        }

        if (address < OracleLayout.Window - OracleLayout.GuardSize || last >= OracleLayout.WindowEnd + OracleLayout.GuardSize)
        {
            return false;
        }

        bool reachesWritable = last >= OracleLayout.Window && address < OracleLayout.ReadOnlyPage;
        if (!writes || !reachesWritable)
        {
            return true;
        }

        // A store that crosses into a page where it faults writes nothing, but it must be in the slice to know that.
        ulong first = address < OracleLayout.Window ? OracleLayout.Window : address;
        ulong end = last >= OracleLayout.ReadOnlyPage ? OracleLayout.ReadOnlyPage : last + 1;
        return first >= test.SliceAddress && end <= test.SliceAddress + (ulong)test.SliceLength;
    }

    // In the slice, or where nothing is mapped.
    private static bool IsOwn(TestCase test, ulong address, ulong size) =>
        address + size <= OracleLayout.Window || address >= OracleLayout.WindowEnd
        || (address >= test.SliceAddress && address + size <= test.SliceAddress + (ulong)test.SliceLength);

    private static ulong StackOf(OperandPlan plan, TestCase test) =>
        plan.Mode32 ? (uint)test.Initial->Gpr[4] + test.BaseOf(Register.SS) : test.Initial->Gpr[4];

    private static bool LoadsFlags(Mnemonic mnemonic) => mnemonic is Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq
        or Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq;

    private static ulong AddressOf(OperandPlan plan, UsedMemory memory, TestCase test)
    {
        CpuTestState* state = test.Initial;
        ulong address = memory.Displacement;
        if (memory.Base is not (Register.RIP or Register.EIP))
        {
            address += Value(memory.Base, state) + (Value(memory.Index, state) * (ulong)memory.Scale);
        }

        if (plan.Mode32 || memory.AddressSize == CodeSize.Code32)
        {
            address = (uint)address;
        }

        return memory.Segment switch
        {
            _ when plan.Mode32 => (uint)address + test.BaseOf(memory.Segment),
            Register.FS => address + OracleLayout.FsBase,
            Register.GS => address + OracleLayout.GsBase,
            _ => address,
        };
    }

    private static ulong Value(Register register, CpuTestState* state)
    {
        int number = OperandPlan.Gpr(register);
        if (number < 0)
        {
            return 0;
        }

        // XLAT adds AL.
        return register == Register.AL ? (byte)state->Gpr[0] : state->Gpr[number];
    }

    private static bool IsGatherSafe(OperandPlan plan, TestCase test)
    {
        Instruction i = plan.Instruction;
        bool wide = i.TryGetVsib64(out bool vsib64) && vsib64;
        int number = i.MemoryIndex.GetNumber();
        ulong start = i.MemoryDisplacement64 + Value(i.MemoryBase, test.Initial);
        for (int lane = 0; lane < (wide ? 4 : 8); lane++)
        {
            int at = lane * (wide ? 8 : 4);
            byte* half = at < 16 ? test.Initial->Xmm : test.Initial->YmmHigh;
            byte* cell = half + (number * 16) + (at & 15);
            long index = wide ? *(long*)cell : *(int*)cell;
            ulong address = start + (ulong)(index * i.MemoryIndexScale);
            if (plan.IsAddress32)
            {
                address = (uint)address;
            }

            if (!IsSafe(test, address + plan.SegmentBase, 8, false))
            {
                return false;
            }
        }

        return true;
    }

    private static long? BitTestOffset(OperandPlan plan, CpuTestState* state)
    {
        Instruction i = plan.Instruction;
        bool bitTest = i.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc;
        if (!bitTest || i.Op1Kind != OpKind.Register)
        {
            return null;
        }

        ulong value = state->Gpr[OperandPlan.Gpr(i.Op1Register)];
        return i.Op1Register.GetSize() switch
        {
            2 => ((short)value >> 4) * 2L,
            4 => ((int)value >> 5) * 4L,
            _ => ((long)value >> 6) * 8,
        };
    }

    private static bool IsStringSafe(OperandPlan plan, TestCase test)
    {
        CpuTestState* state = test.Initial;
        Instruction i = plan.Instruction;
        bool repeats = i.HasRepPrefix || i.HasRepnePrefix;
        bool address32 = plan.Mode32 || SpecialOperands.IsString32(i);
        ulong count = address32 ? (uint)state->Gpr[1] : state->Gpr[1];
        long span = repeats ? (long)count * 8 : 8;
        if (repeats && count > 64)
        {
            return false;
        }

        bool down = (state->Rflags & 0x400) != 0;
        for (int register = 6; register <= 7; register++)
        {
            bool used = register == 6 ? SpecialOperands.ReadsSource(i) : SpecialOperands.UsesDestination(i);
            ulong address = address32 ? (uint)state->Gpr[register] : state->Gpr[register];
            Register segment = register == 6 ? i.MemorySegment : Register.ES;
            address = plan.Mode32 ? (uint)address + test.BaseOf(segment) : address + (register == 6 ? plan.SegmentBase : 0);
            ulong low = down ? address - (ulong)span : address;
            bool writes = register == 7 && i.Mnemonic is Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd
                or Mnemonic.Movsq or Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq;
            if (used && !IsSafe(test, low, (int)span + 8, writes))
            {
                return false;
            }
        }

        return true;
    }
}
