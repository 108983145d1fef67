using System;
using System.Runtime.InteropServices;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// Random initial states for one instruction: operands from the lattices, address registers solved so that memory
/// operands hit the window, and now and then an address that faults.
/// </summary>
internal sealed unsafe class StateGenerator
{
    private readonly OracleRandom _random;
    private readonly byte[] _pool = new byte[0x10000];
    private readonly SpecialOperands _special;
    private int _fills;

    /// <summary>Draws from <paramref name="random"/>.</summary>
    internal StateGenerator(OracleRandom random)
    {
        _random = random;
        _special = new SpecialOperands(random);
    }

    /// <summary>Of a thousand memory operands, how many are meant to fault.</summary>
    internal int FaultsPerThousand { get; set; } = 8;

    /// <summary>Gives the test a state.</summary>
    /// <returns>False when the address registers cannot be solved this time; try again.</returns>
    internal bool TryFill(OperandPlan plan, TestCase test, FormSets set)
    {
        if (_fills++ % 4096 == 0)
        {
            _random.FillMixed(_pool);
        }

        CpuTestState* state = test.Initial;
        FillRegisters(plan, state);
        if ((set & (FormSets.X87 | FormSets.Mmx | FormSets.Sse | FormSets.Crypto | FormSets.Avx | FormSets.Xsave)) != 0
            || _random.OneIn(16))
        {
            FillVectors(state, set);
            FillX87(state, set);
        }

        ulong target = PickTarget(plan, state);
        PlaceSlice(plan, test, target);
        uint solved = _special.Prepare(plan, test, target);
        if (plan.HasOperand)
        {
            if (plan.IsStack)
            {
                target += (ulong)(_random.Between(-12, 12) * 8);
            }

            uint start = test.BaseOf(plan.Instruction.MemorySegment);
            target -= start;
            bool ok = plan.Instruction.IsVsib
                ? SolveVsib(plan, state, target)
                : SolveOperand(plan, state, ref target, solved);
            if (!ok)
            {
                return false;
            }

            target = test.Mode32 ? (uint)target + start : target;
            _special.Finish(plan, test, target);
        }

        return AddressSafety.IsSafe(plan, test);
    }

    /// <summary>Fills the test's slice with operands of all kinds.</summary>
    internal void FillSlice(TestCase test) => FromPool(test.Slice.AsSpan(0, test.SliceLength));

    private void FillRegisters(OperandPlan plan, CpuTestState* state)
    {
        ulong mask = plan.Mode32 ? uint.MaxValue : ulong.MaxValue;
        for (int i = 0; i < 16; i++)
        {
            state->Gpr[i] = _random.Integer() & mask;
        }

        ulong bits = _random.Next();
        state->Rflags = 0x202 | (bits & 0x8D5);
        if ((bits & 0xF0000) == 0 || (plan.IsString && (bits & 0x30000) == 0))
        {
            state->Rflags |= 0x400;
        }

        if (_random.OneIn(6))
        {
            state->Gpr[_random.Below(16)] = state->Gpr[_random.Below(16)];
        }

        state->FsBase = OracleLayout.FsBase;
        state->GsBase = OracleLayout.GsBase;
        state->XstateBv = 7;
    }

    private void FillVectors(CpuTestState* state, FormSets set)
    {
        FromPool(new Span<byte>(state->Xmm, 256));
        FromPool(new Span<byte>(state->YmmHigh, 256));
        Span<UInt128> xmm = MemoryMarshal.Cast<byte, UInt128>(new Span<byte>(state->Xmm, 256));
        if (_random.OneIn(4))
        {
            xmm[_random.Below(16)] = xmm[_random.Below(16)];
        }

        ulong bits = _random.Next();
        state->Mxcsr = 0x1F80 | ((uint)bits & 0xE07F & ((uint)(bits >> 16) | 0x6000));
        if ((set & (FormSets.Sse | FormSets.Avx)) != 0 && (bits >> 32) % 64 == 0)
        {
            state->Mxcsr &= ~0x1F80u | (uint)(bits >> 40);
        }
    }

