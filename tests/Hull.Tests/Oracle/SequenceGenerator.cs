using System;
using System.Collections.Generic;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// Random programs of 2 to 20 instructions: flags that live and die, registers renamed and spilled, faults in the
/// middle, forward branches over a few instructions. Memory operands go through three registers that nothing writes.
/// </summary>
internal sealed unsafe class SequenceGenerator
{
    private const int SliceLength = 640;
    private const int NearEnd = 400;

    // Without the forms that change segments: such tests need a stub that puts the host's own back.
    private const FormSets StraightLine =
        FormSets.All & ~(FormSets.Privileged | FormSets.SegmentBases | FormSets.Segments | FormSets.Xsave);

    private static readonly HashSet<Mnemonic> Excluded =
    [
        Mnemonic.Fnsave, Mnemonic.Fnstenv, Mnemonic.Fxsave, Mnemonic.Fxsave64, Mnemonic.Fxrstor, Mnemonic.Fxrstor64,
        Mnemonic.Fldenv, Mnemonic.Frstor, Mnemonic.Popf, Mnemonic.Popfd, Mnemonic.Popfq, Mnemonic.Enter, Mnemonic.Leave,
        Mnemonic.Int1, Mnemonic.Int3, Mnemonic.Ud1, Mnemonic.Ud2, Mnemonic.Xlatb, Mnemonic.Maskmovq, Mnemonic.Maskmovdqu,
        Mnemonic.Vmaskmovdqu, Mnemonic.Into, Mnemonic.Bound, Mnemonic.Aaa, Mnemonic.Aas, Mnemonic.Aam, Mnemonic.Aad,
        Mnemonic.Daa, Mnemonic.Das, // flags that they leave undefined would live on
    ];

    private readonly OracleRandom _random;
    private readonly InstructionBuilder _builder;
    private readonly StateGenerator _states;
    private readonly InstructionInfoFactory _infos = new();
    private readonly List<Form> _forms;
    private readonly List<Instruction> _instructions = [];
    private readonly List<int> _skips = [];
    private readonly int[] _reserved = new int[3];
    private readonly bool _mode32;
    private FormSets _used;

    /// <summary>Draws forms from the sets.</summary>
    internal SequenceGenerator(OracleRandom random, FormSets sets, bool mode32)
    {
        _random = random;
        _mode32 = mode32;
        _builder = new InstructionBuilder(random, mode32);
        _states = new StateGenerator(random);
        _forms = FormCatalog.Find(sets & StraightLine, mode32).FindAll(IsAllowed);
    }

    /// <summary>Makes a program and its first state.</summary>
    /// <returns>The last instruction's plan, for comparisons; null when nothing was found this time.</returns>
    internal OperandPlan? TryMake(TestCase test)
    {
        PickReserved();
        _instructions.Clear();
        _skips.Clear();
        _used = FormSets.Integer;
        int length = _random.Between(2, 20);
        int depth = 0;
        for (int attempts = 0; _instructions.Count < length && attempts < 400; attempts++)
        {
            if (_random.OneIn(12))
            {
                AddBranch();
            }
            else if (TryPick(ref depth, out Instruction instruction, out Form? form))
            {
                _instructions.Add(instruction);
                _skips.Add(0);
                _used |= form.Set;
            }
        }

        return _instructions.Count >= 2 && Assemble(test) ? Fill(test) : null;
    }

    private bool IsAllowed(Form form)
    {
        Mnemonic mnemonic = form.Code.Mnemonic();
        Instruction sample = default;
        sample.Code = form.Code;
        return !Excluded.Contains(mnemonic) && sample.FlowControl == FlowControl.Next && !sample.IsStringInstruction
            && form.OpCode.Op0Kind != OpCodeOperandKind.mem_offs && form.OpCode.Op1Kind != OpCodeOperandKind.mem_offs;
    }

    private void PickReserved()
    {
        for (int i = 0; i < _reserved.Length; i++)
        {
            do
            {
                _reserved[i] = _random.Below(_mode32 ? 8 : 16);
            }
            while (_reserved[i] == 4 || Array.IndexOf(_reserved, _reserved[i], 0, i) >= 0);
        }
    }

    private uint ReservedMask => (1u << _reserved[0]) | (1u << _reserved[1]) | (1u << _reserved[2]);

    private bool TryPick(ref int depth, out Instruction instruction, out Form form)
    {
        form = _forms[_random.Below(_forms.Count)];
        if (form.Set > FormSets.BitManipulation && _random.OneIn(2))
        {
            form = _forms[_random.Below(_forms.Count)];
        }

        if (!_builder.TryBuild(form, OracleLayout.CodeStart, out instruction))
        {
            return false;
        }

        if (instruction.Mnemonic is Mnemonic.Div or Mnemonic.Idiv && !_random.OneIn(8))
        {
            return false;
        }

        OperandPlan plan = OperandPlan.Of(instruction, _infos, _mode32);
        uint allowed = ~ReservedMask & ~(plan.IsStack ? 0u : 1u << 4);
        if ((plan.WrittenGpr & ~allowed) != 0 || plan.Instruction.IsVsib)
        {
            return false;
        }

        if (plan.IsStack)
        {
            int step = instruction.StackPointerIncrement;
            bool writesPointer = instruction.OpCount > 0 && instruction.Op0Kind == OpKind.Register
                && OperandPlan.Gpr(instruction.Op0Register) == 4;
            if (step == 0 || writesPointer || Math.Abs(depth + step) > 96)
            {
                return false;
            }

            depth += step;
        }

        return !plan.HasOperand || Redirect(plan, ref instruction);
    }

