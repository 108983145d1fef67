using System;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// What single mnemonics need so that a test says something: divisors that do not overflow, counters that are small,
/// stack and string pointers in the window, memory that holds a branch target or a valid control word.
/// </summary>
internal sealed unsafe class SpecialOperands
{
    private readonly OracleRandom _random;

    internal SpecialOperands(OracleRandom random) => _random = random;

    /// <summary>Sets registers that the mnemonic uses in its own way.</summary>
    /// <returns>The registers that must stay, as a bit set.</returns>
    internal uint Prepare(OperandPlan plan, TestCase test, ulong target)
    {
        CpuTestState* state = test.Initial;
        Instruction i = plan.Instruction;
        if (plan.IsString)
        {
            return PrepareString(plan, state, target);
        }

        if (plan.IsStack)
        {
            state->Gpr[4] = plan.Mode32 ? (uint)target - test.BaseOf(Register.SS) : target;
            PrepareStack(plan, test, target);
            return i.Mnemonic is Mnemonic.Enter or Mnemonic.Leave ? 0x30u : 0x10u;
        }

        switch (i.Mnemonic)
        {
            case Mnemonic.Div or Mnemonic.Idiv:
                PrepareDivide(i, state);
                break;
            case Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne or Mnemonic.Jcxz or Mnemonic.Jecxz or Mnemonic.Jrcxz:
                state->Gpr[1] = (state->Gpr[1] & 0xFFFF_FFFF_0000_0000) | (uint)_random.Below(3);
                state->Gpr[1] &= _random.OneIn(2) || plan.Mode32 ? uint.MaxValue : ulong.MaxValue;
                break;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc when i.Op0Kind == OpKind.Memory
                && i.Op1Kind == OpKind.Register:
                ulong offset = (ulong)(long)_random.Between(-800, 800);
                state->Gpr[OperandPlan.Gpr(i.Op1Register)] = plan.Mode32 ? (uint)offset : offset;
                break;
            case Mnemonic.Xlatb:
                ulong table = target - (byte)state->Gpr[0] - plan.SegmentBase;
                bool address32 = plan.Mode32 || plan.Memory[0].AddressSize == CodeSize.Code32;
                state->Gpr[3] = plan.Mode32 ? (uint)table : address32 ? (uint)table | (_random.Next() << 32) : table;
                break;
            case Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu:
                bool short32 = i.Op0Kind == OpKind.MemorySegEDI;
                ulong pointer = target - plan.SegmentBase;
                state->Gpr[7] = short32 && !plan.Mode32 ? (uint)pointer | (_random.Next() << 32) : pointer;
                break;
            case Mnemonic.Jmp when i.Op0Kind == OpKind.Register:
                state->Gpr[OperandPlan.Gpr(i.Op0Register)] = BranchTarget(test);
                break;
            case Mnemonic.Mov when i.Op0Kind == OpKind.Register && i.Op0Register.IsSegmentRegister()
                && i.Op1Kind == OpKind.Register:
                int source = OperandPlan.Gpr(i.Op1Register);
                ushort selector = FarSegment.Data(_random, i.Op0Register == Register.SS);
                state->Gpr[source] = (state->Gpr[source] & ~0xFFFFUL) | selector;
                break;
            case Mnemonic.Verr or Mnemonic.Verw when i.Op0Kind == OpKind.Register:
                int asked = OperandPlan.Gpr(i.Op0Register);
                state->Gpr[asked] = (state->Gpr[asked] & ~0xFFFFUL) | FarSegment.Any(_random);
                break;
            case Mnemonic.Lar or Mnemonic.Lsl when i.Op1Kind == OpKind.Register:
                int about = OperandPlan.Gpr(i.Op1Register);
                state->Gpr[about] = (state->Gpr[about] & ~0xFFFFUL) | FarSegment.Any(_random);
                break;
            case Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64 or Mnemonic.Xrstor
                or Mnemonic.Xrstor64:
                // Only the parts that every host has; the guest's XCR0 has no others.
                state->Gpr[0] = (state->Gpr[0] & 0xFFFF_FFFF_0000_0000) | (uint)_random.Below(8);
                state->Gpr[2] &= 0xFFFF_FFFF_0000_0000;
                return 0x5;
            case Mnemonic.Wrfsbase or Mnemonic.Wrgsbase when !_random.OneIn(16):
                state->Gpr[OperandPlan.Gpr(i.Op0Register)] = (ulong)((long)_random.Next() >> 17);
                break;
            default:
                break;
        }

        return 0;
    }