    private void FillX87(CpuTestState* state, FormSets set)
    {
        ulong bits = _random.Next();
        for (int i = 0; i < 8; i++)
        {
            Span<byte> st = new(state->St + (i * 16), 16);
            st.Clear();
            if ((set & FormSets.Mmx) != 0 && (bits >> 60) != 0)
            {
                FromPool(st[..8]);
                st[8] = st[9] = 0xFF;
            }
            else
            {
                _random.Extended(st);
            }
        }

        state->Fcw = (ushort)(0x37F ^ ((uint)bits & 0x0F00));
        state->Fsw = (ushort)((bits >> 12) & 0x7F00 & ~0x80u);
        state->Ftw = ((bits >> 32) & 3) == 0 ? (byte)(bits >> 34) : (byte)0xFF;
        uint pick = (uint)(bits >> 44) & 63;
        if ((set & FormSets.X87) != 0 && pick < 2)
        {
            state->Fcw = (ushort)((state->Fcw & ~0x3Fu) | ((uint)(bits >> 50) & 0x3F));
        }

        if (pick is > 1 and < 12)
        {
            // Sticky exception bits, none of them unmasked: a pending #MF is a test of its own.
            state->Fsw |= (ushort)((uint)(bits >> 50) & state->Fcw & 0x3F);
        }
        else if (pick == 12 && (set & (FormSets.X87 | FormSets.Mmx)) != 0)
        {
            state->Fcw &= 0xFFFB;
            state->Fsw |= 0x8084;
        }
    }

    private void FromPool(Span<byte> destination)
    {
        int at = _random.Below((_pool.Length - destination.Length) / 8) * 8;
        _pool.AsSpan(at, destination.Length).CopyTo(destination);
    }

    private ulong PickTarget(OperandPlan plan, CpuTestState* state)
    {
        Instruction i = plan.Instruction;
        if (plan.HasOperand && (i.IsIPRelativeMemoryOperand
            || (i.MemoryBase == Register.None && i.MemoryIndex == Register.None)))
        {
            return plan.OperandAddress(state);
        }

        int size = Math.Max(plan.Size, 1);
        if (_random.Below(1000) < FaultsPerThousand)
        {
            return FaultingTarget(size, plan);
        }

        ulong at = _random.Below(8) switch
        {
            0 or 1 => OracleLayout.Window + 0x1000 - (ulong)_random.Below(size + 8),
            2 => OracleLayout.Window + ((ulong)_random.Between(8, 100) * 64) - (ulong)_random.Below(size + 1),
            3 when !plan.IsLocked && !plan.IsStack => OracleLayout.ReadOnlyPage - (ulong)size,
            _ => OracleLayout.Window + (ulong)_random.Between(600, OracleLayout.WritableSize - 1100),
        };
        int alignment = plan.IsStack && !plan.IsLocked && !_random.OneIn(8) ? 8 : plan.Alignment;
        return plan.IsLocked || !_random.OneIn(64) ? at & (ulong)-alignment : at;
    }

    private ulong FaultingTarget(int size, OperandPlan plan)
    {
        ulong alignment = (ulong)-(plan.IsLocked ? plan.Alignment : 1);
        return _random.Below(8) switch
        {
            // Against the end: a CPU that reads more than the operand faults.
            7 => (OracleLayout.WindowEnd - (ulong)size) & alignment,
            0 => (OracleLayout.WindowEnd - (ulong)_random.Below(size)) & alignment,
            1 => (OracleLayout.Window - (ulong)_random.Between(1, size)) & alignment,
            2 => (OracleLayout.WindowEnd + (ulong)_random.Below(4096)) & alignment,
            3 => (OracleLayout.ReadOnlyPage - (ulong)_random.Below(size)) & alignment,
            4 => (OracleLayout.ReadOnlyPage + (ulong)_random.Below(2048)) & alignment,
            5 when !plan.Mode32 && !plan.IsAddress32 => (1UL << _random.Between(47, 62)) + (ulong)(_random.Below(64) * 64)
                + ((ulong)(_random.OneIn(4) ? _random.Below(64) : 0) & alignment),
            _ => (ulong)_random.Below(1000) * 64,
        };
    }