    private bool Redirect(OperandPlan plan, ref Instruction instruction)
    {
        bool bitOffset = instruction.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc
            && instruction.Op1Kind == OpKind.Register;
        if (bitOffset || plan.Size > 32)
        {
            return false;
        }

        int alignment = Math.Max(plan.Alignment, 1);
        int displacement = _random.Between(-120, 88);
        if (alignment > 1 || _random.OneIn(2))
        {
            displacement &= -Math.Max(alignment, 8);
        }

        bool faults = _random.OneIn(250);
        instruction.MemoryBase = (_mode32 ? Register.EAX : Register.RAX) + _reserved[_random.Below(3)];
        instruction.MemoryIndex = Register.None;
        instruction.MemoryIndexScale = 1;
        instruction.SegmentPrefix = Register.None;
        instruction.MemoryDisplacement64 = (ulong)(long)(faults ? OracleLayout.WritableSize + 0x2000 + displacement : displacement);
        instruction.MemoryDisplSize = faults || _random.OneIn(4) ? (_mode32 ? 4 : 8) : 1;
        if (_mode32)
        {
            instruction.MemoryDisplacement32 = (uint)instruction.MemoryDisplacement64;
        }

        return true;
    }

    // A conditional or plain jump over the next one to three instructions.
    private void AddBranch()
    {
        Code code = _random.OneIn(6) ? Code.Jmp_rel8_64 : Code.Jo_rel8_64 + (3 * _random.Below(16));
        if (_mode32)
        {
            code = code == Code.Jmp_rel8_64 ? Code.Jmp_rel8_32 : code - 1;
        }

        _instructions.Add(Instruction.CreateBranch(code, OracleLayout.CodeStart));
        _skips.Add(_random.Between(1, 3));
    }

    private bool Assemble(TestCase test)
    {
        // Lengths first: branches are all two bytes long.
        Span<int> starts = stackalloc int[_instructions.Count + 1];
        byte[] code = new byte[TestCase.MaxCode];
        int at = 0;
        for (int pass = 0; pass < 2; pass++)
        {
            at = 0;
            for (int i = 0; i < _instructions.Count; i++)
            {
                starts[i] = at;
                if (_skips[i] != 0)
                {
                    int target = starts[Math.Min(i + 1 + _skips[i], _instructions.Count)];
                    code[at] = BranchOpcode(_instructions[i].Code);
                    code[at + 1] = (byte)(target - at - 2);
                    at += 2;
                    continue;
                }

                BytesWriter writer = new(code, at);
                Encoder encoder = Encoder.Create(_mode32 ? 32 : 64, writer);
                if (!encoder.TryEncode(_instructions[i], OracleLayout.CodeStart + (ulong)at, out uint length, out _))
                {
                    return false;
                }

                at += (int)length;
            }

            starts[_instructions.Count] = at;
        }

        test.SetCode(code.AsSpan(0, at), _instructions.Count);
        return true;
    }

    private static byte BranchOpcode(Code code) => code is Code.Jmp_rel8_64 or Code.Jmp_rel8_32
        ? (byte)0xEB
        : (byte)code.ToOpCode().OpCode;

    private OperandPlan? Fill(TestCase test)
    {
        Instruction last = _instructions[^1];
        OperandPlan plan = OperandPlan.Of(Instruction.Create(Code.Nopd), _infos, _mode32);
        if (!_states.TryFill(plan, test, _used))
        {
            return null;
        }

        CpuTestState* state = test.Initial;
        state->Rip = test.CodeAddress;
        state->Rflags &= ~0x400UL;
        bool atEnd = _random.OneIn(16);
        test.SliceLength = SliceLength;
        test.SliceAddress = atEnd
            ? OracleLayout.ReadOnlyPage - SliceLength
            : OracleLayout.Window + (ulong)(_random.Below((OracleLayout.WritableSize - SliceLength) / 16) * 16);
        test.IgnoredLength = 0;
        _states.FillSlice(test);
        foreach (int register in _reserved)
        {
            state->Gpr[register] = test.SliceAddress + (ulong)(_random.Between(10, 16) * 16);
        }

        state->Gpr[4] = test.SliceAddress + NearEnd + (ulong)(_random.Between(0, 8) * 8);
        return OperandPlan.Of(last, _infos, _mode32);
    }

    private sealed class BytesWriter(byte[] bytes, int at) : CodeWriter
    {
        private int _at = at;

        public override void WriteByte(byte value) => bytes[_at++] = value;
    }
}