    /// <summary>Puts into memory what the mnemonic wants to find there; the operand's address is known now.</summary>
    internal void Finish(OperandPlan plan, TestCase test, ulong target)
    {
        CpuTestState* state = test.Initial;
        Instruction i = plan.Instruction;
        switch (i.Mnemonic)
        {
            case Mnemonic.Jmp or Mnemonic.Call when FarSegment.OffsetSize(i.Code) is > 0 and int offsetSize:
                Write(test, target, BranchTarget(test), offsetSize);
                Write(test, target + (ulong)offsetSize, FarSegment.Code(_random, plan.Mode32), 2);
                break;
            case Mnemonic.Verr or Mnemonic.Verw or Mnemonic.Lar or Mnemonic.Lsl:
                Write(test, target, FarSegment.Any(_random), 2);
                break;
            case Mnemonic.Lds or Mnemonic.Les or Mnemonic.Lfs or Mnemonic.Lgs or Mnemonic.Lss:
                Write(test, target + (ulong)plan.Size - 2, FarSegment.Data(_random, i.Mnemonic == Mnemonic.Lss), 2);
                break;
            case Mnemonic.Mov when i.Op0Kind == OpKind.Register && i.Op0Register.IsSegmentRegister():
                Write(test, target, FarSegment.Data(_random, i.Op0Register == Register.SS), 2);
                break;
            case Mnemonic.Xrstor or Mnemonic.Xrstor64:
                PrepareXrstor(test, target);
                break;
            case Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64:
                Ignore(test, target, 6, 18);
                break;
            case Mnemonic.Jmp or Mnemonic.Call:
                Write(test, target, BranchTarget(test), plan.Mode32 ? 4 : 8);
                break;
            case Mnemonic.Cmpxchg8b or Mnemonic.Cmpxchg16b when _random.OneIn(2):
                int half = i.Mnemonic == Mnemonic.Cmpxchg8b ? 4 : 8;
                Write(test, target, state->Gpr[0], half);
                Write(test, target + (ulong)half, state->Gpr[2], half);
                break;
            case Mnemonic.Cmpxchg or Mnemonic.Cmp or Mnemonic.Sub when _random.OneIn(3):
                Write(test, target, state->Gpr[0], plan.Size);
                break;
            case Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr:
                Write(test, target, _random.Next() & (_random.OneIn(32) ? 0xFFFFFu : 0xFFFF), 4);
                break;
            case Mnemonic.Fxrstor or Mnemonic.Fxrstor64:
                Write(test, target, 0x37F | (_random.Next() & 0x3800_0F00_0000 & 0xFF_FFFF_FFFF), 8);
                Write(test, target + 24, _random.Next() & (_random.OneIn(32) ? 0xFFFFFu : 0xFFFF), 4);
                break;
            case Mnemonic.Fldcw when !_random.OneIn(8):
                Write(test, target, 0x37F ^ (_random.Next() & 0xF00), 2);
                break;
            case Mnemonic.Fnstenv:
                Ignore(test, target, i.MemorySize == MemorySize.FpuEnv14 ? 6 : 12, i.MemorySize == MemorySize.FpuEnv14 ? 8 : 16);
                break;
            case Mnemonic.Fnsave:
                Ignore(test, target, i.MemorySize == MemorySize.FpuState94 ? 6 : 12, i.MemorySize == MemorySize.FpuState94 ? 8 : 16);
                break;
            case Mnemonic.Fxsave or Mnemonic.Fxsave64:
                Ignore(test, target, 6, 18);
                break;
            case Mnemonic.Div or Mnemonic.Idiv:
                PrepareDivide(i, state);
                break;
            default:
                if (plan.Size == 16 && _random.OneIn(8))
                {
                    new ReadOnlySpan<byte>(state->Xmm + (_random.Below(16) * 16), 16).CopyTo(Room(test, target, 16));
                }

                break;
        }
    }

    /// <summary>True for a string instruction with 32-bit addresses.</summary>
    internal static bool IsString32(in Instruction i) => HasKind(i, OpKind.MemorySegESI, OpKind.MemoryESEDI);

    /// <summary>True when RSI is read through.</summary>
    internal static bool ReadsSource(in Instruction i) => HasKind(i, OpKind.MemorySegESI, OpKind.MemorySegRSI);

    /// <summary>True when RDI is used.</summary>
    internal static bool UsesDestination(in Instruction i) => HasKind(i, OpKind.MemoryESEDI, OpKind.MemoryESRDI);

    private static bool HasKind(in Instruction i, OpKind first, OpKind second) => i.Op0Kind == first
        || i.Op0Kind == second || i.Op1Kind == first || i.Op1Kind == second;

    private static Span<byte> Room(TestCase test, ulong address, int length)
    {
        ulong at = address - test.SliceAddress;
        return at < (ulong)test.SliceLength && (ulong)test.SliceLength - at >= (ulong)length
            ? test.Slice.AsSpan((int)at, length)
            : new byte[length];
    }

    private static void Write(TestCase test, ulong address, ulong value, int length)
    {
        Span<byte> room = Room(test, address, length);
        for (int i = 0; i < length && i < 8; i++)
        {
            room[i] = (byte)(value >> (8 * i));
        }
    }

    // FOP, FIP and FDP: where the last x87 instruction stood is the translator's code, not the guest's.
    private static void Ignore(TestCase test, ulong target, int offset, int length)
    {
        long at = (long)(target - test.SliceAddress) + offset;
        if (at >= 0 && at + length <= test.SliceLength)
        {
            test.IgnoredOffset = (int)at;
            test.IgnoredLength = length;
        }
    }

