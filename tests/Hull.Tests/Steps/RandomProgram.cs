using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using Hull.Tests.Oracle;

namespace Hull.Tests.Steps;

/// <summary>The kind of code that a <see cref="RandomProgram"/> is made of.</summary>
public enum ProgramMode
{
    /// <summary>64-bit mode.</summary>
    Long,

    /// <summary>Compatibility mode with flat segments.</summary>
    Flat32,

    /// <summary>Compatibility mode with segments that have a base: every access is checked in C#.</summary>
    Based32,

    /// <summary>16-bit code in compatibility mode, each segment with a base of its own.</summary>
    Code16,
}

/// <summary>
/// Machine code for CPL 3 that never ends: chunks of random instructions with branches, loops, calls, string
/// instructions, faults, and stores into its own code, near and far. Half of it is opcodes at random with sensible
/// operands, so every instruction that there is comes up, and what has been overwritten is anything at all. All that it
/// cannot do is leave its pages.
/// </summary>
internal sealed class RandomProgram
{
    private readonly OracleRandom _random;
    private readonly byte[] _code = new byte[StepMachine.CodeSize];
    private readonly List<(int Site, int Size, int Chunk)> _branches = [];
    private readonly List<int> _chunks = [];
    private int _at;

    internal RandomProgram(ProgramMode mode, ulong seed)
    {
        Mode = mode;
        _random = new OracleRandom(seed);
        while (_at < _code.Length - 400)
        {
            _chunks.Add(_at);
            AddChunk();
        }

        foreach ((int site, int size, int chunk) in _branches)
        {
            int distance = _chunks[chunk % _chunks.Count] - (site + size);
            if (size == 4)
            {
                BinaryPrimitives.WriteInt32LittleEndian(_code.AsSpan(site), distance);
            }
            else
            {
                BinaryPrimitives.WriteInt16LittleEndian(_code.AsSpan(site), (short)distance);
            }
        }
    }

    internal ProgramMode Mode { get; }

    /// <summary>The bytes.</summary>
    internal ReadOnlySpan<byte> Code => _code;

    /// <summary>Where chunks start.</summary>
    internal IReadOnlyList<int> Chunks => _chunks;

    private bool Is16 => Mode == ProgramMode.Code16;

    private void AddChunk()
    {
        if (!_random.OneIn(3))
        {
            SetPointers();
        }

        bool loop = _random.OneIn(3);
        if (loop)
        {
            Immediate(5, (uint)_random.Between(2, 9));
        }

        int start = _at;
        for (int i = _random.Between(1, 14); i > 0; i--)
        {
            AddInstruction();
        }

        if (loop)
        {
            Put(0xFF, 0xCD);                                    // dec ebp
            Put(0x0F, 0x85);                                    // jne start
            PutBranch(start - (_at + (Is16 ? 2 : 4)));
        }

        if (_random.OneIn(2))
        {
            AddBranch();
        }
    }

    private void AddInstruction()
    {
        switch (_random.Below(32))
        {
            case < 12:
                AddArithmetic();
                break;
            case < 20:
                AddAnything();
                break;
            case < 22:
                AddStore();
                break;
            case < 24:
                AddBranch();
                break;
            case 24:
                Put(0xC3);
                break;
            case 25:
                AddString();
                break;
            case 26:
                Put(0x9C, 0x9D);                                // pushf; popf
                break;
            case 27:
                Put((byte)(0x50 + _random.Below(8)), (byte)(0x58 + _random.Below(4)));
                break;
            case 28:
                Put(_random.OneIn(4) ? (byte)0xCC : (byte)0x90, 0x0F, (byte)(0x90 + _random.Below(16)), 0xC2); // setcc dl
                break;
            default:
                Put(0x0F, (byte)(0x40 + _random.Below(16)), (byte)(0xC0 + _random.Below(64)));     // cmovcc
                break;
        }
    }

    // ALU, shifts, multiplications with register or memory.
    private void AddArithmetic()
    {
        Prefix();
        switch (_random.Below(4))
        {
            case 0:
                Put((byte)((_random.Below(8) << 3) | _random.Below(4)));
                Operand(_random.Below(8));
                break;
            case 1:
                Put(0x83);
                Operand(_random.Below(8));
                Put((byte)_random.Next());
                break;
            case 2:
                Put(0xC1);
                Operand(_random.Below(8));
                Put((byte)_random.Below(40));
                break;
            default:
                Put(0xF7);
                Operand(_random.Between(2, 7));
                break;
        }
    }