    private void PlaceSlice(OperandPlan plan, TestCase test, ulong target)
    {
        bool wide = plan.IsString || plan.IsStack || plan.Instruction.IsVsib
            || plan.Instruction.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc;
        int length = plan.Size > 64 ? 1024 : wide ? 640 : plan.Memory.Length > 0 ? 192 : 0;
        ulong lead = plan.Size > 64 ? 96 : plan.IsStack ? (ulong)length * 5 / 8 : (ulong)length / 2;
        ulong at = (target - lead) & ~15UL;
        ulong last = OracleLayout.ReadOnlyPage - (ulong)length;
        at = target < OracleLayout.Window + lead ? OracleLayout.Window : Math.Min(at, last);
        test.SliceAddress = at;
        test.SliceLength = length;
        test.IgnoredLength = 0;
        FromPool(test.Slice.AsSpan(0, length));
    }

    private bool SolveOperand(OperandPlan plan, CpuTestState* state, ref ulong target, uint solved)
    {
        Instruction i = plan.Instruction;
        int baseNumber = i.IsIPRelativeMemoryOperand ? -1 : OperandPlan.Gpr(i.MemoryBase);
        int index = i.IsIPRelativeMemoryOperand ? -1 : OperandPlan.Gpr(i.MemoryIndex);
        bool free = baseNumber >= 0 && (solved & (1u << baseNumber)) == 0;
        bool indexFree = index >= 0 && (solved & (1u << index)) == 0;
        ulong scale = (ulong)i.MemoryIndexScale;
        ulong rest = target - plan.SegmentBase - i.MemoryDisplacement64;
        if (baseNumber >= 0 && baseNumber == index)
        {
            if (!free || (scale == 1 && (rest & 1) != 0))
            {
                return false;
            }

            ulong value = scale == 1 ? rest >> 1 : rest * Inverse(scale + 1);
            Set(plan, state, baseNumber, value);
        }
        else if (free)
        {
            if (indexFree && _random.OneIn(2))
            {
                state->Gpr[index] = (ulong)(long)_random.Between(-128, 128) & (plan.Mode32 ? uint.MaxValue : ulong.MaxValue);
            }

            ulong indexValue = index < 0 ? 0 : state->Gpr[index] * scale;
            Set(plan, state, baseNumber, rest - indexValue);
        }
        else if (indexFree)
        {
            ulong value = rest - (baseNumber < 0 ? 0 : state->Gpr[baseNumber]);
            Set(plan, state, index, (ulong)((plan.IsAddress32 ? (int)value : (long)value) / (long)scale));
        }

        target = plan.OperandAddress(state);
        return true;
    }

    // The inverse of an odd number modulo 2^64, by Newton's iteration.
    private static ulong Inverse(ulong odd)
    {
        ulong x = odd;
        for (int i = 0; i < 6; i++)
        {
            x *= 2 - (odd * x);
        }

        return x;
    }

    private void Set(OperandPlan plan, CpuTestState* state, int number, ulong value)
    {
        state->Gpr[number] = plan.Mode32 ? (uint)value
            : plan.IsAddress32 ? (uint)value | (_random.Next() << 32) : value;
    }

    private bool SolveVsib(OperandPlan plan, CpuTestState* state, ulong target)
    {
        Instruction i = plan.Instruction;
        long scale = i.MemoryIndexScale;
        int baseNumber = OperandPlan.Gpr(i.MemoryBase);
        long origin = (long)(target - plan.SegmentBase - i.MemoryDisplacement64);
        if (baseNumber >= 0)
        {
            Set(plan, state, baseNumber, (ulong)origin);
            origin = 0;
        }

        int number = i.MemoryIndex.GetNumber();
        bool wild = _random.Below(1000) < FaultsPerThousand * 2;
        bool wide = i.TryGetVsib64(out bool vsib64) && vsib64;
        for (int lane = 0; lane < (wide ? 4 : 8); lane++)
        {
            long offset = wild && _random.OneIn(3) ? _random.Between(0, 0x2000) : _random.Between(-150, 150);
            long value = (origin + offset) / scale;
            int at = lane * (wide ? 8 : 4);
            byte* half = at < 16 ? state->Xmm : state->YmmHigh;
            byte* cell = half + (number * 16) + (at & 15);
            if (wide)
            {
                *(long*)cell = value;
            }
            else
            {
                *(int*)cell = (int)value;
            }
        }

        return true;
    }
}
