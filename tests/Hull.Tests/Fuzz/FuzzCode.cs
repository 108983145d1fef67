using System;

namespace Hull.Tests.Fuzz;

/// <summary>Bytes to execute: noise; instructions put together from prefixes, opcode maps and operands; jumps; stores to code.</summary>
internal sealed class FuzzCode(Random random)
{
    private static ReadOnlySpan<byte> Prefixes => [0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65];

    /// <summary>Fills the buffer.</summary>
    /// <param name="code">All of it is written.</param>
    /// <param name="is64">True for 64-bit code: REX prefixes are of use.</param>
    internal void Fill(Span<byte> code, bool is64)
    {
        random.NextBytes(code);
        int kind = random.Next(8);
        int at = 0;
        while (kind != 0 && at + 32 <= code.Length)
        {
            at += (kind == 1 ? random.Next(6) : random.Next(24)) switch
            {
                0 => Branch(code[at..]),
                1 => StoreToCode(code[at..], is64),
                2 => Jump(code[at..]),
                _ => Any(code[at..], is64),
            };
        }
    }

    private int Any(Span<byte> code, bool is64)
    {
        int at = 0;
        for (int count = random.Next(4) == 0 ? random.Next(1, 4) : 0; count > 0; count--)
        {
            code[at++] = Prefixes[random.Next(Prefixes.Length)];
        }

        int map = random.Next(10);
        if (map >= 7)
        {
            return at + Vector(code[at..]);
        }

        if (is64 && random.Next(2) == 0)
        {
            code[at++] = (byte)(0x40 | random.Next(16));
        }

        if (map >= 3)
        {
            code[at++] = 0x0F;
        }

        if (map >= 5)
        {
            code[at++] = map == 5 ? (byte)0x38 : (byte)0x3A;
        }

        code[at++] = (byte)random.Next(256);
        return at + Operand(code[at..]);
    }

    // A VEX or EVEX prefix, with any map.
    private int Vector(Span<byte> code)
    {
        int at = 0;
        switch (random.Next(8))
        {
            case 0:
                code[at++] = 0x62;
                code[at++] = (byte)random.Next(256);
                code[at++] = (byte)random.Next(256);
                code[at++] = (byte)random.Next(256);
                break;
            case < 4:
                code[at++] = 0xC5;
                code[at++] = (byte)(random.Next(256) | 0xC0);
                break;
            default:
                code[at++] = 0xC4;
                code[at++] = (byte)(0xE0 | random.Next(1, 4));
                code[at++] = (byte)random.Next(256);
                break;
        }

        code[at++] = (byte)random.Next(256);
        return at + Operand(code[at..]);
    }

    // ModRM and what follows it; as it is not known whether the opcode has one, it may be code as well.
    private int Operand(Span<byte> code)
    {
        int mod = random.Next(4);
        int rm = random.Next(8);
        int at = 0;
        code[at++] = (byte)((mod << 6) | (random.Next(8) << 3) | rm);
        if (mod != 3 && rm == 4)
        {
            code[at++] = (byte)random.Next(256);
        }

        int displacement = mod == 1 ? 1 : mod == 2 || (mod == 0 && rm == 5) ? 4 : 0;
        for (int i = 0; i < displacement; i++)
        {
            code[at++] = displacement == 4 && i >= 2 ? (byte)(random.Next(16) == 0 ? 0xFF : 0) : (byte)random.Next(256);
        }

        for (int count = random.Next(3) switch { 0 => 1, 1 => 0, _ => random.Next(5) }; count > 0; count--)
        {
            code[at++] = (byte)random.Next(256);
        }

        return at;
    }

    private int Branch(Span<byte> code)
    {
        code[0] = random.Next(4) switch { 0 => 0xEB, 1 => 0xE2, _ => (byte)(0x70 + random.Next(16)) };
        code[1] = (byte)random.Next(256);
        return 2;
    }

    private int Jump(Span<byte> code)
    {
        code[0] = random.Next(2) == 0 ? (byte)0xE8 : (byte)0xE9;
        BitConverter.TryWriteBytes(code[1..], random.Next(-0x2000, 0x2000));
        return 5;
    }

    // mov dword [address], value: C7 /0 with an absolute address inside the code.
    private int StoreToCode(Span<byte> code, bool is64)
    {
        int at = 0;
        code[at++] = 0xC7;
        code[at++] = is64 ? (byte)0x04 : (byte)0x05;
        if (is64)
        {
            code[at++] = 0x25;
        }

        BitConverter.TryWriteBytes(code[at..], (int)FuzzWorld.Code + random.Next(FuzzWorld.CodeSize));
        return at + 8; // the immediate stays noise
    }
}