    // An opcode of one of the maps, whatever it is, with an operand and some bytes that may be an immediate.
    private void AddAnything()
    {
        Prefix();
        if (_random.OneIn(6))
        {
            Put((byte)(_random.OneIn(2) ? 0xF2 : 0xF3));
        }

        int map = _random.Below(8);
        byte opcode = (byte)_random.Next();
        switch (map)
        {
            case < 3:
                Put(opcode);
                break;
            case < 6:
                Put(0x0F, opcode);
                break;
            case 6:
                Put(0x0F, _random.OneIn(2) ? (byte)0x38 : (byte)0x3A, opcode);
                break;
            default:
                // VEX: map 1 to 3, vvvv and L at random.
                Put(0xC4, (byte)(0xE0 | _random.Between(1, 3)), (byte)_random.Next(), opcode);
                break;
        }

        Operand(_random.Below(8));
        Put((byte)_random.Next());
    }

    // A store into the program: mostly a byte or two behind itself, else anywhere.
    private void AddStore()
    {
        int target = _random.OneIn(2)
            ? Math.Min(_at + _random.Between(6, 40), _code.Length - 8)
            : _random.Below(_code.Length - 8);
        bool wide = _random.OneIn(4);
        byte opcode = (byte)(wide ? 0xC7 : 0xC6);
        int immediate = !wide ? 1 : Is16 ? 2 : 4;
        switch (Mode)
        {
            case ProgramMode.Long:
                Put(opcode, 0x05);
                Put32((uint)(target - (_at + 4 + immediate)));
                break;
            case ProgramMode.Code16:
                Put(0x26, opcode, 0x06);                        // ES has the code's base
                Put16((ushort)target);
                break;
            default:
                Put(opcode, 0x05);
                Put32((uint)(StepMachine.CodeOffset(Mode) + (ulong)target));
                break;
        }

        for (; immediate > 0; immediate--)
        {
            Put((byte)_random.Next());
        }
    }

    private void AddBranch()
    {
        switch (_random.Below(6))
        {
            case 0:
                Put(0xE9);
                break;
            case 1:
                Put(0xE8);
                break;
            default:
                Put(0x0F, (byte)(0x80 + _random.Below(16)));
                break;
        }

        _branches.Add((_at, Is16 ? 2 : 4, _random.Below(4096)));
        PutBranch(0);
    }

    private void AddString()
    {
        Immediate(1, (uint)_random.Below(40));
        SetPointers();
        Put((byte)(_random.OneIn(2) ? 0xF2 : 0xF3));
        ReadOnlySpan<byte> operations = [0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF];
        Put(operations[_random.Below(operations.Length)]);
    }

    // ESI and EBX into the data, EDI mostly too, else into the code; ESP to a good place.
    private void SetPointers()
    {
        Immediate(6, (uint)StepMachine.DataOffset(Mode) + (uint)_random.Below(0x8000));
        ulong destination = _random.OneIn(8) && !Is16
            ? StepMachine.CodeOffset(Mode) + (ulong)_random.Below((int)StepMachine.CodeSize)
            : StepMachine.DataOffset(Mode) + (ulong)_random.Below(0x8000);
        Immediate(7, (uint)destination);
        Immediate(3, (uint)StepMachine.DataOffset(Mode) + (uint)_random.Below(0x1000));
        if (_random.OneIn(2))
        {
            Immediate(4, (uint)StepMachine.StackOffset(Mode) + 0xF00);
        }
    }

    // A register, or memory at ESI or EBX (SI or BX) with a displacement.
    private void Operand(int reg)
    {
        int way = _random.Below(4);
        if (way < 2)
        {
            Put((byte)(0xC0 | (reg << 3) | _random.Below(8)));
        }
        else if (Is16)
        {
            Put((byte)(0x80 | (reg << 3) | (way == 2 ? 4 : 7)));
            Put16((ushort)_random.Below(0x2000));
        }
        else
        {
            Put((byte)(0x80 | (reg << 3) | (way == 2 ? 6 : 3)));
            Put32((uint)_random.Below(0x2000));
        }
    }

    private void Prefix()
    {
        if (_random.OneIn(5))
        {
            Put(0x66);
        }

        if (_random.OneIn(16))
        {
            Put(0xF0);
        }

        if (Mode == ProgramMode.Long && _random.OneIn(2))
        {
            Put((byte)(0x40 | (_random.Next() & (_random.OneIn(4) ? 0xFu : 0xCu))));
        }
    }

    // mov r32, imm32 (with a prefix in 16-bit code).
    private void Immediate(int register, uint value)
    {
        if (Is16)
        {
            Put(0x66);
        }

        Put((byte)(0xB8 + register));
        Put32(value);
    }

    private void PutBranch(int distance)
    {
        if (Is16)
        {
            Put16((ushort)distance);
        }
        else
        {
            Put32((uint)distance);
        }
    }

    private void Put16(ushort value) => Put((byte)value, (byte)(value >> 8));

    private void Put32(uint value) => Put((byte)value, (byte)(value >> 8), (byte)(value >> 16), (byte)(value >> 24));

    private void Put(params ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_code.AsSpan(_at));
        _at += bytes.Length;
    }
}
