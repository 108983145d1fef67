using System;
using System.Collections.Generic;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// Builds random encodings of a form, byte by byte: prefixes, REX or VEX bits, ModRM, SIB, displacement and immediate
/// are random within what the form allows, and the decoder has the last word. This covers encodings that no assembler
/// would choose.
/// </summary>
internal sealed class InstructionBuilder
{
    private readonly OracleRandom _random;
    private readonly byte[] _bytes = new byte[32];
    private readonly ByteArrayCodeReader _reader;
    private readonly Dictionary<Code, Shape[]> _shapes = [];
    private readonly bool _mode32;
    private int _length;
    private int _dispAt;
    private int _dispSize;
    private bool _wantsRipTarget;

    /// <summary>Builds for 64-bit code, or 32-bit code.</summary>
    internal InstructionBuilder(OracleRandom random, bool mode32)
    {
        _random = random;
        _mode32 = mode32;
        _reader = new ByteArrayCodeReader(_bytes);
    }

    /// <summary>Bases that operands with FS and GS get; without them no such prefix is built.</summary>
    internal bool AllowSegmentBases { get; set; }

    /// <summary>The bytes of the last instruction built.</summary>
    internal ReadOnlySpan<byte> Bytes => _bytes.AsSpan(0, _length);

    /// <summary>Builds one encoding of the form, to stand at <paramref name="address"/>.</summary>
    internal bool TryBuild(Form form, ulong address, out Instruction instruction)
    {
        for (int attempt = 0; attempt < 60; attempt++)
        {
            Build(form, address);
            if (_length > 15)
            {
                continue;
            }

            instruction = Decode(address);
            if (instruction.Code == form.Code && instruction.Length == _length)
            {
                return true;
            }
        }

        instruction = default;
        return false;
    }

    private Shape ShapeOf(OpCodeInfo opCode)
    {
        if (!_shapes.TryGetValue(opCode.Code, out Shape[]? shapes))
        {
            shapes = [new Shape(opCode, false), new Shape(opCode, true)];
            _shapes[opCode.Code] = shapes;
        }

        return shapes[_random.Below(2)];
    }

    private Instruction Decode(ulong address)
    {
        Array.Clear(_bytes, _length, _bytes.Length - _length);
        _reader.Position = 0;
        Decoder decoder = OracleDecoder.Create(_mode32 ? 32 : 64, _reader);
        decoder.IP = address;
        decoder.Decode(out Instruction instruction);
        return instruction;
    }

    private void Build(Form form, ulong address)
    {
        _length = 0;
        _dispSize = 0;
        _wantsRipTarget = false;
        Shape shape = ShapeOf(form.OpCode);
        ulong segmentBase = Prefixes(form.OpCode, shape, out bool address32);
        if (form.OpCode.Encoding == EncodingKind.VEX)
        {
            Vex(form.OpCode, shape);
        }
        else
        {
            RexAndOpcode(form.OpCode);
        }

        if (shape.HasModRm)
        {
            ModRm(form.OpCode, shape, segmentBase);
        }

        if (shape.HasMemoryOffset)
        {
            ulong target = Target(16) - segmentBase;
            Put(target, address32 || _mode32 ? 4 : 8);
        }

        Immediates(shape);
        if (_wantsRipTarget)
        {
            long displacement = (long)(Target(16) - segmentBase - address) - _length;
            BitConverter.TryWriteBytes(_bytes.AsSpan(_dispAt), (int)displacement);
        }
    }