    private ulong BranchTarget(TestCase test) => _random.OneIn(40)
        ? OracleLayout.Code + OracleLayout.CodeSize + (ulong)_random.Below(4096)
        : test.Pads[_random.Below(test.PadCount)];

    private void PrepareDivide(in Instruction i, CpuTestState* state)
    {
        if (_random.OneIn(16) || i.MemoryBase is Register.RAX or Register.RDX or Register.EAX or Register.EDX
            || i.MemoryIndex is Register.RAX or Register.RDX or Register.EAX or Register.EDX)
        {
            return;
        }

        bool signed = i.Mnemonic == Mnemonic.Idiv;
        int bits = 8 * (i.Op0Kind == OpKind.Register ? i.Op0Register.GetSize() : i.MemorySize.GetSize());
        if (bits == 8)
        {
            ulong low = (byte)_random.Next();
            ulong value = signed ? (ulong)(long)(sbyte)low & 0xFFFF : low | ((ulong)_random.Below(16) << 8);
            state->Gpr[0] = (state->Gpr[0] & ~0xFFFFUL) | value;
            return;
        }

        ulong mask = bits == 64 ? ulong.MaxValue : (1UL << bits) - 1;
        bool negative = ((state->Gpr[0] >> (bits - 1)) & 1) != 0;
        ulong high = signed ? (negative ? ulong.MaxValue : 0) : (ulong)_random.Below(2) * (ulong)_random.Below(100);
        state->Gpr[2] = (state->Gpr[2] & ~mask) | (high & mask);
    }

    private uint PrepareString(OperandPlan plan, CpuTestState* state, ulong target)
    {
        Instruction i = plan.Instruction;
        bool garbage = !plan.Mode32 && IsString32(i);
        ulong count = (ulong)(_random.OneIn(4) ? _random.Below(3) : _random.Below(24));
        ulong source = target + (ulong)(long)_random.Between(-100, 100) - plan.SegmentBase;
        state->Gpr[1] = garbage ? count | (_random.Next() << 32) : count;
        state->Gpr[6] = garbage ? (uint)source | (_random.Next() << 32) : source;
        state->Gpr[7] = garbage ? (uint)target | (_random.Next() << 32) : target;
        if (!i.HasRepPrefix && !i.HasRepnePrefix && _random.OneIn(2))
        {
            state->Gpr[1] = _random.Integer() & (plan.Mode32 ? uint.MaxValue : ulong.MaxValue);
        }

        return 0xC2;
    }

    private void PrepareStack(OperandPlan plan, TestCase test, ulong target)
    {
        CpuTestState* state = test.Initial;
        Instruction i = plan.Instruction;
        int word = plan.Mode32 ? 4 : 8;
        switch (i.Mnemonic)
        {
            case Mnemonic.Ret:
                Write(test, target, BranchTarget(test), word);
                break;
            case Mnemonic.Call when i.Op0Kind == OpKind.Register:
                state->Gpr[OperandPlan.Gpr(i.Op0Register)] = BranchTarget(test);
                break;
            case Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq:
                Write(test, target, _random.Next() & ~0x100UL, word);
                break;
            case Mnemonic.Retf or Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq:
                PrepareFarReturn(plan, test, target);
                break;
            case Mnemonic.Pop when i.Op0Kind == OpKind.Register && i.Op0Register.IsSegmentRegister():
                Write(test, target, FarSegment.Data(_random, false), 2);
                break;
            case Mnemonic.Leave:
                state->Gpr[5] = target;
                state->Gpr[4] = plan.Mode32 ? (uint)_random.Next() : _random.Next();
                break;
            case Mnemonic.Enter:
                state->Gpr[5] = target + (ulong)(_random.Between(-4, 8) * 8);
                break;
            default:
                break;
        }
    }

    private void PrepareFarReturn(OperandPlan plan, TestCase test, ulong target)
    {
        int size = FarSegment.OffsetSize(plan.Instruction.Code);
        ulong at = target;
        void Next(ulong value)
        {
            Write(test, at, value, size);
            at += (ulong)size;
        }

        Next(BranchTarget(test));
        Next(FarSegment.Code(_random, plan.Mode32));
        if (plan.Instruction.Mnemonic != Mnemonic.Retf)
        {
            Next(_random.Next() & ~0x100UL);
            Next(_random.OneIn(2) ? target : _random.Integer());
            Next(FarSegment.Data(_random, true));
        }
    }

    private void PrepareXrstor(TestCase test, ulong target)
    {
        ulong parts = (uint)_random.Below(8);
        bool compact = _random.OneIn(2);
        Write(test, target, 0x37F | (_random.Next() & 0x3800_0F00), 8);
        Write(test, target + 24, _random.Next() & (_random.OneIn(32) ? 0xFFFFFu : 0xFFFF), 4);
        Write(test, target + 512, parts, 8);
        Write(test, target + 520, compact ? (1UL << 63) | parts | (uint)_random.Below(8) : 0, 8);
        if (!_random.OneIn(32))
        {
            Room(test, target + 528, 48).Clear();
        }
    }
}
