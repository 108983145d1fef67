namespace Hull.Cpu.Decode;

/// <summary>
/// Where the parts of an instruction stand in its bytes: what Iced has decoded, seen as an encoding. Made only for
/// instructions that Iced accepts, so lengths are known to fit.
/// SDM vol. 2A, "Instruction Format".
/// </summary>
internal struct InstructionLayout
{
    internal bool OperandSizePrefix;
    internal bool AddressSizePrefix;
    internal bool Lock;

    /// <summary>0, 0xF2 or 0xF3.</summary>
    internal byte RepeatPrefix;

    /// <summary>The REX byte, or 0. For VEX: W, R, X, B in REX positions.</summary>
    internal byte Rex;

    /// <summary>0: one-byte opcodes; 1: 0F; 2: 0F38; 3: 0F3A.</summary>
    internal byte Map;
    internal byte Opcode;

    /// <summary>Index of ModRM, or -1.</summary>
    internal int ModRmAt;
    internal byte ModRm;

    /// <summary>Index of the first immediate byte (equal to the length when there is none).</summary>
    internal int ImmediateAt;
    internal bool Vex;
    internal byte VexVvvv;
    internal byte VexLength;
    internal byte VexPrefix;

    internal readonly int RegNumber => ((ModRm >> 3) & 7) | ((Rex & 4) << 1);

    internal readonly int RmNumber => (ModRm & 7) | ((Rex & 1) << 3);

    internal readonly int OpcodeNumber => (Opcode & 7) | ((Rex & 1) << 3);

    internal readonly bool HasMemory => ModRmAt >= 0 && ModRm < 0xC0;

    /// <summary>Takes an instruction apart.</summary>
    /// <param name="code">Its bytes.</param>
    /// <param name="codeSize">16, 32 or 64. In 64-bit mode 40-4F are REX.</param>
    internal static unsafe InstructionLayout Parse(byte* code, int codeSize)
    {
        bool is64 = codeSize == 64;
        InstructionLayout layout = new() { ModRmAt = -1 };
        int at = layout.ReadPrefixes(code, is64);
        if ((code[at] is 0xC4 or 0xC5) && (is64 || code[at + 1] >= 0xC0))
        {
            at = layout.ReadVex(code, at);
            if (!is64)
            {
                // VEX.B and VEX.vvvv[3] are ignored outside 64-bit mode; VEX.R and VEX.X are ones there.
                layout.Rex &= 0x48;
                layout.VexVvvv &= 7;
            }
        }
        else
        {
            at = layout.ReadOpcode(code, at);
        }

        bool modRm = layout.Map switch
        {
            0 => HasModRmOneByte(layout.Opcode),
            1 => HasModRmTwoByte(layout.Opcode) && !(layout.Vex && layout.Opcode == 0x77),
            _ => true,
        };
        if (modRm)
        {
            layout.ModRmAt = at;
            layout.ModRm = code[at];
            bool narrow = codeSize == (layout.AddressSizePrefix ? 32 : 16);
            at += ModRmLength(code + at, narrow);
        }

        layout.ImmediateAt = at;
        return layout;
    }

    private unsafe int ReadPrefixes(byte* code, bool is64)
    {
        int at = 0;
        while (true)
        {
            byte b = code[at];
            switch (b)
            {
                case 0x66:
                    OperandSizePrefix = true;
                    break;
                case 0xF0:
                    Lock = true;
                    break;
                case 0xF2 or 0xF3:
                    RepeatPrefix = b;
                    break;
                case 0x67:
                    AddressSizePrefix = true;
                    break;
                case 0x26 or 0x2E or 0x36 or 0x3E or 0x64 or 0x65:
                    break;
                default:
                    if (is64 && (b & 0xF0) == 0x40)
                    {
                        // Only the last REX, right before the opcode, counts.
                        if (IsPrefix(code[at + 1]))
                        {
                            break;
                        }

                        if ((code[at + 1] & 0xF0) == 0x40)
                        {
                            break;
                        }

                        Rex = b;
                        return at + 1;
                    }

                    return at;
            }

            at++;
        }
    }

    private static bool IsPrefix(byte b) =>
        b is 0x66 or 0xF0 or 0xF2 or 0xF3 or 0x26 or 0x2E or 0x36 or 0x3E or 0x64 or 0x65 or 0x67;

    private unsafe int ReadVex(byte* code, int at)
    {
        Vex = true;
        if (code[at] == 0xC5)
        {
            byte b = code[at + 1];
            Rex = (byte)((b & 0x80) == 0 ? 0x44 : 0x40);
            Map = 1;
            ReadVexTail(b);
            Opcode = code[at + 2];
            return at + 3;
        }

        byte first = code[at + 1];
        byte second = code[at + 2];
        Rex = (byte)(0x40 | ((~first >> 5) & 7) | ((second >> 4) & 8));
        Map = (byte)(first & 31);
        ReadVexTail(second);
        Opcode = code[at + 3];
        return at + 4;
    }

    private void ReadVexTail(byte b)
    {
        VexVvvv = (byte)((~b >> 3) & 15);
        VexLength = (byte)((b >> 2) & 1);
        VexPrefix = (byte)(b & 3);
    }

    private unsafe int ReadOpcode(byte* code, int at)
    {
        if (code[at] != 0x0F)
        {
            Opcode = code[at];
            return at + 1;
        }

        if (code[at + 1] is 0x38 or 0x3A)
        {
            Map = (byte)(code[at + 1] == 0x38 ? 2 : 3);
            Opcode = code[at + 2];
            return at + 3;
        }

        Map = 1;
        Opcode = code[at + 1];
        return at + 2;
    }

    private static unsafe int ModRmLength(byte* modRm, bool narrow)
    {
        int mod = *modRm >> 6;
        int rm = *modRm & 7;
        if (mod == 3)
        {
            return 1;
        }

        if (narrow)
        {
            return mod switch { 0 => rm == 6 ? 3 : 1, 1 => 2, _ => 3 };
        }

        int length = 1;
        if (rm == 4)
        {
            length++;
            if (mod == 0 && (modRm[1] & 7) == 5)
            {
                length += 4;
            }
        }
        else if (mod == 0 && rm == 5)
        {
            length += 4;
        }

        return length + (mod switch { 1 => 1, 2 => 4, _ => 0 });
    }

    private static bool HasModRmOneByte(byte opcode)
    {
        if (opcode < 0x40)
        {
            return (opcode & 7) < 4;
        }

        return opcode is 0x62 or 0x63 or 0x69 or 0x6B or (>= 0x80 and <= 0x8F) or 0xC0 or 0xC1
            or (>= 0xC4 and <= 0xC7) or (>= 0xD0 and <= 0xD3) or (>= 0xD8 and <= 0xDF)
            or 0xF6 or 0xF7 or 0xFE or 0xFF;
    }

    private static bool HasModRmTwoByte(byte opcode) => opcode is not
        ((>= 0x04 and <= 0x0C) or 0x0E or (>= 0x30 and <= 0x37) or 0x77 or (>= 0x80 and <= 0x8F)
        or (>= 0xA0 and <= 0xA2) or (>= 0xA8 and <= 0xAA) or (>= 0xC8 and <= 0xCF));
}