    private ulong Prefixes(OpCodeInfo opCode, Shape shape, out bool address32)
    {
        ulong segmentBase = 0;
        address32 = false;
        bool anyMemory = shape.IsMemory || shape.HasMemoryOffset || shape.HasImplicitMemory;
        if (anyMemory && !_mode32 && _random.OneIn(12))
        {
            bool real = AllowSegmentBases && _random.OneIn(2);
            bool fs = _random.OneIn(2);
            segmentBase = !real ? 0 : fs ? OracleLayout.FsBase : OracleLayout.GsBase;
            Put(real ? (fs ? 0x64u : 0x65u) : _random.Below(4) switch { 0 => 0x26u, 1 => 0x2E, 2 => 0x36, _ => 0x3E }, 1);
        }

        if (!_mode32 && (opCode.AddressSize == 32 || (opCode.AddressSize == 0 && _random.OneIn(12))))
        {
            address32 = true;
            Put(0x67, 1);
        }

        if (_mode32 && opCode.AddressSize == 16 && !anyMemory)
        {
            Put(0x67, 1);
        }

        if (opCode.Encoding == EncodingKind.VEX)
        {
            return segmentBase;
        }

        if (opCode.CanUseLockPrefix && shape.IsMemory && _random.OneIn(3))
        {
            Put(0xF0, 1);
        }

        bool small = opCode.OperandSize == 16;
        if (small || opCode.MandatoryPrefix == MandatoryPrefix.P66
            || (opCode.MandatoryPrefix == MandatoryPrefix.None && _random.OneIn(30)))
        {
            Put(0x66, 1);
        }

        if (opCode.MandatoryPrefix == MandatoryPrefix.PF3)
        {
            Put(0xF3, 1);
        }
        else if (opCode.MandatoryPrefix == MandatoryPrefix.PF2)
        {
            Put(0xF2, 1);
        }
        else if (opCode.CanUseRepPrefix && !_random.OneIn(3))
        {
            Put(opCode.CanUseRepnePrefix && _random.OneIn(2) ? 0xF2u : 0xF3, 1);
        }

        return segmentBase;
    }

    private void RexAndOpcode(OpCodeInfo opCode)
    {
        if (!_mode32)
        {
            bool wide = opCode.OperandSize == 64 && !opCode.DefaultOpSize64 && !opCode.ForceOpSize64;
            uint rex = (uint)_random.Below(8);
            if (_random.OneIn(3))
            {
                rex = 0;
            }

            if (wide || (opCode.OperandSize != 32 && opCode.OperandSize != 16 && _random.OneIn(8)))
            {
                rex |= 8;
            }

            if (rex != 0 || _random.OneIn(6))
            {
                Put(0x40 | rex, 1);
            }
        }

        switch (opCode.Table)
        {
            case OpCodeTableKind.T0F:
                Put(0x0F, 1);
                break;
            case OpCodeTableKind.T0F38:
                Put(0x380F, 2);
                break;
            case OpCodeTableKind.T0F3A:
                Put(0x3A0F, 2);
                break;
            default:
                break;
        }

        PutOpcode(opCode);
    }

    private void PutOpcode(OpCodeInfo opCode)
    {
        uint value = opCode.OpCode;
        for (int i = 0; i < opCode.OpCount; i++)
        {
            if (opCode.GetOpKind(i) is OpCodeOperandKind.r8_opcode or OpCodeOperandKind.r16_opcode
                or OpCodeOperandKind.r32_opcode or OpCodeOperandKind.r64_opcode or OpCodeOperandKind.sti_opcode)
            {
                value += (uint)_random.Below(8);
            }
        }

        if (opCode.OpCodeLength == 2)
        {
            Put(value >> 8, 1);
        }

        Put(value & 0xFF, 1);
    }

    private void Vex(OpCodeInfo opCode, Shape shape)
    {
        uint pp = opCode.MandatoryPrefix switch
        {
            MandatoryPrefix.P66 => 1,
            MandatoryPrefix.PF3 => 2,
            MandatoryPrefix.PF2 => 3,
            _ => 0u,
        };
        uint inverted = _mode32 ? 7u : (uint)_random.Below(8);
        uint vvvv = shape.UsesVvvv ? (uint)_random.Below(16) : 15;
        if (_mode32)
        {
            vvvv |= 8;
        }

        uint length = opCode.IsLIG ? (uint)_random.Below(2) : opCode.L;
        uint wide = opCode.IsWIG || (_mode32 && opCode.IsWIG32) ? (uint)_random.Below(2) : opCode.W;
        uint tail = (vvvv << 3) | (length << 2) | pp;
        if (opCode.Table == OpCodeTableKind.T0F && wide == 0 && (inverted & 3) == 3 && _random.OneIn(2))
        {
            Put(0xC5, 1);
            Put(((inverted & 4) << 5) | tail, 1);
        }
        else
        {
            uint map = opCode.Table switch { OpCodeTableKind.T0F => 1, OpCodeTableKind.T0F38 => 2, _ => 3u };
            Put(0xC4, 1);
            Put((inverted << 5) | map, 1);
            Put((wide << 7) | tail, 1);
        }

        PutOpcode(opCode);
    }

    private void ModRm(OpCodeInfo opCode, Shape shape, ulong segmentBase)
    {
        uint reg = opCode.IsGroup ? (uint)opCode.GroupIndex : (uint)_random.Below(8);
        if (!shape.IsMemory)
        {
            uint register = opCode.IsRmGroup ? (uint)opCode.RmGroupIndex : (uint)_random.Below(8);
            Put(0xC0 | (reg << 3) | register, 1);
            return;
        }

        uint mod = (uint)_random.Below(3);
        uint rm = shape.IsVsib || _random.OneIn(3) ? 4 : (uint)_random.Below(8);
        Put((mod << 6) | (reg << 3) | rm, 1);
        bool noBase = mod == 0 && rm == 5;
        bool index = false;
        if (rm == 4)
        {
            uint sib = (uint)_random.Below(256);
            if (mod == 0 && _random.OneIn(8))
            {
                sib = (sib & ~7u) | 5;
            }

            Put(sib, 1);
            noBase = mod == 0 && (sib & 7) == 5;
            index = shape.IsVsib || (sib & 0x38) != 0x20 || (_bytes[0] & 0xF2) == 0x42;
        }

        _dispSize = noBase || mod == 2 ? 4 : mod == 1 ? 1 : 0;
        _dispAt = _length;
        Put(Displacement(noBase, index, segmentBase, rm == 5 && !_mode32), _dispSize);
    }

    private ulong Displacement(bool noBase, bool index, ulong segmentBase, bool rip)
    {
        if (!noBase)
        {
            return _random.OneIn(2) ? (ulong)_random.Between(-64, 64) * 8 : _random.Integer();
        }

        if (rip)
        {
            _wantsRipTarget = true;
            return 0;
        }

        // With an index and no base the register must make up the rest: leave it divisible.
        return index ? (ulong)_random.Between(-4096, 4096) * 16 : Target(16) - segmentBase;
    }

    private ulong Target(int alignment)
    {
        int at = _random.Below(OracleLayout.WritableSize - 1024) + 512;
        return OracleLayout.Window + (ulong)(_random.OneIn(8) ? at : at & -alignment);
    }

    private void Immediates(Shape shape)
    {
        foreach (OpCodeOperandKind kind in shape.Immediates)
        {
            int size = Shape.ImmediateSize(kind);
            if (kind is >= OpCodeOperandKind.br16_1 and <= OpCodeOperandKind.br64_4)
            {
                Put((ulong)BranchDisplacement(), size);
            }
            else if (kind is OpCodeOperandKind.farbr2_2 or OpCodeOperandKind.farbr4_2)
            {
                Put(OracleLayout.FarTargets[_random.Below(OracleLayout.FarTargets.Length)], size);
                Put(FarSegment.Code(_random, _mode32), 2);
            }
            else
            {
                Put(size == 1 && _random.OneIn(2) ? (ulong)_random.Below(72) : _random.Integer(), size);
            }
        }
    }

    private int BranchDisplacement() => _random.Below(4) switch
    {
        0 => 0,
        1 => _random.Between(-128, -64),
        _ => _random.Between(24, 100),
    };

    private void Put(ulong value, int bytes)
    {
        for (int i = 0; i < bytes && _length < _bytes.Length; i++)
        {
            _bytes[_length++] = (byte)(value >> (i * 8));
        }
    }
}
